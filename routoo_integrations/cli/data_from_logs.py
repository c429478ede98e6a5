"""``routoo data from-logs``: logged calls with feedback become prompts and outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.data.manifest import write_step
from routoo_core.monitoring.ratings import FeedbackScale
from routoo_core.monitoring.tables import read_log_tables
from routoo_integrations.cli.data_options import check_step_files, describe_step, finish_step
from routoo_integrations.cli.options import JsonOption
from routoo_integrations.cli.outputs import OverwriteOption


def from_logs_command(
    context: typer.Context,
    log: Annotated[
        list[Path], typer.Option(help="JSONL of LangSmith runs or OpenAI-style calls (repeatable).")
    ],
    prompts: Annotated[Path, typer.Option(help="The table of prompts to write, .parquet or .csv.")],
    outcomes: Annotated[
        Path, typer.Option(help="The table of outcomes to write, .parquet or .csv.")
    ],
    feedback: Annotated[
        str | None,
        typer.Option(help="The kind of feedback to use as the score, if there are several."),
    ] = None,
    worst: Annotated[float, typer.Option(help="Feedback that becomes score 0.")] = 0.0,
    best: Annotated[float, typer.Option(help="Feedback that becomes score 1.")] = 1.0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn logs with feedback into prompts and outcomes, as 'routoo train' reads them; the shapes are in docs/data.md.

    The prompt is what a router reads of the messages. Calls without feedback are left out, and counted.

    Example: [bold]routoo data from-logs --log runs.jsonl --prompts p.csv --outcomes o.csv --feedback correctness[/bold]
    """
    check_step_files({"--prompts": prompts, "--outcomes": outcomes}, log, overwrite)
    tables = read_log_tables(log, FeedbackScale(feedback, worst, best))

    step = describe_step(context, log, tables.counts.to_dict())
    write_step(outcomes, tables.outcome_rows(), step)
    finish_step(prompts, tables.prompt_rows(), step, as_json)
