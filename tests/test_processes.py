"""Several processes on one ledger: the limit holds, and nothing is lost when one of them dies."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from routoo_core import Budget
from routoo_core.config import open_ledger

LIMIT = 2_000_000
BUDGET = Budget(limit="0.002", period="month")

WORKER = textwrap.dedent("""
    import sys, threading
    from routoo_core import Budget
    from routoo_core.config import open_ledger
    from routoo_core.errors import BudgetExceeded

    ledger, budget = open_ledger(sys.argv[1]), Budget(limit="0.002", period="month")
    spent, lock = [], threading.Lock()

    def call():
        try:
            held = ledger.reserve(budget, minimum=90_000, maximum=90_000)
        except BudgetExceeded:
            return
        state = ledger.state(budget)
        assert state.spent + state.held <= 2_000_000, state
        ledger.settle(held, 70_000)
        with lock:
            spent.append(70_000)

    sys.stdin.readline()
    threads = [threading.Thread(target=call) for _ in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(sum(spent))
""")

DIES = textwrap.dedent("""
    import os, signal, sys
    from routoo_core import Budget
    from routoo_core.config import open_ledger

    ledger = open_ledger(sys.argv[1])
    ledger.reserve(Budget(limit="0.002", period="month"), minimum=90_000, maximum=90_000)
    os.kill(os.getpid(), signal.SIGKILL)
""")


@pytest.fixture(params=["sqlite", "redis"])
def url(request, tmp_path):
    """Where several processes can find the same ledger."""
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def test_sixty_four_calls_from_four_processes_never_pass_the_limit(url):
    open_ledger(url).close()
    command = [sys.executable, "-c", WORKER, url]
    workers = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [worker.communicate("go\n", timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, [err for _, err in outputs]
    state = open_ledger(url).state(BUDGET)
    assert state.spent == sum(int(out) for out, _ in outputs) > 0
    assert state.spent <= LIMIT
    assert state.held == 0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_the_hold_of_a_killed_process_expires_and_is_booked(url):
    killed = subprocess.run([sys.executable, "-c", DIES, url], check=False)
    assert killed.returncode == -9
    later = open_ledger(url)
    assert later.state(BUDGET).held == 90_000
    later.clock = lambda: time.time() + 1000
    state = later.state(Budget(limit="0.002", period="month"))
    assert (state.held, state.spent) in {(0, 90_000), (0, 0)}  # (0, 0): the month ended in between


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_worker_killed_at_any_step_loses_nothing_holds_nothing_for_ever_and_passes_no_limit(url):
    command = [sys.executable, str(Path(__file__).parent / "kill_points.py"), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == found["points"] >= 12
    assert set(found["phases"]) == {"reserving", "calling", "settling", "settled"}
    assert found["phases"]["reserving"] >= 4 <= found["phases"]["settling"]
    assert len(found["left"]) == 3  # nothing, a hold, a cost
