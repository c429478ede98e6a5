"""``routoo suggest-prompts``: which prompts to label before an expert is added."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.prompts import read_prompts
from routoo_core.tables import check_table_format, write_table
from routoo_core.training.expert_run import suggest_for
from routoo_integrations.cli.options import RouterOption
from routoo_integrations.cli.outputs import CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import print_line, progress


def suggest_prompts_command(
    router: RouterOption,
    prompts: Annotated[
        Path, typer.Option(help="Parquet or CSV: prompt_id, prompt; what could be labelled.")
    ],
    target: Annotated[
        Path, typer.Option("--out", help="The table of prompts to write, .parquet or .csv.")
    ],
    count: Annotated[int, typer.Option("--n", help="How many to label.")] = 100,
    seed: Annotated[int, typer.Option(help="A different seed gives different prompts.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Choose prompts to label before adding an expert: a diverse sample by the router's encoder.

    Example: [bold]routoo suggest-prompts --router my-router --prompts all.csv --n 100 --out label-these.csv[/bold]
    """
    check_table_format(target)
    CommandFiles({"--out": target}, inputs=[prompts]).check(overwrite)
    checkpoint = find_router(router)
    candidates = read_prompts(prompts)
    rows = suggest_for(checkpoint, candidates.texts, count, seed, progress)

    suggestions = candidates.take(rows)
    columns = {
        "prompt_id": suggestions.ids,
        "prompt": suggestions.texts,
        "domain": suggestions.domains,
        "split": suggestions.splits,
    }
    write_table(target, columns)
    print_line(f"{target}: {count} of {len(candidates)} prompts to label")
