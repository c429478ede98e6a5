"""``routoo evaluate`` and ``replay``: how good a router is, before it serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routoo_core.budget.account import Budget
from routoo_core.config import make_policy
from routoo_core.errors import ConfigurationError
from routoo_integrations.cli.shared import (
    JsonOption,
    PoolOption,
    PricesOption,
    RouterOption,
    TokensOption,
    out,
    progress,
)

if TYPE_CHECKING:
    from routoo_core.outcomes import Outcomes
    from routoo_core.simulation.replay import ReplaySummary

app = typer.Typer()


@app.command()
def evaluate(
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
        str, typer.Option(help="Which prompts to measure on; simple routers learn from train.")
    ] = "dev",
    guess: Annotated[
        float, typer.Option(min=0, max=0.99, help="Rate of lucky guesses: 0.25 with four choices.")
    ] = 0.0,
    stress: Annotated[
        int,
        typer.Option(
            min=0,
            help="On so many prompts: who is asked when only the wording changes, or attacks it?",
        ),
    ] = 0,
    paraphrases: Annotated[
        Path | None,
        typer.Option(help="For --stress: what 'routoo data paraphrase' wrote about these prompts."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    force: Annotated[
        bool, typer.Option(help="Also on prompts a router learnt from; the report is stamped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure routers on the dev prompts of a table, beside simple ones that learn from its train prompts.

    The very rules that serve are replayed over what was observed. Prompts that were held out when a router was trained
    are judged by what it and the simple ones predicted then; prompts it learnt from are refused. Where the prices have
    a column billions_of_parameters, calls are also shared out by size. Prompts without a split are dealt out by a hash
    of the question: four fifths train, one fifth dev.

    Example: [bold]routoo evaluate --router mmlu --prompts p.parquet --outcomes o.parquet --prices c.csv --out r[/bold]
    """
    from routoo_core.evaluation.evaluation import EvaluationSettings
    from routoo_core.evaluation.evaluation import evaluate as measure
    from routoo_core.evaluation.report import sentences, write_report
    from routoo_core.evaluation.stress import read_paraphrases
    from routoo_core.outcomes import SPLITS, read_tables
    from routoo_core.predictor.checkpoint import find_router
    from routoo_core.price_list import read_price_list

    if split == "train":
        raise ConfigurationError(
            "--split: simple routers learn from the 'train' prompts; measure on others"
        )
    if paraphrases and not stress:
        raise ConfigurationError(
            "--paraphrases: are for --stress; say by --stress N on how many prompts"
        )
    folders = [find_router(name) for name in router]
    table = read_tables(prompts, outcomes, {*SPLITS, "test", split})
    price_list = read_price_list(prices, pool or (), table.experts)
    listed = price_list.per_million()
    reworded = (
        read_paraphrases(paraphrases, table.select(list(listed)), split) if paraphrases else {}
    )
    settings = EvaluationSettings(split, guess, force, stress, price_list.sizes, reworded)
    result = {
        **measure(folders, table, listed, progress, settings),
        "resembling": _resembling(table, split),
    }
    write_report(
        report,
        result,
        title or f"{', '.join(router)} on {', '.join(path.stem for path in prompts)}",
    )
    if as_json:
        out.print_json(
            json.dumps({"report": str(report), "prompts": result["prompts"], **result["figures"]})
        )
        return
    out.print(
        f"{report / 'index.html'}: {result['prompts']} prompts", highlight=False, soft_wrap=True
    )
    for sentence in sentences(result):
        out.print(f"- {sentence}", highlight=False, soft_wrap=True)


def _resembling(table: Outcomes, split: str) -> dict[str, int]:
    """Prompts of a split that are, contain or resemble a train prompt, by reason."""
    from routoo_core.data.decontamination import Rule, decontaminate

    asked, train = (
        [
            {"prompt_id": table.prompt_ids[row], "prompt": table.prompts[row]}
            for row in table.rows(name)
        ]
        for name in (split, "train")
    )
    with progress.bar("Looking for near-duplicates", len(asked) + len(train)) as advance:
        _, leaks = decontaminate(asked, train, Rule(), False, advance)
    return {
        reason: sum(leak.reason == reason for leak in leaks)
        for reason in ("exact", "ngram", "near")
    }


