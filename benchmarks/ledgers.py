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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from routoo_core import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.period import HOUR_S, SLOTS_PER_PERIOD
from routoo_core.config import open_ledger
from routoo_core.errors import BudgetExceeded
from routoo_core.testing import ManualClock

LIMIT = 2_000_000  # nano-USD: $0.002 …
COST = 70_000  # … and a hundred calls of $0.00007
CALLS = 100
PROCESSES = 4
PAIRS = 500
KILLS = 200
AFTER_EXPIRY_S = 1000
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
            held = ledger.reserve(budget, minimum=cost, maximum=cost)
        except BudgetExceeded:
            continue
        print("held", flush=True)
        ledger.settle(held, cost)
        print("settled", flush=True)
    print(time.perf_counter() - start, flush=True)
""")


def new_budget(limit: str | None = "0.002") -> Budget:
    """An account nobody has used before."""
    return Budget(account=uuid.uuid4().hex, limit=limit, period="month")


def start_worker(url: str, budget: Budget, calls: int) -> subprocess.Popen[str]:
    """A process that is ready to call, and waits for a line on its input."""
    limit = "" if budget.limit is None else str(budget.limit)
    command = [sys.executable, "-c", WORKER, url, budget.account, limit, str(calls), str(COST)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def let_go(process: subprocess.Popen[str]) -> None:
    """Let a worker begin."""
    process.stdin.write("go\n")
    process.stdin.flush()


def run_workers(workers: list[subprocess.Popen[str]]) -> None:
    """Let workers begin together, and wait for them."""
    for process in workers:
        let_go(process)
    for process in workers:
        process.communicate(timeout=120)


def call(ledger: Ledger, budget: Budget) -> None:
    """One call that costs what was held."""
    try:
        reservation = ledger.reserve(budget, minimum=COST, maximum=COST)
    except BudgetExceeded:
        return
    ledger.settle(reservation, COST)


def call_in_threads(url: str, budget: Budget) -> None:
    """All calls at once, on threads."""
    ledger = open_ledger(url)
    with ThreadPoolExecutor(CALLS) as threads:
        for _ in range(CALLS):
            threads.submit(call, ledger, budget)


def call_in_asyncio(url: str, budget: Budget) -> None:
    """All calls at once, on one event loop."""
    ledger = open_ledger(url)

    async def call_all() -> None:
        calls = [asyncio.to_thread(call, ledger, budget) for _ in range(CALLS)]
        await asyncio.gather(*calls)

    asyncio.run(call_all())


def call_in_processes(url: str, budget: Budget) -> None:
    """All calls, from several processes."""
    calls_each = CALLS // PROCESSES
    run_workers([start_worker(url, budget, calls_each) for _ in range(PROCESSES)])


CALLERS = {
    "threads": call_in_threads,
    f"{PROCESSES} processes": call_in_processes,
    "asyncio": call_in_asyncio,
}


def spend(url: str, call_all: Callable[[str, Budget], None]) -> str:
    """Share of the limit that a hundred calls spend."""
    budget = new_budget()
    call_all(url, budget)
    state = open_ledger(url).state(budget)
    return f"{state.spent / LIMIT:.3f} × the limit, {state.held} held"


def median_latency(ledger: Ledger, budget: Budget) -> str:
    """Median of holding and settling one call."""
    milliseconds = []
    for _ in range(PAIRS):
        start = time.perf_counter()
        call(ledger, budget)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return f"{statistics.median(milliseconds):.3f} ms"


def latency(url: str) -> str:
    """Median of one pair, of an account without a limit."""
    return median_latency(open_ledger(url), new_budget(None))


def rolling_latency(url: str) -> str:
    """Median of one pair, of a rolling account that has used all its slots."""
    ledger = open_ledger(url)
    clock = ManualClock()
    ledger.clock = clock  # type: ignore[attr-defined]
    budget = new_budget(None).model_copy(update={"period": "hour", "rolling": True})
    for _ in range(2 * SLOTS_PER_PERIOD):
        call(ledger, budget)
        clock.advance(HOUR_S / SLOTS_PER_PERIOD)
    return median_latency(ledger, budget)


def throughput(url: str) -> str:
    """Pairs a second of several processes together."""
    budget = new_budget(None)
    start = time.perf_counter()
    run_workers([start_worker(url, budget, PAIRS) for _ in range(PROCESSES)])
    seconds = time.perf_counter() - start
    return f"{PROCESSES * PAIRS / seconds:,.0f} pairs/s"


def kill_at_any_moment(url: str) -> str:
    """Kill a worker many times; everything it settled must be booked, and nothing stays held."""
    dice = random.Random(0)
    budget = new_budget(None)
    settled = 0
    for _ in range(KILLS):
        process = start_worker(url, budget, 1000)
        let_go(process)
        time.sleep(dice.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        settled += output.splitlines().count("settled")

    ledger = open_ledger(url)
    before = ledger.state(budget)
    ledger.clock = lambda: time.time() + AFTER_EXPIRY_S  # type: ignore[attr-defined]
    after = ledger.state(budget)

    # A worker may be killed after a settlement and before it prints so: at most one more for each kill.
    is_booked = settled * COST <= before.spent <= (settled + KILLS) * COST
    is_expired = after.held == 0 and after.spent == before.spent + before.held
    lost = "nothing" if is_booked and is_expired else "SOMETHING"
    holds = before.held // COST
    return f"{lost} lost in {settled:,} calls, {holds} holds booked when they expired"


def kill_at_every_step(url: str) -> str:
    """Kill a worker at every statement or command in turn, and check the accounts after each kill."""
    script = Path(__file__).parent.parent / "tests" / "kill_points.py"
    command = [sys.executable, str(script), url, str(KILLS)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        return "SOMETHING lost, see above"
    summary = json.loads(run.stdout)
    return f"nothing lost: {summary['kills']} kills at {summary['points']} steps in turn"


def main() -> None:
    """Print a row for each promise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--redis", help="a server's URL")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'ledger.db'}"}
        if arguments.redis:
            urls["Redis"] = arguments.redis
        table = Table("what", *urls, "bar")

        def add_row(title: str, measure: Callable[[str], str], bar: str) -> None:
            table.add_row(title, *map(measure, urls.values()), bar)

        for title, caller in CALLERS.items():
            shares = [spend(url, caller) for url in urls.values()]
            table.add_row(f"$0.002, {CALLS} calls at once: {title}", *shares, "≤ 1")
        add_row("reserve + settle, one process", latency, "≤ 2 ms")
        add_row("… of a rolling account", rolling_latency, "≤ 2 ms")
        add_row("… four processes", throughput, "≥ 500 pairs/s")
        add_row(f"kill -9, {KILLS} times, any moment", kill_at_any_moment, "nothing lost")
        add_row(f"kill -9, {KILLS} times, every step", kill_at_every_step, "nothing lost")
        Console(width=150).print(table)


if __name__ == "__main__":
    main()
