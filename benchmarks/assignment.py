"""The offline assignment of a million prompts to fifty experts: python benchmarks/assignment.py"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from routoo_core.assignment.solver import assign

PROMPTS, EXPERTS, ROUNDS = 1_000_000, 50, 5
SHARES = (0.02, 0.1, 0.5)  # of what everything on the best expert of each prompt would cost


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Print a row for each budget; runs of both alternate."""
    random = np.random.default_rng(0)
    quality = random.random((PROMPTS, EXPERTS), dtype=np.float32)
    cost = np.sort(random.lognormal(sigma=1.5, size=EXPERTS) / 1e3).astype(np.float32)
    quality *= np.linspace(
        0.6, 1.0, EXPERTS, dtype=np.float32
    )  # dearer experts are better on the whole
    whole = float(cost[quality.argmax(axis=1)].sum(dtype=np.float64))
    table = Table(
        "budget", "over one argmax pass (≤ 5)", "gap (≤ 0.01 %)", "spent of the budget", "seconds"
    )
    for share in SHARES:
        pairs = [
            (
                seconds(lambda b=share * whole: assign(quality, cost, b)),
                seconds(lambda: quality.argmax(axis=1)),
            )
            for _ in range(ROUNDS)
        ]
        ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
        found = assign(quality, cost, share * whole)
        table.add_row(
            f"{share:.0%}",
            f"{ours / bare:.2f}",
            f"{found.gap:.7%}",
            f"{found.cost / found.budget:.6%}",
            f"{ours:.2f}",
        )
    Console().print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    Console().print(
        f"peak memory {peak:.2f} GB, of which the array itself {quality.nbytes / 1e9:.2f} GB",
        highlight=False,
    )


if __name__ == "__main__":
    main()
