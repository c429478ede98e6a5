"""``routoo evaluate``: how good routers are, before they serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.errors import ConfigurationError
from routoo_core.evaluation.evaluation import EvaluationSettings, evaluate
from routoo_core.evaluation.page import write_report
from routoo_core.evaluation.paraphrases import read_paraphrases
from routoo_core.evaluation.report import Report
from routoo_core.evaluation.sentences import sentences
from routoo_core.measures.call_costs import COST_MODELS, MEASURED
from routoo_core.outcomes import SPLITS, read_tables
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.price_list import read_price_list
from routoo_integrations.cli.options import JsonOption, PoolOption, PricesOption
from routoo_integrations.cli.outputs import REPORT_FILES, CommandFiles, OverwriteOption
from routoo_integrations.cli.ray_options import RayGpusOption, RayOption, predictor_loader
from routoo_integrations.cli.terminal import print_json, print_line, progress, short_path


def evaluate_command(
    router: Annotated[
        list[str], typer.Option(help="A shipped router's name, or a folder (repeatable).")
    ],
    prompts: Annotated[
        list[Path],
        typer.Option(
            help="Parquet or CSV: prompt_id, prompt, optional domain, split (repeatable)."
        ),
    ],
    outcomes: Annotated[
        list[Path],
        typer.Option(help="Parquet or CSV: prompt_id, model, score (0–1); one for each --prompts."),
    ],
    prices: PricesOption,
    report: Annotated[
        Path, typer.Option("--out", help="The folder for index.html and metrics.json.")
    ],
    pool: PoolOption = None,
    split: Annotated[
        str, typer.Option(help="The split to measure on; simple routers learn from train.")
    ] = "dev",
    guess: Annotated[
        float, typer.Option(min=0, max=0.99, help="Rate of lucky guesses: 0.25 with four choices.")
    ] = 0.0,
    cost: Annotated[
        str,
        typer.Option(
            help="'measured': USD per 1,000 calls, as paid or by tokens; 'paper': averaged USD per million tokens."
        ),
    ] = MEASURED,
    stress: Annotated[
        int,
        typer.Option(
            min=0,
            help="Reword this many prompts, also adversarially, and report how often the choice changes.",
        ),
    ] = 0,
    paraphrases: Annotated[
        Path | None,
        typer.Option(help="For --stress: what 'routoo data paraphrase' wrote about these prompts."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    force: Annotated[
        bool, typer.Option(help="Measure on a router's training prompts too; the report says so.")
    ] = False,
    on_ray: RayOption = False,
    ray_gpus: RayGpusOption = 0.0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure routers on the dev prompts of a table, beside simple ones that learn from its train prompts.

    The very rules that serve are replayed over what was observed. Prompts that were held out when a router was trained
    are judged by what it and the simple ones predicted then; prompts it learnt from are refused. Where the prices have
    a column billions_of_parameters, calls are also shared out by size. Prompts without a split are dealt out by a hash
    of the question: four fifths train, one fifth dev.

    Example: [bold]routoo evaluate --router general-fast --prompts p.csv --outcomes o.csv --prices c.csv --out r[/bold]
    """
    if split == "train":
        raise ConfigurationError(
            "--split: the simple routers are trained on 'train'; measure on another split"
        )
    if paraphrases and not stress:
        raise ConfigurationError(
            "--paraphrases: works only with --stress; add --stress N, the number of prompts"
        )
    if cost not in COST_MODELS:
        raise ConfigurationError(f"--cost: {cost!r} is unknown; choose {' or '.join(COST_MODELS)}")
    CommandFiles(
        inputs=[*prompts, *outcomes, prices, paraphrases],
        folders={"--out": (report, REPORT_FILES)},
    ).check(overwrite)
    checkpoints = [find_router(name) for name in router]
    table = read_tables(prompts, outcomes, {*SPLITS, "test", split})
    price_list = read_price_list(prices, pool or (), table.experts)
    rewordings = {}
    if paraphrases:
        rewordings = read_paraphrases(paraphrases, table.select(price_list.models), split)

    settings = EvaluationSettings(
        title=title or _default_title(router, prompts),
        split=split,
        guess=guess,
        force=force,
        stressed=stress,
        cost_model=cost,
        paraphrases=rewordings,
    )
    load = predictor_loader(on_ray, ray_gpus)
    result = evaluate(checkpoints, table, price_list, progress, settings, load)
    write_report(report, result)

    if as_json:
        _print_figures(report, result)
    else:
        _show_report(report, result)


def _default_title(routers: list[str], prompts: list[Path]) -> str:
    tables = [path.stem for path in prompts]
    return f"{', '.join(routers)} on {', '.join(tables)}"


def _print_figures(folder: Path, report: Report) -> None:
    figures = {name: router.to_dict() for name, router in report.figures.items()}
    print_json({"report": str(folder), "prompts": report.prompts, **figures})


def _show_report(folder: Path, report: Report) -> None:
    print_line(f"{short_path(folder / 'index.html')}: {report.prompts} prompts")
    for sentence in sentences(report):
        print_line(f"- {sentence}")
