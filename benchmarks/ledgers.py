"""What every ledger must hold, with real processes: python benchmarks/ledgers.py [--redis redis://localhost:6379/15]

Without --redis only SQLite is measured. The Redis database given is written to; give an empty one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from routoo_core import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.period import SLOTS_PER_PERIOD
from routoo_core.config import open_ledger
from routoo_core.errors import BudgetExceeded
from routoo_core.testing import ManualClock

LIMIT, CALLS, CALL = 2_000_000, 100, 70_000  # nano-USD: $0.002, a hundred calls of $0.00007
PROCESSES, PAIRS, KILLS = 4, 500, 200
WORKER = textwrap.dedent("""
    import sys, time
    from routoo_core import Budget
    from routoo_core.config import open_ledger
    from routoo_core.errors import BudgetExceeded

    url, account, limit, calls, cost = sys.argv[1], sys.argv[2], sys.argv[3] or None, int(sys.argv[4]), int(sys.argv[5])
    ledger, budget = open_ledger(url), Budget(account=account, limit=limit, period="month")
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    for _ in range(calls):
        try:
            held = ledger.reserve(budget, minimum=cost, maximum=cost, estimate=cost)
        except BudgetExceeded:
            continue
        print("held", flush=True)
        ledger.settle(held, cost)
        print("settled", flush=True)
    print(time.perf_counter() - start, flush=True)
""")


def budget(limit: str | None = "0.002") -> Budget:
    """An account nobody used before."""
    return Budget(account=uuid.uuid4().hex, limit=limit, period="month")


def worker(url: str, of: Budget, calls: int) -> subprocess.Popen[str]:
    """A process that is ready to call."""
    limit = "" if of.limit is None else str(of.limit)
    command = [sys.executable, "-c", WORKER, url, of.account, limit, str(calls), str(CALL)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def call(ledger: Ledger, of: Budget) -> None:
    """One call that costs what was held."""
    try:
        ledger.settle(ledger.reserve(of, minimum=CALL, maximum=CALL, estimate=CALL), CALL)
    except BudgetExceeded:
        return


def in_threads(url: str, of: Budget) -> None:
    """All calls at once, on threads."""
    ledger = open_ledger(url)
    with ThreadPoolExecutor(CALLS) as pool:
        list(pool.map(lambda _: call(ledger, of), range(CALLS)))


def in_asyncio(url: str, of: Budget) -> None:
    """All calls at once, on one event loop."""
    ledger = open_ledger(url)

    async def everything() -> None:
        await asyncio.gather(*(asyncio.to_thread(call, ledger, of) for _ in range(CALLS)))

    asyncio.run(everything())


def in_processes(url: str, of: Budget) -> None:
    """All calls from four processes."""
    finish([worker(url, of, CALLS // PROCESSES) for _ in range(PROCESSES)])


def finish(workers: list[subprocess.Popen[str]]) -> list[list[str]]:
    """Let them go; what each printed."""
    for process in workers:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=120)[0].splitlines() for process in workers]


def spent(url: str, way: object) -> str:
    """Share of the limit that was spent."""
    of = budget()
    way(url, of)  # type: ignore[operator]
    state = open_ledger(url).state(of)
    return f"{state.spent / LIMIT:.3f} × the limit, {state.held} held"


def latency(url: str) -> str:
    """Median of one pair."""
    ledger, of, times = open_ledger(url), budget(None), []
    for _ in range(PAIRS):
        start = time.perf_counter()
        call(ledger, of)
        times.append((time.perf_counter() - start) * 1e3)
    return f"{statistics.median(times):.3f} ms"


def rolling_latency(url: str) -> str:
    """Median of one pair of a rolling account that has used all its slots."""
    ledger, clock, times = open_ledger(url), ManualClock(), []
    ledger.clock = clock  # type: ignore[attr-defined]
    of = budget(None).model_copy(update={"period": "hour", "rolling": True})
    for _ in range(2 * SLOTS_PER_PERIOD):
        call(ledger, of)
        clock.advance(3600 / SLOTS_PER_PERIOD)
    for _ in range(PAIRS):
        start = time.perf_counter()
        call(ledger, of)
        times.append((time.perf_counter() - start) * 1e3)
    return f"{statistics.median(times):.3f} ms"


def throughput(url: str) -> str:
    """Pairs a second of four processes together."""
    of = budget(None)
    start = time.perf_counter()
    finish([worker(url, of, PAIRS) for _ in range(PROCESSES)])
    outputs = time.perf_counter() - start
    return f"{PROCESSES * PAIRS / outputs:,.0f} pairs/s"


def killed(url: str, dice: random.Random) -> str:
    """Kill a worker at any moment, many times; everything it settled must be booked, nothing held for ever."""
    of, settled, held = budget(None), 0, 0
    for _ in range(KILLS):
        process = worker(url, of, 1000)
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(dice.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        lines = process.communicate()[0].splitlines()
        settled += lines.count("settled")
        held += lines.count("held")
    ledger = open_ledger(url)
    before = ledger.state(of)
    ledger.clock = lambda: time.time() + 1000  # type: ignore[attr-defined]
    after = ledger.state(of)
    # A kill may fall between a step and its being printed: at most one more of each for every kill.
    lost = max(0, settled * CALL - before.spent)
    unaccounted = after.spent - before.spent - before.held
    most = (settled + KILLS) * CALL
    fine = not lost and not unaccounted and after.held == 0 and before.spent <= most
    holds = before.held // CALL
    return f"{'nothing' if fine else 'SOMETHING'} lost in {settled:,} calls, {holds} holds booked when they expired"


def killed_step_by_step(url: str) -> str:
    """Kill a worker at every statement or command in turn, and look at the accounts after each kill."""
    command = [
        sys.executable,
        str(Path(__file__).parent.parent / "tests" / "kill_points.py"),
        url,
        str(KILLS),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return "SOMETHING lost, see above"
    found = json.loads(done.stdout)
    return f"nothing lost: {found['kills']} kills at {found['points']} steps in turn"


def main() -> None:
    """Print a row for each promise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--redis", help="a server's URL")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'ledger.db'}"} | (
            {"Redis": given.redis} if given.redis else {}
        )
        table = Table("what", *urls, "bar")
        for name, way in (
            ("threads", in_threads),
            ("4 processes", in_processes),
            ("asyncio", in_asyncio),
        ):
            table.add_row(
                f"$0.002, 100 calls at once: {name}",
                *(spent(url, way) for url in urls.values()),
                "≤ 1",
            )
        table.add_row("reserve + settle, one process", *map(latency, urls.values()), "≤ 2 ms")
        table.add_row("… of a rolling account", *map(rolling_latency, urls.values()), "≤ 2 ms")
        table.add_row("… four processes", *map(throughput, urls.values()), "≥ 500 pairs/s")
        outcome = [killed(url, random.Random(0)) for url in urls.values()]
        table.add_row(f"kill -9, {KILLS} times, any moment", *outcome, "nothing lost")
        outcome = [killed_step_by_step(url) for url in urls.values()]
        table.add_row(f"kill -9, {KILLS} times, every step", *outcome, "nothing lost")
        Console(width=150).print(table)


if __name__ == "__main__":
    main()
