"""What the commands of ``routoo data`` share: their options, and how a step ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from routoo_core.data.manifest import Step, TableRow, manifest_path, write_step
from routoo_core.data.splitting import Selection
from routoo_core.tables import check_table_format
from routoo_integrations.cli.outputs import CommandFiles
from routoo_integrations.cli.terminal import print_json, print_line

PromptsOption = Annotated[
    Path, typer.Option(help="Parquet, CSV or JSONL: prompt_id, prompt; other columns are kept.")
]
SeedOption = Annotated[int, typer.Option(help="A different seed gives a different sample.")]


NOT_IN_MANIFEST = frozenset({"as_json", "overwrite"})
"""Options that change nothing in a table."""


def check_step_files(
    tables: Mapping[str, Path | None], inputs: Sequence[Path | None], overwrite: bool
) -> None:
    """Check what a step reads and writes, before it works.

    Args:
        tables: Option → the table that it names; a manifest is written beside each.
        inputs: Files that it reads.
        overwrite: Whether files that are there may be replaced.

    Raises:
        ConfigurationError: See :class:`~routoo_integrations.cli.outputs.CommandFiles`, or a table's suffix is unknown.
    """
    outputs = dict(tables)
    for option, table in tables.items():
        if table is not None:
            check_table_format(table)
            outputs[f"manifest of {option}"] = manifest_path(table)
    CommandFiles(outputs, inputs).check(overwrite)


def describe_step(
    context: typer.Context,
    inputs: Sequence[Path | Mapping[str, object]],
    counts: Mapping[str, int],
    presets: Mapping[str, object] | None = None,
) -> Step:
    """The command that is running, for the manifest.

    Args:
        context: Of the command: its name and its options.
        inputs: Files it read, or what is known of what came from elsewhere.
        counts: What was kept and dropped.
        presets: Settings that no option set.
    """
    settings = {}
    for name, value in context.params.items():
        if name not in NOT_IN_MANIFEST:
            settings[name] = value
    settings.update(presets or {})
    return Step(f"routoo data {context.info_name}", settings, inputs, counts)


def finish_step(
    table: Path, rows: Sequence[TableRow], step: Step, as_json: bool, columns: Sequence[str] = ()
) -> None:
    """Write the table and its manifest, and show what was done."""
    manifest = write_step(table, rows, step, columns)
    if as_json:
        print_json(manifest.to_dict())
    else:
        print_line(f"{table}: {len(rows)} prompts ({describe_counts(step.counts)})")


def finish_selection(
    context: typer.Context,
    table: Path,
    inputs: Sequence[Path],
    selection: Selection,
    as_json: bool,
) -> None:
    """Finish a step that selects prompts of a table; all their columns are kept."""
    rows = [row.values for row in selection.rows]
    finish_step(table, rows, describe_step(context, inputs, selection.counts), as_json)


def describe_counts(counts: Mapping[str, int]) -> str:
    """Counts in one line: ``200 given, 50 failed``."""
    parts = []
    for name, count in counts.items():
        label = name.replace("_", " ")
        parts.append(f"{count} {label}")
    return ", ".join(parts)
