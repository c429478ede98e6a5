"""Kill ``routoo score`` with ``kill -9`` at random moments until it is through.

    python tests/kill_scoring.py [TIMES]

Two experts answer forty prompts on a real endpoint. After every kill it is checked that every answer is stored, except
for the calls in flight. In the end it is checked that the table is that of an undisturbed run, and that nothing stored
was asked again. Prints what was done, as JSON.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from routoo_core import Budget
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.testing import FakeEndpoint, Reply

PROMPTS = 40
EXPERTS = ("one", "two")
PAIRS = PROMPTS * len(EXPERTS)
CONCURRENCY = 3
IN_FLIGHT = CONCURRENCY * len(EXPERTS)
"""The most calls that a kill can interrupt."""
COMMAND = [sys.executable, "-m", "routoo_core", "score"]
COMMAND += ["--prompts", "p.csv", "--grader", "numeric", "--budget", "1", "--max-tokens", "16"]
COMMAND += ["--concurrency", str(CONCURRENCY), "--out"]


def main(times: int = 20, seed: int = 0) -> dict[str, object]:
    """Kill so many runs of one scoring, at any moment from the first answer on, and let the last one end."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, FakeEndpoint() as endpoint:
        os.chdir(folder)
        try:
            return _kill_again_and_again(times, random.Random(seed), endpoint)
        finally:
            os.chdir(home)


def _kill_again_and_again(
    times: int, random_moments: random.Random, endpoint: FakeEndpoint
) -> dict[str, object]:
    _write_inputs(endpoint)
    endpoint.replies = dict.fromkeys(EXPERTS, _doubling(delay_s=0.0))
    _score("whole.parquet", "--answers", "whole.db")
    undisturbed = SqliteLedger("whole.ledger.db").accounts()[0].spent
    endpoint.requests.clear()

    delay_s = 0.5 * times / PROMPTS  # long enough that there is something left to kill
    endpoint.replies = dict.fromkeys(EXPERTS, _doubling(delay_s))
    for kills in range(1, times + 1):
        _kill_one_run(endpoint, random_moments.uniform(0.0, 2 * delay_s))
        lost = len(endpoint.requests) - _count_stored(Path("answers.db"))
        assert lost <= kills * IN_FLIGHT, (kills, lost)
    _score("o.parquet")

    assert _read_outcomes("o.parquet") == _read_outcomes("whole.parquet")
    times_asked = _count_asked(endpoint)
    assert len(times_asked) == PAIRS
    asked_again = sum(times_asked.values()) - len(times_asked)
    assert asked_again <= times * IN_FLIGHT

    booked = SqliteLedger("answers.ledger.db").accounts()[0].spent
    booked_in_the_end = _spent_after_expiry("answers.ledger.db")
    assert booked <= undisturbed <= booked_in_the_end, (booked, undisturbed, booked_in_the_end)
    return {
        "kills": times,
        "pairs": len(times_asked),
        "asked again, as in flight when killed": asked_again,
        "booked of an undisturbed run": round(booked / undisturbed, 3),
        "with the dead runs' holds at their estimates": round(booked_in_the_end / undisturbed, 3),
    }


def _write_inputs(endpoint: FakeEndpoint) -> None:
    """Forty prompts, of which four fifths have the right answer; two experts."""
    numbers = range(PROMPTS)
    columns = {
        "prompt_id": [f"p{number}" for number in numbers],
        "prompt": [f"What is twice {number}?" for number in numbers],
        "answer": [2 * number if number % 5 else -1 for number in numbers],
    }
    csv.write_csv(pa.table(columns), "p.csv")

    tables = []
    for name in EXPERTS:
        table = f'[experts.{name}]\nbase_url = "{endpoint.base_url}"\n'
        tables.append(table + "input_usd_per_1m = 10\noutput_usd_per_1m = 10\n")
    Path("experts.toml").write_text("".join(tables))


def _doubling(delay_s: float):
    """An expert that answers rightly after a while."""

    def reply(body: dict[str, object]) -> Reply:
        number = int(str(body["messages"][0]["content"]).split()[-1].rstrip("?"))
        return Reply(str(2 * number), delay_s=delay_s)

    return reply


def _score(*arguments: str) -> None:
    """Run the command to its end."""
    command = [*COMMAND, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _kill_one_run(endpoint: FakeEndpoint, after_s: float) -> None:
    """Kill a run some seconds after its first call."""
    before = len(endpoint.requests)
    command = [*COMMAND, "o.parquet"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(endpoint.requests) == before and run.poll() is None:
        time.sleep(0.002)
    time.sleep(after_s)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, "the run ended before it was killed"
    time.sleep(0.02)


def _count_asked(endpoint: FakeEndpoint) -> Counter[tuple[str, str]]:
    """How often each expert was asked each prompt."""
    return Counter((body["model"], body["messages"][0]["content"]) for body in endpoint.requests)


def _count_stored(path: Path) -> int:
    """Answers in a store."""
    if not path.stat().st_size:
        return 0
    with sqlite3.connect(path) as db:
        return db.execute("SELECT count(*) FROM answers").fetchone()[0]


def _read_outcomes(path: str) -> list[dict[str, object]]:
    """The outcomes, without what the clock says."""
    return parquet.read_table(path).drop_columns(["latency_s"]).to_pylist()


def _spent_after_expiry(path: str) -> int:
    """What is spent when the holds of the dead runs have expired."""
    ledger = SqliteLedger(path, clock=lambda: time.time() + 1000)
    budget = Budget(account="score", limit="1", period="run", run_id="score")
    # A reservation makes the ledger book what has expired.
    ledger.release(ledger.reserve(budget, minimum=0, maximum=0))
    state = ledger.state(budget)
    assert state.held == 0, state
    return state.spent


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:])), indent=1))
