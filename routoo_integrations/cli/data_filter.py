"""``routoo data filter``: prompts that a reference expert fails, and some others."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from routoo_core.data.rows import read_prompt_rows
from routoo_core.data.splitting import PRESETS, HardPrompts, select_hard
from routoo_core.errors import ConfigurationError
from routoo_integrations.cli.data_options import (
    PromptsOption,
    SeedOption,
    check_step_files,
    finish_selection,
)
from routoo_integrations.cli.options import JsonOption, OutcomesOption, TableOption
from routoo_integrations.cli.outputs import OverwriteOption


def filter_command(
    context: typer.Context,
    prompts: PromptsOption,
    outcomes: OutcomesOption,
    table: TableOption,
    expert: Annotated[
        str | None, typer.Option(help="The reference expert, as the outcomes call it.")
    ] = None,
    others: Annotated[
        int | None,
        typer.Option("--random", help="How many prompts that it passed to keep as well."),
    ] = None,
    at_most: Annotated[
        float, typer.Option(min=0, max=1, help="The highest score that counts as failed.")
    ] = 0.0,
    preset: Annotated[
        str | None, typer.Option(help="paper: SOLAR-10.7B-v1.0 and 10,000 others.")
    ] = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep the prompts that a reference expert fails, and a random sample of the others.

    A prompt it was not run on is left out, and counted. The paper kept 45,645 + 10,000 of 101,434.

    Example: [bold]routoo data filter --prompts p.csv --outcomes o.csv --expert small --random 500 --out hard.csv[/bold]
    """
    check_step_files({"--out": table}, [prompts, outcomes], overwrite)
    hard = _read_hard(preset, expert, others)
    hard = replace(hard, at_most=at_most, seed=seed)
    selection = select_hard(read_prompt_rows(prompts), outcomes, hard)
    finish_selection(context, table, [prompts, outcomes], selection, as_json)


def _read_hard(preset: str | None, expert: str | None, count: int | None) -> HardPrompts:
    """Whose failures are kept, and how many others: the options, else the preset."""
    if preset is not None and preset not in PRESETS:
        raise ConfigurationError(
            f"--preset: {preset!r} is unknown; choose one of {', '.join(PRESETS)}"
        )
    if preset is not None:
        expert = expert or PRESETS[preset].expert
        if count is None:
            count = PRESETS[preset].others
    if not expert or count is None or count < 0:
        raise ConfigurationError("pass --expert and --random (0 or more), or --preset paper")
    return HardPrompts(expert, count)
