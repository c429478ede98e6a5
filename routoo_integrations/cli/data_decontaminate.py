"""``routoo data decontaminate``: no prompt to train on may be one to evaluate on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.data.decontamination import Leak, LeakRule, decontaminate
from routoo_core.data.rows import PromptRow, read_prompt_rows
from routoo_core.data.splitting import Selection
from routoo_core.tables import check_table_format, write_table
from routoo_integrations.cli.data_options import PromptsOption, check_step_files, finish_selection
from routoo_integrations.cli.options import JsonOption, TableOption
from routoo_integrations.cli.outputs import OverwriteOption
from routoo_integrations.cli.terminal import progress


def decontaminate_command(
    context: typer.Context,
    prompts: PromptsOption,
    against: Annotated[
        list[Path], typer.Option(help="Prompts to evaluate on: prompt_id, prompt (repeatable).")
    ],
    table: TableOption,
    removed: Annotated[
        Path | None, typer.Option(help="A table of what was removed and why, .parquet or .csv.")
    ] = None,
    ngram: Annotated[
        int, typer.Option(help="Words in a row that no evaluation prompt may share.")
    ] = 12,
    similarity: Annotated[
        float, typer.Option(help="Similarity from which two texts are near-duplicates, 0.3–1.")
    ] = 0.5,
    repeats: Annotated[
        bool, typer.Option("--repeats", help="Remove near-duplicates among the prompts too.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove prompts that are, contain or resemble one to evaluate on, whatever the case, punctuation and numbers.

    Reasons: exact (the same words), ngram (datatrove's rule), near (MinHash), repeated (with --repeats).

    Example: [bold]routoo data decontaminate --prompts p.csv --against test.csv --out clean.csv --removed why.csv[/bold]
    """
    if removed:
        check_table_format(removed)
    check_step_files({"--out": table, "--removed": removed}, [prompts, *against], overwrite)
    rule = LeakRule(ngram, similarity, repeats)
    rows = read_prompt_rows(prompts)
    result = decontaminate(rows, _read_evaluation(against), rule, progress)

    counts = {"given": len(rows), "kept": len(result.clean), **result.counts()}
    selection = Selection(result.clean, counts)
    finish_selection(context, table, [prompts, *against], selection, as_json)
    if removed:
        _write_leaks(removed, result.leaks)


def _read_evaluation(paths: list[Path]) -> list[PromptRow]:
    """The prompts of all tables; the table's name in front of an id says where it is."""
    rows: list[PromptRow] = []
    for path in paths:
        for row in read_prompt_rows(path):
            prompt_id = f"{path.stem}:{row.prompt_id}"
            rows.append(row.replace(prompt_id=prompt_id))
    return rows


def _write_leaks(path: Path, leaks: list[Leak]) -> None:
    columns = {}
    for name in ("prompt_id", "reason", "matched", "detail"):
        columns[name] = [getattr(leak, name) for leak in leaks]
    write_table(path, columns)
