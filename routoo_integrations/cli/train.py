"""``routoo train``: from outcomes to a router."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.errors import ConfigurationError
from routoo_core.loading import is_general
from routoo_core.measures.figures import format_figure
from routoo_core.outcomes import Outcomes, read_tables
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.price_list import read_price_list
from routoo_core.settings import read_toml
from routoo_core.training.model_card import figures_table
from routoo_core.training.processes import is_main_process
from routoo_core.training.run import train_router
from routoo_core.training.settings import PRESETS
from routoo_core.training.settings import preset as settings_of_preset
from routoo_integrations.cli.options import PRICES_HELP, PoolOption
from routoo_integrations.cli.outputs import CHECKPOINT_FILES, CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import out, print_line, progress

DEFAULT_PRESET = "default"


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
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A general router to sharpen (general-fast, general, a folder) instead of training one anew.",
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help=f"The settings to start from: {', '.join(PRESETS)}.")
    ] = DEFAULT_PRESET,
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

    With --from, a general router learns what these outcomes say of their experts, in seconds; what the catalogue and
    its own labels say is where it starts from. Some tens of prompts are enough.

    Example: [bold]routoo train --prompts p.parquet --outcomes o.parquet --out my-router --prices prices.csv[/bold]
    Or: [bold]routoo train --from general-fast --prompts p.csv --outcomes o.csv --out my-router[/bold]
    """
    CommandFiles(
        inputs=[*prompts, *outcomes, config, prices],
        folders={"--out": (folder, CHECKPOINT_FILES)},
    ).check(overwrite)
    if start is not None:
        if config or prices or preset != DEFAULT_PRESET:
            raise ConfigurationError(
                "--from: cannot be combined with --preset, --config or --prices "
                "(routoo evaluate measures the result at prices)"
            )
        _sharpen(start, read_tables(prompts, outcomes), folder)
        return
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


def _sharpen(start: str, table: Outcomes, folder: Path) -> None:
    """Teach a general router the table, and say what it learnt.

    Raises:
        ConfigurationError: The router is none of the general ones.
    """
    from routoo_core.training.general_labels import train_from_general

    checkpoint = find_router(start)
    if not is_general(checkpoint):
        raise ConfigurationError(
            f"--from: {start!r} is not a general router, so it cannot learn other experts; use general-fast or general"
        )
    additions = train_from_general(checkpoint, table, folder)
    overview = Table("expert", "labels", "AUC on held-out prompts", box=None, padding=(0, 2, 0, 0))
    for expert in additions:
        auc = "–" if expert.auc is None else f"{expert.auc:.3f}"
        overview.add_row(expert.name, str(expert.labels), auc)
    out.print(overview)
    print_line(f'{folder}: written. To use it: router = "{folder}" in routoo.toml')
