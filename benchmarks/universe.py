"""Choosing a universe: time, memory, how near the optimum, and what a router makes of it.

python benchmarks/universe.py [--data FOLDER]   # FOLDER with {mmlu_pro,zeroeval}.{prompts,outcomes}.parquet, pools.csv
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from routoo_core.measures.curve import Curve, serve, sweep
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.price_list import read_price_list
from routoo_core.universe.observed import ObservedScores
from routoo_core.universe.routed import held_out_area, predict_by_domain, select_routed
from routoo_core.universe.selection import select_universe

SIZE = 56
LARGE = 47_000, 20_000  # the models on the hub that the paper counts (§3.4)
out = Console(width=110)


def correlated(experts: int, prompts: int, seed: int = 0) -> np.ndarray:
    """Right or wrong, prompts × experts, by ability and difficulty, with specialists."""
    random = np.random.default_rng(seed)
    ability, difficulty = random.normal(0, 1, experts), random.normal(4, 2, prompts)
    taste = random.normal(size=(prompts, 8)) @ random.normal(size=(8, experts)) / 3
    return (
        random.random((prompts, experts)) < 1 / (1 + np.exp(difficulty[:, None] - ability - taste))
    ).astype(float)


def naive(scores: np.ndarray, size: int) -> list[int]:
    """Algorithm 1 as printed: S(U + m) for every m, in every round."""
    chosen: list[int] = []
    best, rows = np.zeros(len(scores)), np.ascontiguousarray(scores.T)
    while len(chosen) < size:
        values = [
            -1.0 if m in chosen else np.maximum(best, rows[m]).sum() for m in range(len(rows))
        ]
        if max(values) <= best.sum():
            break
        chosen.append(int(np.argmax(values)))
        best = np.maximum(best, rows[chosen[-1]])
    return chosen


def speed() -> None:
    """The paper's size, both kinds of scores, beside the plain loop."""
    table = Table(
        "1,000 experts × 1,000 queries, k = 56",
        "seconds (≤ 1)",
        "plain loop",
        "times faster (≥ 10)",
        "same set",
    )
    right = correlated(1000, 1000)
    graded = (
        np.floor(
            np.clip(right * 0.6 + np.random.default_rng(1).random(right.shape) * 0.5, 0, 1) * 4
        )
        / 4
    )
    for name, scores in (("right or wrong", right), ("five levels", graded)):
        times = []
        for _ in range(5):  # runs of both alternate
            start = time.perf_counter()
            found = select_universe(
                ObservedScores.from_scores(scores, [str(m) for m in range(1000)]), SIZE
            )
            middle = time.perf_counter()
            plain = naive(scores, SIZE)
            times.append((middle - start, time.perf_counter() - middle))
        ours, theirs = (statistics.median(kind) for kind in zip(*times, strict=True))
        same = found.experts == tuple(map(str, plain))
        table.add_row(
            f"{name}, {len(plain)} chosen",
            f"{ours:.3f}",
            f"{theirs:.2f}",
            f"{theirs / ours:.0f}",
            str(same),
        )
    out.print(table)


def large() -> None:
    """47,000 × 20,000, made in chunks; run in a process of its own for its peak memory."""
    experts, prompts = LARGE
    random = np.random.default_rng(0)
    observed = ObservedScores.empty([str(m) for m in range(experts)], prompts, binary=True)
    easy = random.random(prompts) ** 3
    for start in range(0, experts, 500):
        rows = slice(start, min(start + 500, experts))
        shown = np.zeros((rows.stop - start, observed.observed_bits.shape[1] * 64), dtype=bool)
        shown[:, :prompts] = random.random(
            (len(shown), prompts), dtype=np.float32
        ) < easy * random.random((len(shown), 1))
        observed.values[rows] = np.packbits(shown, axis=1).view(np.uint64)
        shown[:, :prompts] = True
        observed.observed_bits[rows] = np.packbits(shown, axis=1).view(np.uint64)
    start_time = time.perf_counter()
    found = select_universe(observed, SIZE)
    seconds = time.perf_counter() - start_time
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    out.print(
        f"{experts:,} experts × {prompts:,} queries, k = {SIZE}: {len(found.experts)} chosen in {seconds:.1f} s, "
        f"covers {found.coverage[-1]:.3f}, at most {found.bound:.3f} possible; peak memory {peak:.2f} GiB (≤ 2)"
    )


