"""``routoo data collect``: question sets and files become one table of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from routoo_core.data.collection import (
    ALIASES,
    COLUMNS,
    PAPER,
    from_file,
    from_source,
    load,
    origin,
    without_repeats,
)
from routoo_core.data.steps import Row
from routoo_core.errors import ConfigurationError
from routoo_core.tables import check_table_format
from routoo_integrations.cli.data_options import describe_step, finish_step
from routoo_integrations.cli.options import JsonOption, TableOption
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
    as_json: JsonOption = False,
) -> None:
    """Collect questions into one table: prompt_id, prompt, benchmark, domain, choices, answer, licence.

    Sources: arc-challenge, arc-easy, mctest-160, mctest-500, openbookqa, race, truthfulqa, mmlu-dev, mmlu-test; they
    are fetched from the Hugging Face hub. In your own files question, qid, subject and the like are understood.

    Example: [bold]routoo data collect --source arc-challenge --file mine.jsonl --out pool.parquet[/bold]
    """
    check_table_format(table)
    if not source and not file:
        raise ConfigurationError("give at least one --source or --file")
    columns = _read_columns(column or ())

    rows: list[Row] = []
    inputs: list[Path | dict[str, Any]] = list(file or ())
    for name in _source_names(source or ()):
        for part, hub_rows in load(name):
            inputs.append(origin(name, part, hub_rows))
            with progress.bar(f"{name} {part}", len(hub_rows)) as advance:
                for row in from_source(name, part, hub_rows):
                    rows.append(row)
                    advance(1)
    for path in file or ():
        rows += from_file(path, columns)

    unique, counts = without_repeats(rows)
    finish_step(table, unique, describe_step(context, inputs, counts), as_json, COLUMNS)


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
