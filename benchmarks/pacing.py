"""Paced spending beside the offline optimum.

    python benchmarks/pacing.py --prompts mmlu_pro.prompts.parquet --outcomes mmlu_pro.outcomes.parquet \
        --prices pools.csv --pool open --pool mix

Half of the prompts that the router has not seen are the typical ones that pacing starts from; the other half arrive,
through a real ledger and a clock that is moved. Figures are shares of the LP's value, which no assignment can exceed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from routoo_core import Budget
from routoo_core.assignment.solver import assign
from routoo_core.budget.pacing import Paced
from routoo_core.budget.period import HOUR_S
from routoo_core.money import NANO_PER_USD
from routoo_core.outcomes import read_outcomes
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.price_list import read_price_list
from routoo_core.progress import SILENT
from routoo_core.selector import Ratio
from routoo_core.simulation.replay import (
    ReplayedCall,
    ReplaySettings,
    replay_traffic,
    replayable_prompts,
)
from routoo_core.simulation.traffic import DAY, FIRST_MIDNIGHT, ReplayTraffic, arrival_times

Floats = NDArray[np.float64]
SHARES = (0.02, 0.05, 0.10, 0.25, 0.50)  # of what everything on the dearest expert would cost
ALPHAS = (1.0, 0.1, 0.01)
TOKENS = 1000
PLOTTED = (
    "calls known, any order",
    "calls known, easy → hard",
    "period known, Poisson",
    "period known, office hours",
    "the day before too, bursts",
    "the day before too, office hours",
)
YESTERDAY = 0.8  # of today's calls came the day before, where there was one
EXPECTED = 500  # what the configuration says where only the period is known; it is wrong


def scenarios(
    quality: Floats, typical: Floats, seed: int
) -> dict[str, Callable[[str], tuple[ReplayTraffic, Budget]]]:
    """Name → (prompts and when they come, budget of a limit)."""
    random, count = np.random.default_rng(seed), len(quality)
    shuffled = random.permutation(quality)
    hard = quality[np.argsort(-quality.mean(1))]

    def known(prompts: Floats, limit: str) -> tuple[ReplayTraffic, Budget]:
        traffic = ReplayTraffic.of_predictions(
            prompts, typical, arrival_times("even", count, random), np.empty(0)
        )
        return traffic, Budget(limit=limit, period="run", expected_calls=count)

    def day(limit: str, kind: str, before: str | None = None) -> tuple[ReplayTraffic, Budget]:
        times = arrival_times(kind, count, random)
        earlier = (
            arrival_times(before, round(count * YESTERDAY), random) - DAY if before else np.empty(0)
        )
        return ReplayTraffic.of_predictions(shuffled, typical, times, earlier), Budget(
            limit=limit, expected_calls=EXPECTED
        )

    return {
        "calls known, any order": lambda limit: known(shuffled, limit),
        "calls known, easy → hard": lambda limit: known(hard, limit),
        "period known, Poisson": lambda limit: day(limit, "poisson"),
        "period known, bursts": lambda limit: day(limit, "bursts"),
        "period known, office hours": lambda limit: day(limit, "office"),
        "an even day before, Poisson": lambda limit: day(limit, "poisson", "poisson"),
        "an even day before, bursts": lambda limit: day(limit, "bursts", "poisson"),
        "the day before too, bursts": lambda limit: day(limit, "bursts", "bursts"),
        "the day before too, office hours": lambda limit: day(limit, "office", "office"),
    }


def plot(path: Path, runs: dict[str, list[ReplayedCall]], limit: float) -> None:
    """Spend and λ over the day."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (money, price) = plt.subplots(2, 1, figsize=(9, 7), sharex=True, layout="constrained")
    for name in PLOTTED:
        calls = runs[name]
        hours = [(call.time - FIRST_MIDNIGHT) / HOUR_S for call in calls]
        money.plot(hours, np.cumsum([call.cost for call in calls]) / NANO_PER_USD, label=name)
        prices = np.array(
            [call.lambda_ for call in calls], dtype=float
        )  # NaN where a call was refused
        price.plot(hours, np.maximum(prices, 1.0), label=name, linewidth=0.8)
    money.axhline(limit, color="black", linestyle=":", label="limit")
    money.set(
        ylabel="spent, USD",
        title="Paced spending of a day's budget (10 % of everything on the dearest expert)",
    )
    figure.legend(*money.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    price.set(ylabel="λ, quality per USD", xlabel="hour of the day", yscale="log")
    figure.savefig(path, dpi=120)


def cell(calls: list[ReplayedCall], bound: float) -> str:
    """Share of the optimum, and how many calls were refused."""
    refused = sum(call.expert is None for call in calls)
    return f"{sum(call.quality for call in calls) / bound:.2%}" + (
        f", {refused} refused" if refused else ""
    )


def main() -> None:
    """Print a row for each budget and scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--outcomes", type=Path, required=True)
    parser.add_argument("--prices", type=Path, required=True)
    parser.add_argument("--pool", action="append", required=True)
    parser.add_argument("--router", default="general-fast")
    parser.add_argument("--plot", type=Path, help="where the picture goes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes = read_outcomes(arguments.prompts, arguments.outcomes)
    prices = read_price_list(arguments.prices, arguments.pool, outcomes.experts).per_million()
    folder = find_router(arguments.router)
    _, chosen = replayable_prompts(folder, outcomes, list(prices), None, SILENT)
    cost = np.array(list(prices.values())) * TOKENS / 1e6
    half = np.random.default_rng(arguments.seed).permutation(len(chosen))
    typical, quality = chosen[half[::2]], chosen[half[1::2]]
    names = scenarios(quality, typical, arguments.seed)
    table = Table("budget", *names, *(f"ratio α = {alpha}" for alpha in ALPHAS), "never over")
    for share in SHARES:
        limit = share * len(quality) * float(cost.max())
        bound, runs, never = assign(quality, cost, limit).bound, {}, "yes"
        for name, scenario in scenarios(quality, typical, arguments.seed).items():
            traffic, budget = scenario(f"{limit:.9f}")
            settings = ReplaySettings(prices, budget, Paced(), TOKENS)
            runs[name] = replay_traffic(traffic, settings, SILENT)
            if sum(call.cost for call in runs[name]) > (budget.limit_nano or 0):
                never = "no!"
        greedy = [assign(quality, cost, limit, Ratio(alpha)).quality / bound for alpha in ALPHAS]
        table.add_row(
            f"{share:.0%}",
            *(cell(calls, bound) for calls in runs.values()),
            *(f"{value:.1%}" for value in greedy),
            never,
        )
        if arguments.plot and share == 0.10:
            plot(arguments.plot, runs, limit)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