@app.command()
def replay(
    router: RouterOption,
    prompts: Annotated[
        Path, typer.Option(help="Parquet or CSV: prompt_id, prompt, optional split.")
    ],
    outcomes: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, model, score (0–1).")],
    prices: PricesOption,
    limit: Annotated[str, typer.Option(help="USD for each period, a decimal such as 5.00.")],
    period: Annotated[str, typer.Option(help="run, hour, day or month.")] = "day",
    rolling: Annotated[
        bool, typer.Option(help="The limit holds over any such period that ends now.")
    ] = False,
    policy: Annotated[str, typer.Option(help="paced, or any other policy by its name.")] = "paced",
    alpha: Annotated[float, typer.Option(help="α of --policy ratio.")] = 0.1,
    calls: Annotated[
        int | None, typer.Option(help="Calls to replay; by default half of the prompts.")
    ] = None,
    pattern: Annotated[
        str, typer.Option("--arrivals", help="even, poisson, bursts or office.")
    ] = "poisson",
    days: Annotated[int, typer.Option(min=1, help="Over how many days they come.")] = 1,
    accounts: Annotated[
        int, typer.Option(min=1, help="Users who take turns, within one limit for all.")
    ] = 1,
    expected_calls: Annotated[
        int, typer.Option(help="What pacing expects of a period before it knows better.")
    ] = 1000,
    tokens: TokensOption = 1000,
    pool: PoolOption = None,
    plot: Annotated[
        Path | None, typer.Option(help="A PNG of spend, λ, score and refusals over time.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another order and other times.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run a stream of prompts through the router and a ledger, answered by what was observed: what would a budget do?

    Nobody is called. The prompts are dev prompts that the router did not learn from; those that are not in the stream
    are what pacing starts from.

    Example: [bold]routoo replay --router mmlu --prompts p.csv --outcomes o.csv --prices c.csv --limit 2.00[/bold]
    """
    import numpy as np

    from routoo_core.outcomes import read_outcomes
    from routoo_core.predictor.checkpoint import find_router
    from routoo_core.price_list import read_price_list
    from routoo_core.simulation.plots import plot_replay
    from routoo_core.simulation.replay import (
        ReplaySettings,
        replay_traffic,
        replayable_prompts,
        sample_traffic,
        summarise_replay,
    )
    from routoo_core.simulation.traffic import ARRIVAL_PATTERNS, arrival_times

    if pattern not in ARRIVAL_PATTERNS:
        raise ConfigurationError(
            f"--arrivals: {pattern!r} is none of {', '.join(ARRIVAL_PATTERNS)}"
        )
    values = {
        "limit": limit,
        "period": period,
        "rolling": rolling,
        "expected_calls": expected_calls,
    }
    budget = Budget.read("--limit, --period", values)
    rule = make_policy({"name": policy, **({"alpha": alpha} if policy == "ratio" else {})})
    table = read_outcomes(prompts, outcomes)
    listed = read_price_list(prices, pool or (), table.experts).per_million()
    observed, quality = replayable_prompts(
        find_router(router), table, list(listed), calls, progress
    )
    random = np.random.default_rng(seed)
    times = arrival_times(pattern, calls or len(quality) // 2, random, days)
    traffic = sample_traffic(observed, quality, times, seed)
    settings = ReplaySettings(listed, budget, rule, tokens, accounts)
    replayed = replay_traffic(traffic, settings, progress)

    periods = {"run": 1, "day": days, "hour": 24 * days, "month": 1}[budget.period]
    total_limit = (budget.limit_nano or 0) * periods
    summary = summarise_replay(replayed, traffic, settings, total_limit)
    if plot:
        title = f"{len(replayed)} calls, {pattern}, ${limit} a {period}, {policy}"
        plot_replay(plot, replayed, total_limit / 1e9, title)
    if as_json:
        out.print_json(json.dumps(summary.to_dict()))
        return
    _print_replay(summary)


def _print_replay(summary: ReplaySummary) -> None:
    """The figures of a replay, and each expert's share of the calls, the largest first."""
    for name, value in summary.to_dict().items():
        if name == "experts":
            continue
        if name == "share_of_optimum":
            text = f"{value:.2%}"
        elif name == "mean_score":
            text = f"{value:.3f}"
        else:
            text = str(value)
        out.print(f"{name.replace('_', ' '):>18}  {text}", highlight=False)
    for name, share in sorted(summary.shares.items(), key=lambda pair: -pair[1]):
        if share:
            out.print(f"{share:>18.1%}  {name}", highlight=False)
