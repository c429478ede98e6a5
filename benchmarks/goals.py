"""Whether goals are reached on held-out prompts: python benchmarks/goals.py --data ../shared/data

Half of a shipped router's held-out prompts are the typical ones that a goal starts from. The other half arrive in
random order, or easy before hard, through the serving router and a ledger. Beside each goal stands the cheapest mix
of two experts, chosen in hindsight without looking at prompts, that is as good as what the goal reached.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from routoo_core import Budget
from routoo_core.budget.goals import MatchBest, Save
from routoo_core.money import NANO_PER_USD
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.price_list import read_price_list
from routoo_core.prices import TOKENS_PER_MILLION
from routoo_core.progress import SILENT
from routoo_core.selector import Policy
from routoo_core.simulation.replay import (
    TOKENS_PER_CALL,
    ReplaySettings,
    replay_traffic,
    replayable_prompts,
)
from routoo_core.simulation.traffic import ReplayTraffic, arrival_times

Floats = NDArray[np.float64]
SEEDS = 5
GOALS: dict[str, Policy] = {
    "match_best 0.98": MatchBest(0.98),
    "match_best 0.95": MatchBest(0.95),
    "save 0.4": Save(0.4),
}
NEARLY = 0.005
"""By how much a stream may miss the goal of ``match_best`` and still have nearly reached it."""


@dataclass(frozen=True)
class Source:
    """A table of outcomes.

    Attributes:
        name: For the reader.
        files: How its files begin.
        router: The shipped router for it.
        pools: Of the price list.
        prices: The price list, in the folder of the tables unless it has a folder of its own.
    """

    name: str
    files: str
    router: str
    pools: tuple[str, ...]
    prices: str = "pools.csv"


SOURCES = (
    Source("MMLU-Pro mix", "mmlu_pro", "general-fast", ("open", "mix")),
    Source("MMLU-Pro frontier", "mmlu_pro", "general-fast", ("open", "mix", "frontier")),
    Source("MMLU", "helm_mmlu", "general-fast", ("frontier",)),
    Source("GPT-4 and Mixtral", "routellm", "gpt4-mixtral", ("pair",)),
    Source("ZeroEval", "zeroeval", "zeroeval", (), "benchmarks/zeroeval_prices.csv"),
)


@dataclass(frozen=True)
class Run:
    """What one stream came to.

    Attributes:
        share: Observed quality as a share of what always asking the best predicted expert reached.
        cost: Cost as a share of its cost.
        mix_cost: Cost of the cheapest mix that is as good, as a share of it; infinite where none is.
    """

    share: float
    cost: float
    mix_cost: float


def read_source(source: Source, data: Path) -> tuple[Outcomes, Floats, dict[str, float]]:
    """Held-out prompts, what is predicted for them, and USD per million tokens of each expert."""
    prices_file = Path(source.prices) if "/" in source.prices else data / source.prices
    usd_of = read_price_list(prices_file, source.pools).per_million()
    outcomes = read_outcomes(
        data / f"{source.files}.prompts.parquet", data / f"{source.files}.outcomes.parquet"
    )
    experts = [name for name in usd_of if name in outcomes.experts]
    folder = find_router(source.router)
    complete, quality = replayable_prompts(folder, outcomes, experts, None, SILENT)
    return complete, quality, {name: usd_of[name] for name in experts}


def stream(outcomes: Outcomes, quality: Floats, order: str, seed: int) -> ReplayTraffic:
    """Half of the prompts in an order; the others are the typical ones."""
    random = np.random.default_rng(seed)
    rows = random.permutation(len(outcomes.prompts))
    arriving = rows[: len(rows) // 2]
    typical = rows[len(rows) // 2 :]
    if order == "easy → hard":
        arriving = arriving[np.argsort(-quality[arriving].mean(axis=1))]
    return ReplayTraffic(
        prompts=tuple(outcomes.prompts[row] for row in arriving),
        times=arrival_times("even", len(arriving), random),
        quality=quality[arriving],
        typical_quality=quality[typical],
        scores=outcomes.scores[arriving].astype(np.float64),
    )


def run_goal(traffic: ReplayTraffic, policy: Policy, prices: dict[str, float]) -> Run:
    settings = ReplaySettings(prices, Budget(), policy)
    calls = replay_traffic(traffic, settings, SILENT)
    usd = np.array(list(prices.values())) * TOKENS_PER_CALL / TOKENS_PER_MILLION
    best = traffic.quality.argmax(axis=1)
    rows = np.arange(len(best))
    assert traffic.scores is not None
    best_score = float(traffic.scores[rows, best].mean())
    best_cost = float(usd[best].mean())
    score = float(np.mean([call.score for call in calls]))
    cost = float(np.mean([call.cost for call in calls])) / NANO_PER_USD
    mix = cheapest_mix(traffic.scores.mean(axis=0), usd, score)
    return Run(score / best_score, cost / best_cost, mix / best_cost)


def cheapest_mix(scores: Floats, usd: Floats, needed: float) -> float:
    """USD a call of the cheapest mix of two experts whose mean score is ``needed``."""
    cheapest = np.inf
    for first in range(len(scores)):
        if scores[first] >= needed:
            cheapest = min(cheapest, usd[first])
            continue
        for second in np.flatnonzero(scores >= needed):
            share = (needed - scores[first]) / (scores[second] - scores[first])
            cheapest = min(cheapest, (1 - share) * usd[first] + share * usd[second])
    return float(cheapest)


def interval(values: Sequence[float]) -> str:
    """Mean, and 95 % interval over the seeds; a dash where a stream has no value."""
    if not np.isfinite(values).all():
        return "–"
    mean = np.mean(values)
    half = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean:.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    table = Table(
        "prompts", "order", "goal", "share of the best's score", "cost", "cost of the mix"
    )
    shares_of: dict[str, list[float]] = {}
    for source in SOURCES:
        outcomes, quality, prices = read_source(source, arguments.data)
        for order in ("random", "easy → hard"):
            for name, policy in GOALS.items():
                runs = []
                for seed in range(SEEDS):
                    traffic = stream(outcomes, quality, order, seed)
                    runs.append(run_goal(traffic, policy, prices))
                reached = [run.share for run in runs]
                shares_of.setdefault(name, []).extend(reached)
                shares = interval(reached)
                costs = interval([run.cost for run in runs])
                mixes = interval([run.mix_cost for run in runs])
                table.add_row(source.name, order, name, shares, costs, mixes)
    Console(width=130).print(table)
    for name, policy in GOALS.items():
        if isinstance(policy, MatchBest):
            print(describe_streams(name, policy.quality, shares_of[name]))


def describe_streams(name: str, goal: float, shares: Sequence[float]) -> str:
    """In how many streams a goal was reached, and nearly reached."""
    reached = np.mean(np.array(shares) >= goal)
    nearly = np.mean(np.array(shares) >= goal - NEARLY)
    streams = f"of {len(shares)} streams"
    return f"{name}: {goal} in {reached:.0%} {streams}, {goal - NEARLY:.3f} in {nearly:.0%}"


if __name__ == "__main__":
    main()