def optimum(scores: np.ndarray, size: int) -> float:
    """Eq. 2's maximum over every set."""
    known = np.ascontiguousarray(np.nan_to_num(scores).T > 0)
    return max(
        known[list(chosen)].any(axis=0).mean() for chosen in combinations(range(len(known)), size)
    )


def exhaustive(data: Path) -> None:
    """Greedy beside every possible set."""
    table = Table("table", "k", "greedy", "optimum", "share (≥ 99 %)", "bound", "holds")
    for name in ("mmlu_pro", "zeroeval"):
        whole = read_outcomes(data / f"{name}.prompts.parquet", data / f"{name}.outcomes.parquet")
        complete = np.flatnonzero((~np.isnan(whole.scores)).mean(axis=0) > 0.9)
        pool = whole.select([whole.experts[m] for m in complete])
        observed = ObservedScores.from_scores(pool.scores, pool.experts)
        for size in (1, 2, 3, 4):
            found, best = select_universe(observed, size), optimum(pool.scores, size)
            covered = found.coverage[-1]
            share, holds = covered / best, str(found.bound >= best - 1e-9)
            shown = (
                f"{name}, {len(pool.experts)} experts",
                str(size),
                f"{covered:.4f}",
                f"{best:.4f}",
            )
            table.add_row(*shown, f"{share:.2%}", f"{found.bound:.4f}", holds)
    out.print(table)


def served(
    train: Outcomes, dev: Outcomes, prices: dict[str, float], chosen: tuple[str, ...]
) -> float:
    """Area when every prompt is answered, and below its cheapest cost a set has the quality it has there."""
    cost = np.array([prices[name] for name in chosen])
    quality = predict_by_domain(train.select(chosen), dev.domains)
    run = serve(quality, dev.select(chosen).scores.astype(float), cost, sweep(cost))
    best = int(np.nanmean(dev.scores, axis=0).argmax())
    return Curve(run.cost.mean(axis=1), run.score.mean(axis=1)).area(
        min(prices.values()), prices[dev.experts[best]]
    )


def routed(data: Path) -> None:
    """Chosen on train questions, measured on dev questions with the router by domain."""
    whole = read_outcomes(data / "mmlu_pro.prompts.parquet", data / "mmlu_pro.outcomes.parquet")
    prices = read_price_list(data / "pools.csv", ["open"], whole.experts).per_million()
    pool = whole.select(list(prices))
    train, dev = pool.take(pool.rows("train")), pool.take(pool.rows("dev"))
    table = Table(
        "mmlu_pro open, k",
        "held-out area: coverage",
        "routed",
        "chosen",
        "flattered*: coverage",
        "routed",
    )
    for size in (1, 2, 3, 4, 5, 6, 8, 10):
        covering = select_universe(
            ObservedScores.from_scores(train.scores, train.experts), size, prices=prices
        ).experts
        gaining = select_routed(train, prices, size).experts
        areas = [held_out_area(train, dev, prices, chosen) for chosen in (covering, gaining)]
        kind = [served(train, dev, prices, chosen) for chosen in (covering, gaining)]
        table.add_row(
            str(size),
            f"{areas[0]:.4f}",
            f"{areas[1]:.4f}",
            str(len(gaining)),
            f"{kind[0]:.4f}",
            f"{kind[1]:.4f}",
        )
    everybody = held_out_area(train, dev, prices, pool.experts)
    out.print(table)
    out.print(
        "* as if the set's cheapest curve point cost no more than the pool's cheapest expert; this favours dear sets"
    )
    out.print(f"with all {len(pool.experts)} experts of the pool: {everybody:.4f}")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument(
        "--large", action="store_true", help="only the large table, in this process"
    )
    given = parser.parse_args()
    if given.large:
        large()
        return
    speed()
    subprocess.run([sys.executable, __file__, "--large"], check=True)
    if given.data:
        exhaustive(given.data)
        routed(given.data)


if __name__ == "__main__":
    main()
