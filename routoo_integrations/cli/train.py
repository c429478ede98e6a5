"""``routoo train``: from outcomes to a router."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.measures.figures import format_figure
from routoo_core.outcomes import read_tables
from routoo_core.price_list import read_price_list
from routoo_core.settings import read_toml
from routoo_core.training.model_card import figures_table
from routoo_core.training.processes import is_main_process
from routoo_core.training.run import train_router
from routoo_core.training.settings import preset as settings_of_preset
from routoo_integrations.cli.options import PRICES_HELP, PoolOption
from routoo_integrations.cli.outputs import CHECKPOINT_FILES, CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import print_line, progress


def train_command(
    prompts: Annotated[
        list[Path],
        typer.Option(
            help="Parquet or CSV: prompt_id, prompt, optional domain, split (repeatable)."
        ),
    ],
    outcomes: Annotated[
        list[Path],
        typer.Option(
            help="Parquet or CSV: prompt_id, model, score (0–1), optional completion_tokens or completion_chars; "
            "one for each --prompts."
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="The router's folder; it is made.")],
    preset: Annotated[
        str, typer.Option(help="Where to start from: default, lora, paper or knn.")
    ] = "default",
    config: Annotated[
        Path | None, typer.Option(help="train.toml: fields of TrainingConfig that differ.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(help=PRICES_HELP)] = None,
    pool: PoolOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Train a router on observed outcomes and measure it on held-out prompts, beside simple baselines.

    Prompts are encoded once and cached; a run that was killed goes on where it was when started again. Several
    tables train one router for all their experts. On several GPUs:
    [bold]accelerate launch -m routoo_core train --preset lora …[/bold]

    Example: [bold]routoo train --prompts p.parquet --outcomes o.parquet --out my-router --prices prices.csv[/bold]
    """
    CommandFiles(
        inputs=[*prompts, *outcomes, config, prices],
        folders={"--out": (folder, CHECKPOINT_FILES)},
    ).check(overwrite)
    changes = read_toml(config) if config else None
    settings = settings_of_preset(preset, str(config), changes)
    table = read_tables(prompts, outcomes)
    price_list: dict[str, float] = {}
    if prices:
        price_list = read_price_list(prices, pool or (), table.experts).per_million()

    metrics = train_router(table, settings, folder, price_list, progress)
    if not is_main_process():
        return

    auc = format_figure(metrics.auc)
    print_line(f"{folder}: mean AUC {auc}, calibration error {metrics.ece:.3f} on held-out prompts")
    if metrics.pool is not None:
        for line in figures_table(metrics.pool):
            print_line(line)
