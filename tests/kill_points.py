"""Kill a worker with ``kill -9`` at every step of a call: python tests/kill_points.py URL [KILLS]

A step is a SQL statement, a command sent to Redis or a reply read from it, or a moment between reserve, call and
settle. Workers are forked; each kills itself one step later than the one before, round after round. After every kill
the accounts are checked, before and after the hold has expired. Prints what was done, as JSON.
"""

import json
import os
import signal
import sys
import traceback
import uuid
from collections import Counter
from dataclasses import dataclass

from routoo_core import Budget
from routoo_core.config import open_ledger
from routoo_core.errors import BudgetExceeded
from routoo_core.testing import ManualClock

HOLD = 90_000  # nano-USD
COST = 70_000
AFTER_EXPIRY_S = 1000.0


@dataclass(frozen=True)
class Standing:
    """What an account has spent and holds, in nano-USD."""

    spent: int
    held: int


NOTHING = Standing(0, 0)
HELD = Standing(0, HOLD)
SPENT = Standing(COST, 0)
LEFT_BY_PHASE = {
    "reserving": {NOTHING, HELD},
    "calling": {HELD},
    "settling": {HELD, SPENT},
    "settled": {SPENT},
}
"""What a worker killed in a phase may leave."""
AFTER_EXPIRY = {NOTHING: NOTHING, HELD: Standing(HOLD, 0), SPENT: SPENT}
"""What becomes of it when the hold has expired."""


class Steps:
    """Counts the steps of a worker, and kills it at the fatal one; the pipe says in which phase."""

    def __init__(self, fatal_step: int, pipe: int) -> None:
        self.steps_left = fatal_step
        self.pipe = pipe
        self.phase = "reserving"

    def step(self, *_: object) -> None:
        if self.steps_left == 0:
            os.write(self.pipe, self.phase.encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps_left -= 1

    def watch(self, ledger: object) -> None:
        """Count every statement or command of the ledger as a step."""
        if hasattr(ledger, "path"):
            ledger._connection.set_trace_callback(self.step)
            return
        from redis.connection import AbstractConnection

        for name in ("send_packed_command", "read_response"):
            function = getattr(AbstractConnection, name)
            setattr(AbstractConnection, name, self._with_steps(function))

    def _with_steps(self, function):
        def stepping(*arguments, **options):
            self.step()
            result = function(*arguments, **options)
            self.step()
            return result

        return stepping


def open_with_clock(url: str, clock: ManualClock):
    ledger = open_ledger(url)
    ledger.clock = clock
    return ledger


def work(url: str, budget: Budget, clock: ManualClock, steps: Steps) -> None:
    """One call, as a router makes it."""
    ledger = open_with_clock(url, clock)
    steps.watch(ledger)
    steps.step()
    reservation = ledger.reserve(budget, minimum=HOLD, maximum=HOLD)
    steps.phase = "calling"
    for _ in ("before the call", "in the call", "after the call"):
        steps.step()
    steps.phase = "settling"
    ledger.settle(reservation, COST)
    steps.phase = "settled"
    steps.step()


def run_worker(url: str, budget: Budget, clock: ManualClock, fatal_step: int) -> str | None:
    """Fork a worker and let it run until its fatal step.

    Returns:
        The phase in which it was killed; ``None`` if it lived, as it has fewer steps.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            work(url, budget, clock, Steps(fatal_step, writing))
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)

    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        phase = pipe.read()
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return phase
    assert status == 0, f"a worker failed: {status}"
    return None


def check_accounts(url: str, budget: Budget, clock: ManualClock) -> Standing:
    """What is spent and held, the same in every account; all that is left can be held, and no more."""
    ledger = open_with_clock(url, clock)
    states = [ledger.state(account) for account in budget.chain]
    standings = {(state.spent, state.held, state.available) for state in states}
    assert len(standings) == 1, standings

    left = states[0].available
    try:
        ledger.reserve(budget, minimum=left + 1, maximum=left + 1)
    except BudgetExceeded:
        ledger.release(ledger.reserve(budget, minimum=left, maximum=left))
    else:
        raise AssertionError("more than the limit was held")
    ledger.close()
    return Standing(states[0].spent, states[0].held)


def check_worker(url: str, budget: Budget, clock: ManualClock, fatal_step: int):
    """Kill a worker at a step, and check the accounts before and after its hold has expired.

    Returns:
        The phase in which it was killed and what it left; ``None`` and its cost if it lived.
    """
    spent_before = check_accounts(url, budget, clock).spent
    phase = run_worker(url, budget, clock, fatal_step)
    standing = check_accounts(url, budget, clock)
    left = Standing(standing.spent - spent_before, standing.held)
    allowed = {SPENT} if phase is None else LEFT_BY_PHASE[phase]
    assert left in allowed, (phase, fatal_step, left)

    clock.advance(AFTER_EXPIRY_S)
    later = check_accounts(url, budget, clock)
    left_later = Standing(later.spent - spent_before, later.held)
    assert left_later == AFTER_EXPIRY[left], (phase, fatal_step, left, left_later)
    return phase, left


def main(url: str, kills: int = 0) -> dict[str, object]:
    """Kill at every step once, then round after round until so many have died."""
    name = uuid.uuid4().hex
    clock = ManualClock()
    team = Budget(account=f"team {name}", limit="0.1", period="month", rolling=True)
    budget = Budget(account=name, limit="0.1", period="month", within=team)

    phases = Counter()
    left_behind = Counter()
    points = 0
    fatal_step = 0
    while not points or phases.total() < kills:
        phase, left = check_worker(url, budget, clock, fatal_step)
        if phase is None:
            points = fatal_step
            fatal_step = 0
        else:
            phases[phase] += 1
            left_behind[str(left)] += 1
            fatal_step += 1
    assert "torch" not in sys.modules
    return {"points": points, "kills": phases.total(), "phases": phases, "left": left_behind}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))
