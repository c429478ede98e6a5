"""``routoo replay``: what a budget would do to a stream of prompts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from routoo_core.budget.account import Budget
from routoo_core.config import make_policy
from routoo_core.errors import ConfigurationError
from routoo_core.measures.call_costs import MEASURED, PAPER
from routoo_core.money import NANO_PER_USD
from routoo_core.options import with_held_out_evidence
from routoo_core.outcomes import read_outcomes
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.price_list import read_price_list
from routoo_core.selector import Policy, PreferenceRule
from routoo_core.simulation.plots import plot_replay
from routoo_core.simulation.replay import (
    ReplaySettings,
    ReplaySummary,
    replay_traffic,
    replayable_prompts,
    sample_traffic,
    summarise_replay,
)
from routoo_core.simulation.traffic import ARRIVAL_PATTERNS, arrival_times
from routoo_integrations.cli.options import (
    JsonOption,
    OutcomesOption,
    PoolOption,
    PricesOption,
    RouterOption,
    TokensOption,
    check_png,
)
from routoo_integrations.cli.outputs import CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import print_json, print_line, progress

ArrivalsOption = Annotated[str, typer.Option("--arrivals", help="even, poisson, bursts or office.")]
DaysOption = Annotated[int, typer.Option(min=1, help="The number of days over which calls arrive.")]
AccountsOption = Annotated[
    int, typer.Option(min=1, help="Number of users who take turns; one limit covers all.")
]


def replay_command(
    router: RouterOption,
    prompts: Annotated[
        Path, typer.Option(help="Parquet or CSV: prompt_id, prompt, optional split.")
    ],
    outcomes: OutcomesOption,
    prices: PricesOption,
    limit: Annotated[str, typer.Option(help="USD for each period, a decimal such as 5.00.")],
    period: Annotated[str, typer.Option(help="run, hour, day or month.")] = "day",
    rolling: Annotated[
        bool, typer.Option(help="Count the period back from each call instead of by the calendar.")
    ] = False,
    policy: Annotated[
        str,
        typer.Option(
            help='A policy\'s name, or its table: \'{name = "guarded", default = "gpt-5"}\'.'
        ),
    ] = "paced",
    alpha: Annotated[float, typer.Option(help="α of --policy ratio.")] = 0.1,
    calls: Annotated[
        int | None, typer.Option(min=1, help="Calls to replay; by default half of the prompts.")
    ] = None,
    pattern: ArrivalsOption = "poisson",
    days: DaysOption = 1,
    accounts: AccountsOption = 1,
    expected_calls: Annotated[
        int, typer.Option(help="Calls in a period that pacing expects at first.")
    ] = 1000,
    tokens: TokensOption = 1000,
    cost: Annotated[
        str,
        typer.Option(
            help="'measured': list price × tokens of each prompt and answer; 'paper': averaged prices × --tokens."
        ),
    ] = MEASURED,
    pool: PoolOption = None,
    plot: Annotated[
        Path | None, typer.Option(help="A PNG of spend, λ, score and refusals over time.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="A different seed gives another order and other times.")
    ] = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate a budget: replay prompts through the router and a ledger, with observed outcomes as answers.

    No expert is called. The prompts are dev prompts that the router did not learn from. Those that are not in
    the stream are what pacing starts from.

    Example: [bold]routoo replay --router general-fast --prompts p.csv --outcomes o.csv --prices c.csv --limit 2[/bold]
    """
    _check_arrivals(pattern)
    if cost not in {MEASURED, PAPER}:
        raise ConfigurationError(f"--cost: {cost!r} is unknown; choose {MEASURED} or {PAPER}")
    check_png(plot)
    CommandFiles({"--plot": plot}, inputs=[prompts, outcomes, prices]).check(overwrite)
    budget = _read_budget(limit, period, rolling, expected_calls)
    folder = find_router(router)
    table = read_outcomes(prompts, outcomes)
    price_list = read_price_list(prices, pool or (), table.experts)
    settings = ReplaySettings(
        prices=price_list.per_million() if cost == PAPER else price_list.input_usd_per_1m,
        budget=budget,
        policy=_read_policy(policy, alpha, folder),
        tokens=tokens,
        accounts=accounts,
        reply_prices=None if cost == PAPER else price_list.output_usd_per_1m,
    )

    observations, quality = replayable_prompts(
        folder, table, list(price_list.models), calls, progress
    )
    random = np.random.default_rng(seed)
    times = arrival_times(pattern, calls or len(quality) // 2, random, days)
    traffic = sample_traffic(observations, quality, times, seed, has_lengths=cost == MEASURED)
    replay_calls = replay_traffic(traffic, settings, progress)

    total_limit = (budget.limit_nano or 0) * _period_count(budget.period, days)
    summary = summarise_replay(replay_calls, traffic, settings, total_limit)
    if plot:
        title = f"{len(replay_calls)} calls, {pattern}, ${limit} a {period}, {policy}"
        plot_replay(plot, replay_calls, total_limit / NANO_PER_USD, title)

    if as_json:
        print_json(summary.to_dict())
    else:
        _show_replay(summary)
        _show_shares(summary)


def _check_arrivals(pattern: str) -> None:
    if pattern not in ARRIVAL_PATTERNS:
        raise ConfigurationError(
            f"--arrivals: {pattern!r} is unknown; choose one of {', '.join(ARRIVAL_PATTERNS)}"
        )


def _read_budget(limit: str, period: str, rolling: bool, expected_calls: int) -> Budget:
    settings = {
        "limit": limit,
        "period": period,
        "rolling": rolling,
        "expected_calls": expected_calls,
    }
    return Budget.read("--limit, --period", settings)


def _read_policy(text: str, alpha: float, folder: Path) -> Policy | PreferenceRule:
    """The policy of ``--policy``; one that needs evidence has the router's."""
    policy = make_policy(_policy_table(text, alpha))
    if isinstance(policy, Policy) and policy.needs_evidence:
        return with_held_out_evidence(policy, folder)
    return policy


def _policy_table(text: str, alpha: float) -> dict[str, object]:
    """What ``--policy`` says, as routoo.toml would."""
    if text.startswith("{"):
        try:
            table: dict[str, object] = tomllib.loads(f"policy = {text}")["policy"]
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"--policy: {text!r} is not valid TOML: {error}") from error
        return table
    if text == "ratio":
        return {"name": text, "alpha": alpha}
    return {"name": text}


def _period_count(period: str, days: int) -> int:
    """How many periods the days are; a month is not split."""
    if period == "hour":
        return 24 * days
    if period == "day":
        return days
    return 1


def _show_replay(summary: ReplaySummary) -> None:
    formats = {
        "share_of_optimum": ".2%",
        "share_of_best_score": ".1%",
        "share_of_best_cost": ".1%",
        "mean_score": ".3f",
    }
    for name, value in summary.to_dict().items():
        if name == "experts" or value is None:
            continue
        label = name.replace("_", " ")
        figure = format(value, formats.get(name, ""))
        print_line(f"{label:>19}  {figure}")


def _show_shares(summary: ReplaySummary) -> None:
    """Each expert's share of the calls, the largest first."""
    for expert, share in sorted(summary.shares.items(), key=lambda item: -item[1]):
        if share:
            print_line(f"{share:>19.1%}  {expert}")
