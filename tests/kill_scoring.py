"""Kill ``routoo score`` with ``kill -9`` at random moments until it is through: python tests/kill_scoring.py [TIMES]

Two experts answer forty prompts on a real endpoint. After every kill it is checked that whatever was asked is kept,
save for what was in flight; in the end, that the table is that of an undisturbed run and that nothing kept was asked
again.
Prints what was done, as JSON.
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

from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.testing import FakeEndpoint, Reply

PROMPTS, EXPERTS, AT_ONCE = 40, ("one", "two"), 3
COMMAND = [
    sys.executable,
    "-m",
    "routoo_core",
    "score",
    "--prompts",
    "p.csv",
    "--grader",
    "numeric",
    "--budget",
    "1",
]
COMMAND += ["--max-tokens", "16", "--concurrency", str(AT_ONCE), "--out"]


def asked(endpoint: FakeEndpoint) -> Counter[tuple[str, str]]:
    """How often each expert was asked each prompt."""
    return Counter((body["model"], body["messages"][0]["content"]) for body in endpoint.requests)


def table(path: Path) -> list[dict[str, object]]:
    """The outcomes, without what the clock says."""
    return [
        {k: v for k, v in row.items() if k != "latency_s"}
        for row in parquet.read_table(path).to_pylist()
    ]


def kept(path: Path) -> int:
    """Answers in a store."""
    with sqlite3.connect(path) as db:
        return (
            db.execute("SELECT count(*) FROM answers").fetchone()[0] if path.stat().st_size else 0
        )


def main(times: int = 20, seed: int = 0) -> dict[str, object]:
    """Kill so many runs of one scoring, at any moment from the first answer on, and let the last one end."""
    chance, home = random.Random(seed), Path.cwd()
    with tempfile.TemporaryDirectory() as folder, FakeEndpoint() as endpoint:
        os.chdir(folder)
        try:
            return _killed(times, chance, endpoint, Path(folder))
        finally:
            os.chdir(home)


def _killed(
    times: int, chance: random.Random, endpoint: FakeEndpoint, folder: Path
) -> dict[str, object]:
    prompts = [f"What is twice {i}?" for i in range(PROMPTS)]
    answers = [2 * i if i % 5 else -1 for i in range(PROMPTS)]
    columns = {"prompt_id": [f"p{i}" for i in range(PROMPTS)], "prompt": prompts, "answer": answers}
    csv.write_csv(pa.table(columns), folder / "p.csv")
    (folder / "experts.toml").write_text(
        "".join(
            f'[experts.{name}]\nbase_url = "{endpoint.base_url}"\ninput_usd_per_1m = 10\noutput_usd_per_1m = 10\n'
            for name in EXPERTS
        )
    )
    pause = 0.0

    def doubled(body: dict[str, object]) -> Reply:
        return Reply(
            str(2 * int(str(body["messages"][0]["content"]).split()[-1].rstrip("?"))), delay_s=pause
        )

    endpoint.replies = dict.fromkeys(EXPERTS, doubled)
    subprocess.run(
        [*COMMAND, "whole.parquet", "--answers", "whole.db"], check=True, stderr=subprocess.DEVNULL
    )
    whole = SqliteLedger("whole.ledger.db").accounts()[0].spent
    endpoint.requests.clear()
    pause = 0.5 * times / PROMPTS  # so that there is something left to kill
    for kills in range(1, times + 1):
        before = len(endpoint.requests)
        run = subprocess.Popen(
            [*COMMAND, "o.parquet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while len(endpoint.requests) == before and run.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 2 * pause))
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, f"run {kills} ended before it was killed"
        time.sleep(0.02)
        in_flight = len(endpoint.requests) - kept(folder / "answers.db")
        assert in_flight <= kills * AT_ONCE * len(EXPERTS), (kills, in_flight)
    subprocess.run(
        [*COMMAND, "o.parquet"], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    assert table(folder / "o.parquet") == table(folder / "whole.parquet")
    times_asked, ledger = asked(endpoint), SqliteLedger("answers.ledger.db")
    assert len(times_asked) == PROMPTS * len(EXPERTS)
    again = sum(times_asked.values()) - len(times_asked)
    assert again <= times * AT_ONCE * len(EXPERTS)
    booked = ledger.accounts()[0]
    late = SqliteLedger("answers.ledger.db", clock=lambda: time.time() + 1000)
    late_spent = _expired(late)
    assert booked.spent <= whole <= late_spent, (booked.spent, whole, late_spent)
    return {
        "kills": times,
        "pairs": len(times_asked),
        "asked again, as in flight when killed": again,
        "booked of an undisturbed run": round(booked.spent / whole, 3),
        "with the dead runs' holds at their estimates": round(late_spent / whole, 3),
    }


def _expired(ledger: SqliteLedger) -> int:
    """What is spent when the holds of the dead have expired."""
    from routoo_core import Budget

    budget = Budget(account="score", limit="1", period="run", run_id="score")
    ledger.release(ledger.reserve(budget, minimum=0, maximum=0, estimate=0))
    state = ledger.state(budget)
    assert state.held == 0, state
    return state.spent


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:])), indent=1))
