"""``routoo data from-mt-bench``: FastChat's questions and grades become prompts and outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.data.manifest import write_step
from routoo_core.data.mt_bench import read_mt_bench
from routoo_core.outcomes import outcome_rows
from routoo_integrations.cli.data_from_battles import prompt_rows
from routoo_integrations.cli.data_options import check_step_files, describe_step, finish_step
from routoo_integrations.cli.options import JsonOption
from routoo_integrations.cli.outputs import OverwriteOption


def from_mt_bench_command(
    context: typer.Context,
    questions: Annotated[Path, typer.Option(help="FastChat's question.jsonl.")],
    judgements: Annotated[
        Path, typer.Option(help="Grades of single answers, such as FastChat's gpt-4_single.jsonl.")
    ],
    prompts: Annotated[Path, typer.Option(help="The table of prompts to write, .parquet or .csv.")],
    outcomes: Annotated[
        Path, typer.Option(help="The table of outcomes to write, .parquet or .csv.")
    ],
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn MT-Bench's questions and grades into prompts and outcomes, to evaluate a router on them.

    The first turn is the prompt; the score is the mean grade of both turns, from 0 (grade 1) to 1 (grade 10).

    Example: [bold]routoo data from-mt-bench --questions question.jsonl --judgements gpt-4_single.jsonl
    --prompts p.csv --outcomes o.csv[/bold]
    """
    inputs = [questions, judgements]
    check_step_files({"--prompts": prompts, "--outcomes": outcomes}, inputs, overwrite)
    table = read_mt_bench(questions, judgements)
    grades = int(table.score_table.observed.sum())
    counts = {"questions": len(table.prompts), "models": len(table.experts), "grades": grades}
    step = describe_step(context, inputs, counts)
    write_step(outcomes, outcome_rows(table), step)
    finish_step(prompts, prompt_rows(table), step, as_json)
