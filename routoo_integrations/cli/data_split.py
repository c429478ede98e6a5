"""``routoo data split`` and ``sample``: on which side a prompt is, and a few of many."""

from __future__ import annotations

from typing import Annotated

import typer

from routoo_core.data.rows import read_prompt_rows
from routoo_core.data.splitting import sample_prompts, split_prompts
from routoo_integrations.cli.data_options import (
    PromptsOption,
    SeedOption,
    check_step_files,
    finish_selection,
)
from routoo_integrations.cli.options import JsonOption, TableOption
from routoo_integrations.cli.outputs import OverwriteOption


def split_command(
    context: typer.Context,
    prompts: PromptsOption,
    table: TableOption,
    dev_share: Annotated[float, typer.Option(help="Share of the questions to hold out.")] = 0.2,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write train or dev into the column split, by a hash of the question: the same one is always on the same side.

    Example: [bold]routoo data split --prompts p.csv --out split.csv[/bold]
    """
    check_step_files({"--out": table}, [prompts], overwrite)
    selection = split_prompts(read_prompt_rows(prompts), dev_share)
    finish_selection(context, table, [prompts], selection, as_json)


def sample_command(
    context: typer.Context,
    prompts: PromptsOption,
    table: TableOption,
    count: Annotated[
        int, typer.Option("--n", help="How many; the paper chooses its universe on 1,000.")
    ] = 1000,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw prompts at random, such as those to choose a universe on.

    Example: [bold]routoo data sample --prompts p.csv --n 1000 --out sample.csv[/bold]
    """
    check_step_files({"--out": table}, [prompts], overwrite)
    selection = sample_prompts(read_prompt_rows(prompts), count, seed)
    finish_selection(context, table, [prompts], selection, as_json)
