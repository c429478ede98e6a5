"""What the commands of ``routoo data`` share: their options, and how a step ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from routoo_core.data.manifest import Step, TableRow, write_step
from routoo_core.data.splitting import Selection
from routoo_integrations.cli.terminal import print_json, print_line

PromptsOption = Annotated[
    Path, typer.Option(help="Parquet, CSV or JSONL: prompt_id, prompt; other columns are kept.")
]
SeedOption = Annotated[int, typer.Option(help="Another seed draws others.")]


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
    settings = {name: value for name, value in context.params.items() if name != "as_json"}
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
