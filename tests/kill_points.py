"""Kill a worker with ``kill -9`` at every step of reserve → call → settle: python tests/kill_points.py URL [TIMES]

A step is a SQL statement, or a command sent to Redis or a reply read from it, and what lies between reserve, call and
settle. Workers are forked; each kills itself one step later than the one before, round after round. After every kill
the accounts are looked at, before and after the hold's time to live. Prints what was done, as JSON.
"""

import json
import os
import signal
import sys
import traceback
import uuid
from collections import Counter

from routoo_core import Budget
from routoo_core.config import open_ledger
from routoo_core.errors import BudgetExceeded
from routoo_core.testing import ManualClock

HOLD, ESTIMATE, COST = 90_000, 45_000, 70_000  # nano-USD
NOTHING, HELD, SPENT = (0, 0), (0, HOLD), (COST, 0)  # what a worker may leave: spent, held
LEAVES = {  # after a kill in this phase
    "reserving": {NOTHING, HELD},
    "calling": {HELD},
    "settling": {HELD, SPENT},
    "settled": {SPENT},
}
LATER = {NOTHING: NOTHING, HELD: (ESTIMATE, 0), SPENT: SPENT}  # when the hold has expired


class Steps:
    """Counts the steps of a worker, tells its phase, and kills it at the one chosen."""

    def __init__(self, fatal: int, pipe: int) -> None:
        self.fatal, self.pipe, self.phase = fatal, pipe, "reserving"

    def step(self, *_: object) -> None:
        if self.fatal == 0:
            os.write(self.pipe, self.phase.encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.fatal -= 1

    def watch(self, ledger: object) -> None:
        """Count what the ledger says to its store."""
        if hasattr(ledger, "path"):
            ledger._connection.set_trace_callback(self.step)
            return
        from redis.connection import AbstractConnection

        for name in ("send_packed_command", "read_response"):
            setattr(AbstractConnection, name, self._around(getattr(AbstractConnection, name)))

    def _around(self, function):
        def stepped(*arguments, **options):
            self.step()
            done = function(*arguments, **options)
            self.step()
            return done

        return stepped


def work(url: str, budget: Budget, clock: ManualClock, steps: Steps) -> None:
    """One call, as a router makes it."""
    ledger = open_ledger(url)
    ledger.clock = clock
    steps.watch(ledger)
    steps.step()
    held = ledger.reserve(budget, minimum=HOLD, maximum=HOLD, estimate=ESTIMATE)
    steps.phase = "calling"
    for _ in ("before the call", "in the call", "after the call"):
        steps.step()
    steps.phase = "settling"
    ledger.settle(held, COST)
    steps.phase = "settled"
    steps.step()


def forked(url: str, budget: Budget, clock: ManualClock, fatal: int) -> str | None:
    """Let a worker run until its fatal step; the phase it died in, ``None`` if it lived."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            work(url, budget, clock, Steps(fatal, writing))
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


def look(url: str, budget: Budget, clock: ManualClock) -> tuple[int, int]:
    """What is spent and held, the same in every account, and all that the limit allows besides."""
    ledger = open_ledger(url)
    ledger.clock = clock
    spent, held, left = next(
        iter(states := {(s.spent, s.held, s.available) for s in map(ledger.state, budget.chain)})
    )
    assert len(states) == 1, states
    try:
        ledger.reserve(budget, minimum=left + 1, maximum=left + 1, estimate=0)
        raise AssertionError("more than the limit was held")
    except BudgetExceeded:
        ledger.release(ledger.reserve(budget, minimum=left, maximum=left, estimate=0))
    ledger.close()
    return spent, held


def main(url: str, times: int = 0) -> dict[str, object]:
    """Kill at every step once, then again until as many have died as asked."""
    name, clock, phases, left, fatal, points = (
        uuid.uuid4().hex,
        ManualClock(),
        Counter(),
        Counter(),
        0,
        0,
    )
    team = Budget(account=f"team {name}", limit="0.1", period="month", rolling=True)
    budget = Budget(account=name, limit="0.1", period="month", within=team)
    spent, _ = look(url, budget, clock)
    while not points or sum(phases.values()) < times:
        if (phase := forked(url, budget, clock, fatal)) is None:
            points, fatal, found = fatal, 0, SPENT
        else:
            phases[phase], fatal = phases[phase] + 1, fatal + 1
        now, held = look(url, budget, clock)
        if phase:
            found = (now - spent, held)
            assert found in LEAVES[phase], (phase, fatal, found)
            left[str(found)] += 1
        clock.advance(1000)
        before, spent = spent, look(url, budget, clock)[0]
        assert (spent - before, look(url, budget, clock)[1]) == LATER[found], (
            phase,
            fatal,
            found,
            spent - before,
        )
    assert "torch" not in sys.modules
    return {"points": points, "kills": sum(phases.values()), "phases": phases, "left": left}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))
