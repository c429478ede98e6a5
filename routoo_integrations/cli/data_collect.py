"""``routoo data collect``: question sets and files become one table of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from routoo_core.data.collection import (
    ALIASES,
    COLUMNS,
    CollectedPrompt,
    drop_repeats,
    load_source,
    read_own_file,
    read_source,
)
from routoo_core.data.sources import PAPER
from routoo_core.errors import ConfigurationError
from routoo_integrations.cli.data_options import check_step_files, describe_step, finish_step
from routoo_integrations.cli.options import JsonOption, TableOption
from routoo_integrations.cli.outputs import OverwriteOption
from routoo_integrations.cli.terminal import progress


def collect_command(
    context: typer.Context,
    table: TableOption,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="A public question set (repeatable), or paper: all that the paper collects."
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(help="A CSV, JSONL or Parquet file of your own (repeatable)."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="OURS=THEIRS: what your files call a column, such as prompt=body (repeatable)."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Collect questions into one table: prompt_id, prompt, benchmark, domain, choices, answer, licence.

    Sources: arc-challenge, arc-easy, mctest-160, mctest-500, openbookqa, race, truthfulqa, mmlu-dev, mmlu-test; they
    are fetched from the Hugging Face hub. In your own files question, qid, subject and the like are understood.

    Example: [bold]routoo data collect --source arc-challenge --file mine.jsonl --out pool.parquet[/bold]
    """
    check_step_files({"--out": table}, file or (), overwrite)
    if not source and not file:
        raise ConfigurationError("pass at least one --source or --file")
    columns = _read_columns(column or ())

    prompts: list[CollectedPrompt] = []
    inputs: list[Path | Mapping[str, object]] = list(file or ())
    for name in _source_names(source or ()):
        for part in load_source(name):
            inputs.append(part.origin())
            with progress.bar(f"{name} {part.split}", len(part.rows)) as advance:
                for prompt in read_source(name, part.split, part.rows):
                    prompts.append(prompt)
                    advance(1)
    for path in file or ():
        prompts += read_own_file(path, columns)

    collection = drop_repeats(prompts)
    step = describe_step(context, inputs, collection.counts)
    rows = [prompt.to_dict() for prompt in collection.prompts]
    finish_step(table, rows, step, as_json, COLUMNS)


def _read_columns(options: Sequence[str]) -> dict[str, str]:
    """``OURS=THEIRS`` as a table."""
    columns = {}
    for option in options:
        ours, equals, theirs = option.partition("=")
        if not equals or ours not in ALIASES:
            raise ConfigurationError(
                f"--column: {list(options)} is not OURS=THEIRS for each of {', '.join(ALIASES)}"
            )
        columns[ours] = theirs
    return columns


def _source_names(options: Sequence[str]) -> list[str]:
    """Names of question sets, with those of the paper in place of ``paper``."""
    names: list[str] = []
    for option in options:
        names += PAPER if option == "paper" else [option]
    return names
