"""What must hold of the gateway under load, with ``routoo serve`` as processes of its own and one or two workers.

``python benchmarks/gateway_load.py streams|limit|outage|memory`` (no network; minutes). The tests hold the same in
seconds. Each prints what it found and ends with ``ok``, or stops at what does not hold.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import aiohttp
import gateway_load as load
from conftest import redis_in
from test_gateway_workers import children_of, serving, write_experts
from waiting import wait_until

from routoo_core.budget.account import AccountState
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.opening import open_ledger
from routoo_core.experts import Pool
from routoo_core.testing import FakeEndpoint, Reply

STREAMS = 200
CALLS_AT_ONCE = 100
EIGHT_CALLS = "0.00024"
OUTAGE_S = 30.0
CALLERS_IN_OUTAGE = 20
WARM_UP_CALLS, MEASURED_CALLS = 4_000, 20_000
MOST_GROWTH = 0.05
CHAT = load.CALLERS["chat"]
CONFIG = """
router = "general-fast"
experts = "experts.toml"
[budget]
account = "whole"
limit = "{limit}"
ledger = "{ledger}"
"""


@contextmanager
def gateway(
    endpoint: FakeEndpoint, folder: Path, workers: int, limit: str, ledger: str
) -> Iterator[tuple[str, int]]:
    """A running gateway: its address, and the id of its first process."""
    write_experts(folder, endpoint)
    (folder / "routoo.toml").write_text(CONFIG.format(limit=limit, ledger=ledger))
    with serving(folder, workers, config="routoo.toml") as (process, base_url):
        yield base_url.removesuffix("/v1"), process.pid if workers == 1 else children_of(process)[0]


def billed(endpoint: FakeEndpoint, folder: Path) -> int:
    """What the stand-in billed, nano-USD."""
    pool = Pool.from_toml(folder / "experts.toml")
    return sum(pool[bill.model].cost(bill.tokens) for bill in endpoint.bills)


def state_of(ledger: Ledger) -> AccountState:
    """The account that pays."""
    (state,) = [state for state in ledger.accounts() if state.account == "whole"]
    return state


def run_streams(folder: Path, workers: int) -> None:
    """Streams that are left, and whose experts die, in each protocol."""
    with FakeEndpoint() as endpoint:
        endpoint.replies["gpt-4o"] = load.openai_reply
        with gateway(endpoint, folder, workers, "100", "sqlite:///routoo.db") as (address, _):
            for name, protocol in load.CALLERS.items():
                endings = asyncio.run(load.stream_all(address, protocol, STREAMS))
                expected = [load.expected_ending(number) for number in range(STREAMS)]
                assert endings == expected, Counter(zip(expected, endings, strict=True))
                print(f"{workers} workers, {name}: {dict(Counter(endings))}")
            ledger = open_ledger("sqlite:///routoo.db", folder)
            wait_until(lambda: state_of(ledger).held == 0, 60)
        state = state_of(ledger)
        print(f"booked {state.spent}, billed {billed(endpoint, folder)}, held {state.held}")
        assert state.spent == billed(endpoint, folder)


def run_limit(folder: Path, workers: int) -> None:
    """Calls at once on a limit for eight."""
    with FakeEndpoint() as endpoint:
        endpoint.replies["gpt-4o"] = Reply("word " * 20, delay_s=0.05)
        with gateway(endpoint, folder, workers, EIGHT_CALLS, "sqlite:///routoo.db") as (address, _):
            statuses = asyncio.run(load.call_all(address, CHAT, [{}], CALLS_AT_ONCE))
        state = state_of(open_ledger("sqlite:///routoo.db", folder))
        assert state.limit is not None
        print(
            f"{workers} workers: {dict(Counter(statuses))}, {state.spent / state.limit:.2f} × the limit"
        )
        assert 0 < state.spent <= state.limit
        assert state.held == 0
        assert state.spent == billed(endpoint, folder)


# The ledger's database stops


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A SQLite file that another program has locked."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def stopped(process_id: int) -> Iterator[None]:
    """A process that does nothing."""
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


async def call_for(address: str, seconds: float) -> tuple[Counter[int], float]:
    """The statuses of calls that some callers make one after the other, and the longest that one took."""
    statuses: Counter[int] = Counter()
    longest = 0.0
    until = time.monotonic() + seconds
    body = CHAT.body("Stream 1: how are you today?", streamed=False)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def call_on() -> None:
            nonlocal longest
            while time.monotonic() < until:
                started = time.monotonic()
                async with session.post(f"{address}{CHAT.path}", json=body) as response:
                    await response.read()
                    statuses[response.status] += 1
                longest = max(longest, time.monotonic() - started)

        await asyncio.gather(*(call_on() for _ in range(CALLERS_IN_OUTAGE)))
    return statuses, longest


def run_outage(folder: Path, workers: int) -> None:
    """The database stops for half a minute while calls run: a SQLite file, then a Redis server."""
    run_one_outage(folder, workers, "sqlite:///routoo.db", None)
    redis_folder = folder / "r"
    redis_folder.mkdir()
    with redis_in(redis_folder) as (url, process):
        run_one_outage(folder, workers, url, process.pid)


def run_one_outage(folder: Path, workers: int, url: str, redis_id: int | None) -> None:
    """Calls before, while and after the database of one ledger stops."""
    with FakeEndpoint() as endpoint:
        endpoint.replies["gpt-4o"] = Reply("word " * 8, delay_s=0.1)
        with gateway(endpoint, folder, workers, "100", url) as (address, gateway_id):
            ledger = open_ledger(url, folder)
            print(f"{workers} workers, {url.partition(':')[0]}")
            print("  before:", *asyncio.run(call_for(address, 3)))
            before = resident_kib(gateway_id)
            outage = locked(folder / "routoo.db") if redis_id is None else stopped(redis_id)
            with outage:
                print("  while it is stopped:", *asyncio.run(call_for(address, OUTAGE_S)))
                grown = resident_kib(gateway_id) / before - 1
            print("  after:", *asyncio.run(call_for(address, 3)))
            wait_until(lambda: state_of(ledger).held == 0, 60)
        state = state_of(ledger)
        print(f"  booked {state.spent}, billed {billed(endpoint, folder)}, memory {grown:+.1%}")
        assert state.spent == billed(endpoint, folder)
        assert state.calls == len(endpoint.bills)


# Memory


def resident_kib(process_id: int) -> int:
    """Memory of a process that is in use, KiB."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def run_memory(folder: Path, workers: int) -> None:
    """Memory after many calls, and after as many whose log cannot be written."""
    with FakeEndpoint() as endpoint:
        endpoint.replies["gpt-4o"] = Reply("word " * 8)
        with gateway(endpoint, folder, workers, "1000", "sqlite:///routoo.db") as (address, number):
            call_many(endpoint, address, WARM_UP_CALLS)
            before = resident_kib(number)
            call_many(endpoint, address, MEASURED_CALLS)
            grown = resident_kib(number) / before - 1
            print(f"{workers} workers: {before} KiB, {grown:+.1%} after {MEASURED_CALLS} calls")
            with locked(folder / "routoo.calls.db"):
                call_many(endpoint, address, MEASURED_CALLS)
                grown_more = resident_kib(number) / before - 1
            print(f"  {grown_more:+.1%} after as many more while their log could not be written")
    assert max(grown, grown_more) <= MOST_GROWTH


def call_many(endpoint: FakeEndpoint, address: str, count: int) -> None:
    """Calls by some callers at once; the stand-in forgets them."""
    made = 0
    while made < count:
        statuses = asyncio.run(load.call_all(address, CHAT, [{}], CALLERS_IN_OUTAGE))
        assert set(statuses) == {200}, Counter(statuses)
        made += len(statuses)
        for remembered in (endpoint.requests, endpoint.headers, endpoint.paths, endpoint.bills):
            remembered.clear()


RUNS = {"streams": run_streams, "limit": run_limit, "outage": run_outage, "memory": run_memory}


def main() -> None:
    names = sys.argv[1:] or list(RUNS)
    for name in names:
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                RUNS[name](Path(folder), workers)
    print("ok")


if __name__ == "__main__":
    main()
