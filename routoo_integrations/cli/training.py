"""``routoo train``, ``suggest-prompts`` and ``add-expert``: from outcomes to a router, and on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from routoo_core.settings import read_toml
from routoo_integrations.cli.shared import (
    PRICES_HELP,
    JsonOption,
    PoolOption,
    RouterOption,
    out,
    progress,
)

app = typer.Typer()


@app.command()
def train(
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
    folder: Annotated[
        Path, typer.Option("--out", help="The router's folder, created or replaced.")
    ],
    preset: Annotated[
        str, typer.Option(help="Where to start from: default, lora, paper or knn.")
    ] = "default",
    config: Annotated[
        Path | None, typer.Option(help="train.toml: fields of TrainingConfig that differ.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(help=PRICES_HELP)] = None,
    pool: PoolOption = None,
) -> None:
    """Train a router on observed outcomes and measure it on held-out prompts, beside simple baselines.

    Prompts are encoded once and cached; a run that was killed goes on where it was when started again. Several
    tables train one router for all their experts. On several GPUs:
    [bold]accelerate launch -m routoo_core train --preset lora …[/bold]

    Example: [bold]routoo train --prompts p.parquet --outcomes o.parquet --out my-router --prices prices.csv[/bold]
    """
    from routoo_core.measures.figures import PoolFigures, format_figure
    from routoo_core.outcomes import read_tables
    from routoo_core.price_list import read_price_list
    from routoo_core.training import settings as training
    from routoo_core.training.run import figures_table, is_main_process, train_router

    settings = training.preset(preset, str(config), read_toml(config) if config else None)
    table = read_tables(prompts, outcomes)
    listed: dict[str, float] = {}
    if prices:
        listed = read_price_list(prices, pool or (), table.experts).per_million()
    metrics = train_router(table, settings, folder, listed, progress)
    if not is_main_process():
        return
    out.print(
        f"{folder}: mean AUC {format_figure(metrics['auc'])}, calibration error {metrics['ece']:.3f} on held-out prompts"
    )
    if "pool" in metrics:
        out.print(
            "\n".join(figures_table(PoolFigures.from_dict(metrics["pool"]))),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@app.command("add-expert")
def add_expert(
    router: RouterOption,
    prompts: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, prompt.")],
    outcomes: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, model, score (0–1).")],
    name: Annotated[str, typer.Option(help="The new expert, as the outcomes call it.")],
    folder: Annotated[Path, typer.Option("--out", help="The grown router's folder.")],
    prior: Annotated[
        str | None, typer.Option(help="The known expert it is most like; by default the mean.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Teach a router one more expert from a few labels; what it predicts for the others stays as it is.

    Example: [bold]routoo add-expert --router mmlu-pro --prompts p.csv --outcomes o.csv --name my-llm --out grown[/bold]
    """
    from routoo_core.outcomes import read_outcomes
    from routoo_core.predictor.checkpoint import find_router
    from routoo_core.training.expert_run import add_expert_to

    learnt = add_expert_to(
        find_router(router), read_outcomes(prompts, outcomes), name, folder, prior, progress
    )
    if as_json:
        out.print_json(json.dumps(learnt))
        return
    out.print(
        f"{folder}: {name} learnt from {learnt['labels']} labels", highlight=False, soft_wrap=True
    )


@app.command("suggest-prompts")
def suggest_prompts(
    router: RouterOption,
    prompts: Annotated[
        Path, typer.Option(help="Parquet or CSV: prompt_id, prompt; what could be labelled.")
    ],
    suggested: Annotated[
        Path, typer.Option("--out", help="The table of prompts to write, .parquet or .csv.")
    ],
    count: Annotated[int, typer.Option("--n", help="How many to label.")] = 100,
    seed: Annotated[int, typer.Option(help="Another seed suggests others.")] = 0,
) -> None:
    """Choose which prompts to label before adding an expert: spread over everything the router's encoder tells apart.

    Example: [bold]routoo suggest-prompts --router mmlu-pro --prompts all.csv --n 100 --out label-these.csv[/bold]
    """
    from routoo_core.predictor.checkpoint import find_router
    from routoo_core.prompts import read_prompts
    from routoo_core.tables import check_table_format, write_table
    from routoo_core.training.expert_run import suggest_for

    check_table_format(suggested)
    folder = find_router(router)
    table = read_prompts(prompts)
    chosen = table.take(suggest_for(folder, table.texts, count, seed, progress))
    columns = {
        "prompt_id": chosen.ids,
        "prompt": chosen.texts,
        "domain": chosen.domains,
        "split": chosen.splits,
    }
    write_table(suggested, columns)
    out.print(
        f"{suggested}: {count} of {len(table)} prompts to label", highlight=False, soft_wrap=True
    )
