"""The demo's conversation over small real parts: a trained checkpoint, an HTTP endpoint, a SQLite ledger."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from rich.console import Console

from routoo_core import Budget, Pool
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import STARTER, build_router
from routoo_core.experts import Expert
from routoo_core.predictor.reference import read_reference
from routoo_core.testing import Reply
from routoo_integrations.demo import prompts
from routoo_integrations.demo.run import converse
from routoo_integrations.demo.transcript import WIDTH, Demo


def make_demo(endpoint, checkpoint, path, limit):
    pool = Pool(
        [
            endpoint.expert("talker", context_window=8192, expected_output_tokens=64),
            endpoint.expert(
                "calculator", input_usd_per_1m=20, output_usd_per_1m=20, context_window=8192
            ),
        ]
    )
    router = build_router(
        pool,
        router=checkpoint,
        budget=Budget(account="demo", limit=limit, period="run", expected_calls=16),
        ledger=f"sqlite:///{path / 'demo.db'}",
    )
    output = io.StringIO()
    return Demo(router, {"talker"}, Console(file=output, width=WIDTH)), output


def test_it_routes_through_both_frameworks_until_the_money_is_gone(endpoint, checkpoint, tmp_path):
    demo, output = make_demo(endpoint, checkpoint, tmp_path, limit="0.005")
    endpoint.replies["talker"] = Reply(prompt_tokens=100)
    converse(demo, read_reference(checkpoint), tmp_path)
    shown = output.getvalue()
    assert len(demo.calls) >= 16
    assert {call.via for call in demo.calls} == {"LangChain", "… streamed", "… batch", "LlamaIndex"}
    assert demo.calls[-1].record is None
    assert "refused: nothing is affordable any more" in shown
    assert shown.count("stand-in") == sum(
        call.record is not None and call.record.expert == "talker" for call in demo.calls
    )
    assert len(endpoint.requests) == sum(call.record is not None for call in demo.calls)
    assert "would have cost about" in " ".join(shown.split())
    assert (tmp_path / "quality-cost.png").read_bytes().startswith(b"\x89PNG")
    state = demo.router.ledger.state(demo.router.budget)
    assert state.held == 0
    assert 0 < state.spent <= state.limit


def test_the_prompts_are_many_and_of_many_kinds():
    asked = [*prompts.CHAIN, prompts.STREAMED, *prompts.BATCH, *prompts.RETRIEVAL]
    assert len(asked) >= 16
    assert len({kind for kind, _ in asked}) >= 10


def test_the_starter_configuration_is_whole_and_known_to_its_router():
    from routoo_core.config import read_config
    from routoo_core.predictor.checkpoint import find_router

    config, pool = read_config(STARTER / "routoo.toml"), Pool.from_toml(STARTER / "experts.toml")
    known = read_reference(find_router(config.router)).experts
    assert all(isinstance(expert, Expert) and expert.predicted_as in known for expert in pool)
    assert all(expert.api_key_env for expert in pool)


SCRIPT = textwrap.dedent("""
    import pathlib, signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests may ignore it
    sys.path.insert(0, sys.argv[4])
    from test_demo import make_demo
    from routoo_core.predictor.reference import read_reference
    from routoo_core.testing import FakeEndpoint, Reply
    from routoo_integrations.demo.run import converse

    with FakeEndpoint() as endpoint:
        endpoint.replies = {name: Reply(delay_s=float(sys.argv[3])) for name in ("talker", "calculator")}
        demo, output = make_demo(endpoint, pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), "0.006")
        converse(demo, read_reference(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))
    print(output.getvalue())
""")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a process is POSIX")
def test_ctrl_c_leaves_no_process_and_no_hold_behind(checkpoint, tmp_path):
    tests = os.path.dirname(__file__)  # noqa: PTH120
    command = [sys.executable, "-c", SCRIPT, str(checkpoint), str(tmp_path), "30", tests]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    budget = Budget(account="demo", limit="0.006", period="run")
    while time.monotonic() < deadline and running.poll() is None:
        path = tmp_path / "demo.db"
        if path.is_file() and any(state.held for state in SqliteLedger(path).accounts()):
            break
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    assert "Interrupted." in out
    (state,) = SqliteLedger(tmp_path / "demo.db").accounts()
    assert (state.account, state.held) == (budget.account, 0)
    assert state.spent > 0  # the prompt had been sent
    with pytest.raises(ProcessLookupError):
        for _ in range(50):  # an orphan that has ended is there until init has collected it
            os.killpg(running.pid, 0)
            time.sleep(0.1)
