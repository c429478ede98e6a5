"""Processes killed, clocks jumping, disks full, Redis emptied while four processes call: the limit holds."""

import random
import subprocess
import sys
import time
from pathlib import Path

import chaos
import pytest
from waiting import wait_until

from routoo_core.budget.settlements import Settlements
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.testing import FakeEndpoint, Reply

WORKER = Path(chaos.__file__)
WORKERS = 4
KILLS = 12
CALLS_BEFORE_KILLS = 20
SECONDS_AFTER_LOSS = 3
LIMIT_NANO_USD = 30_000_000
NANO_USD_OF_INPUT = 1000
NANO_USD_OF_OUTPUT = 10_000


def start(endpoint, ledger, seed):
    command = [sys.executable, str(WORKER), endpoint.base_url, str(ledger), str(seed)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=WORKER.parent.parent,
    )


def billed(bills):
    total = 0
    for bill in bills:
        total += bill.tokens.prompt_tokens * NANO_USD_OF_INPUT
        total += bill.tokens.completion_tokens * NANO_USD_OF_OUTPUT
    return total


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_limit_holds_and_every_answered_call_is_booked_once(seed, tmp_path):
    dice = random.Random(seed)
    path = tmp_path / "ledger.db"
    SqliteLedger(path).close()
    answered = []
    with FakeEndpoint() as endpoint:
        endpoint.replies["dear"] = Reply("word " * 6, prompt_tokens=20, delay_s=0.1)
        workers = [start(endpoint, path, f"{seed}{number}") for number in range(WORKERS)]
        wait_until(lambda: len(endpoint.bills) > CALLS_BEFORE_KILLS, timeout_s=120)
        for number in range(KILLS):
            time.sleep(dice.uniform(0.3, 1.5))
            victim = dice.randrange(WORKERS)
            workers[victim].kill()
            answered += workers[victim].communicate()[0].split()
            workers[victim] = start(endpoint, path, f"{seed}{WORKERS + number}")
        for worker in workers:
            assert worker.poll() is None, "a worker ended by itself"
            worker.kill()
            answered += worker.communicate()[0].split()
        bills = list(endpoint.bills)

    assert billed(bills) <= LIMIT_NANO_USD
    settlements = Settlements(SqliteLedger(path, clock=lambda: time.time() + 60 * chaos.DAY_S))
    settlements.catch_up()
    assert settlements.journal.settlements() == []
    reservation = settlements.reserve(chaos.BUDGET, minimum=0, maximum=0)  # books what has expired
    state = settlements.release(reservation)
    assert state.held == 0
    assert billed(bills) <= state.spent <= LIMIT_NANO_USD
    asked = [bill.request["messages"][-1]["content"] for bill in bills]
    assert len(set(asked)) == len(asked)
    assert set(answered) <= set(asked)
    assert len(answered) <= state.calls <= len(asked)
    assert len(answered) > CALLS_BEFORE_KILLS / 2


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_redis_that_is_emptied_gives_no_call_a_new_limit(redis_url):
    import redis

    server = redis.Redis.from_url(redis_url)
    with FakeEndpoint() as endpoint:
        endpoint.replies["dear"] = Reply("word " * 6, prompt_tokens=20, delay_s=0.1)
        workers = [start(endpoint, redis_url, number) for number in range(WORKERS)]
        wait_until(lambda: len(endpoint.bills) > CALLS_BEFORE_KILLS, timeout_s=120)
        server.flushall()
        asked_before_the_loss = len(endpoint.bills)
        time.sleep(SECONDS_AFTER_LOSS)
        for worker in workers:
            assert worker.poll() is None, "a worker ended by itself"
            worker.kill()
            worker.communicate()
        bills = list(endpoint.bills)

    assert len(bills) <= asked_before_the_loss + WORKERS  # those in flight
    assert billed(bills) <= LIMIT_NANO_USD
