"""A worker of the chaos test: it calls until it is killed, on a clock that jumps and a disk that is full at times.

``python tests/chaos.py ENDPOINT LEDGER SEED`` prints the number of every call that was answered.
"""

import random
import sys
import time

from routoo_core import Budget, Expert, Pool
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import build_router
from routoo_core.errors import RoutooError
from routoo_core.testing import FakePredictor
from routoo_integrations.langchain import RoutooChatModel

BUDGET = Budget(account="chaos", limit="0.03", period="run", run_id="chaos")
DAY_S = 86_400.0
MAXIMUM_PAGES = 1 << 30


class JumpingClock:
    """The time, some days off, by as many as it was last told."""

    def __init__(self):
        self.days = 0

    def __call__(self):
        return time.time() + self.days * DAY_S


def main(base_url, address, seed):
    dice = random.Random(seed)
    clock = JumpingClock()
    kind = RedisLedger if "://" in address else SqliteLedger
    ledger = kind(address, ttl=60, clock=clock)
    expert = Expert(
        name="dear",
        model="dear",
        base_url=base_url,
        input_usd_per_1m=1,
        output_usd_per_1m=10,
        max_output_tokens=64,
        timeout_s=5,
    )
    router = build_router(
        Pool([expert]),
        router=FakePredictor({"dear": 0.9}),
        budget=BUDGET,
        ledger=ledger,
        policy="best",
    )
    model = RoutooChatModel(router)
    number = 0
    while True:
        number += 1
        clock.days = dice.choice([0, 0, 0, 1, -1, 30])
        if kind is SqliteLedger:
            fill_disk(ledger, is_full=dice.random() < 0.3)
        try:
            model.invoke(f"{seed}-{number}")
        except RoutooError:
            continue
        print(f"{seed}-{number}", flush=True)


def fill_disk(ledger, is_full):
    """Let the file grow no further, or again."""
    database = ledger._connection
    [[pages]] = database.execute("PRAGMA page_count").fetchall()
    database.execute(f"PRAGMA max_page_count = {pages if is_full else MAXIMUM_PAGES}")


if __name__ == "__main__":
    main(*sys.argv[1:])
