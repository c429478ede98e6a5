"""Kill a worker with ``kill -9`` at every step of a call that a plan answers: python tests/kill_plans.py LEDGER ENDPOINT PLAN

A step is a SQL statement or a command to Redis; workers are forked, and each kills itself one step later than the one
before. The accounts are checked after every kill, before and after the holds have expired. Prints what was done, as JSON.
"""

import json
import os
import signal
import sys
import traceback

import langchain_openai  # noqa: F401 (before the forks, of which each would import it)
import numpy as np
from kill_points import Steps, open_with_clock

from routoo_core import Budget, Pool, RoutedRequest
from routoo_core.config import build_router
from routoo_core.experts import Expert
from routoo_core.plans import Cascade, Consensus
from routoo_core.predictor.answer_scorer import AnswerReader, AnswerScorer
from routoo_core.testing import FakePredictor, ManualClock
from routoo_integrations.langchain import RoutooChatModel

PRICES = {"left": (1, 2), "right": (1, 2), "dear": (10, 30)}
QUALITY = {"left": 0.6, "right": 0.6, "dear": 0.8, "pair": 0.9}
QUESTION = "How many legs do three spiders and two cats have together?"
LIMIT = "1"
REFUSES_ALL = AnswerScorer(
    experts=("left", "dear"),
    weight=np.zeros((2, AnswerReader().dim), dtype=np.float32),
    bias=np.full(2, -9.0, dtype=np.float32),
)
PLANS = {
    "consensus": Consensus(name="pair", experts=("left", "right"), then="dear"),
    "cascade": Cascade(
        name="pair", experts=("left", "dear"), scorer=REFUSES_ALL, thresholds=(0.5,)
    ),
}
AFTER_EXPIRY_S = 2000.0
"""Beyond the time for which a hold lives that nobody renews."""


def pool_at(base_url):
    """The experts of the endpoint, which the test bills in the same way."""
    experts = []
    for name, (input_usd, output_usd) in PRICES.items():
        expert = Expert(
            name=name,
            model=name,
            base_url=base_url,
            input_usd_per_1m=input_usd,
            output_usd_per_1m=output_usd,
            context_window=4096,
            max_output_tokens=64,
        )
        experts.append(expert)
    return Pool(experts)


def work(url, base_url, clock, steps, plan):
    """One call that the plan answers: two experts at once, or one, and then another."""
    ledger = open_with_clock(url, clock)
    steps.watch(ledger)
    RoutooChatModel(make_router(base_url, ledger, plan), max_tokens=40).invoke(QUESTION)


def make_router(base_url, ledger, plan):
    return build_router(
        pool_at(base_url),
        router=FakePredictor(QUALITY),
        policy="best",
        budget=Budget(limit=LIMIT, period="month", rolling=True),
        ledger=ledger,
        plans=[plan],
    )


def run_worker(url, base_url, clock, fatal_step, plan):
    """Whether the worker was killed; else it had fewer steps."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            work(url, base_url, clock, Steps(fatal_step, writing), plan)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return True
    assert status == 0, f"a worker failed: {status}"
    return False


def main(url, base_url, plan):
    clock = ManualClock()
    budget = Budget(limit=LIMIT, period="month", rolling=True)
    # What is loaded once is loaded before the forks, of which each would load it anew.
    warm_router = make_router(base_url, "memory://", plan)
    warm_router.decide(RoutedRequest.from_text(QUESTION))
    RoutooChatModel(warm_router)
    kills = 0
    while run_worker(url, base_url, clock, kills, plan):
        kills += 1
        ledger = open_with_clock(url, clock)
        state = ledger.state(budget)
        assert state.spent + state.held <= state.limit
        clock.advance(AFTER_EXPIRY_S)
        later = ledger.state(budget)
        assert later.held == 0, (kills, later)
        assert later.spent <= later.limit
        ledger.close()
    ledger = open_with_clock(url, clock)
    state = ledger.state(budget)
    assert state.held == 0
    return {"kills": kills, "spent": state.spent}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], PLANS[sys.argv[3]])))
