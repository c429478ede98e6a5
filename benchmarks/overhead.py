"""What Routoo adds to a call: python benchmarks/overhead.py (no network, no GPU; figures are this machine's)."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from routoo_core import Budget, RoutedRequest
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.predictor.checkpoint import find_router, load_checkpoint

QUESTION = "A 2 kg block slides down a frictionless incline of 30 degrees and length 5 m from rest. How fast is it?"


def wall_ms(call: Callable[[], object], repeats: int) -> float:
    """Median wall-clock milliseconds of ``call``."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def ledger_pair() -> float:
    """Wall-ms of one reserve and one settle on a SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        ledger, budget = SqliteLedger(Path(folder) / "l.db"), Budget(limit="9")
        return wall_ms(lambda: ledger.settle(ledger.reserve(budget, minimum=1, maximum=9), 1), 1000)


def decision() -> tuple[float, float]:
    """Wall-ms of one prediction by the shipped router, and of its encoder's bare forward pass on the same tokens."""
    predictor = load_checkpoint(find_router("zeroeval"))
    text = RoutedRequest.from_text(QUESTION).text
    tokens = predictor.encoder.tokens([text])
    predictor.predict([text])
    prediction_ms = wall_ms(lambda: predictor.predict([text]), 60)
    bare_ms = wall_ms(lambda: predictor.encoder._encode_batch(tokens), 60)
    return prediction_ms, bare_ms


def import_seconds() -> float:
    """Seconds that ``import routoo_core`` with all its public names adds to a bare interpreter."""
    names = "from routoo_core import Budget, Expert, Pool, RoutedRequest, Router, Usage"
    start = [
        wall_ms(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True), 5)
        for code in ("", names)
    ]
    return (start[1] - start[0]) / 1e3


def main() -> None:
    """Print every figure."""
    predicted, bare = decision()
    table = Table("what", "figure")
    table.add_row("one reserve + settle, SQLite file", f"{ledger_pair():.3f} ms")
    table.add_row(
        "one prediction, shipped router",
        f"{predicted:.1f} ms, {predicted / bare:.2f} × the bare encoder",
    )
    table.add_row("import routoo_core", f"{import_seconds():.2f} s")
    Console().print(table)


if __name__ == "__main__":
    main()
