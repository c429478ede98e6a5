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
from routoo_core.catalogue.store import open_catalogue
from routoo_core.config import STARTER, build_router, read_config
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.predictor.general_checkpoint import load_general
from routoo_core.testing import Reply
from routoo_integrations.demo import prompts
from routoo_integrations.demo.run import converse
from routoo_integrations.demo.transcript import WIDTH, Demo, DemoCall


def make_demo(endpoint, path, limit):
    pool = Pool(
        [
            endpoint.expert(
                "talker", context_window=8192, expected_output_tokens=64, like="gpt-5-nano"
            ),
            endpoint.expert(
                "calculator",
                input_usd_per_1m=20,
                output_usd_per_1m=20,
                context_window=8192,
                like="gpt-5.5",
            ),
        ]
    )
    router = build_router(
        pool,
        router="general-fast",
        budget=Budget(account="demo", limit=limit, period="run", expected_calls=16),
        ledger=f"sqlite:///{path / 'demo.db'}",
    )
    output = io.StringIO()
    stand_ins = {"talker": "TALKER_KEY"}
    return Demo(router, stand_ins, Console(file=output, width=WIDTH)), output


def test_it_routes_through_both_frameworks_until_the_money_is_gone(endpoint, tmp_path):
    demo, output = make_demo(endpoint, tmp_path, limit="0.005")
    endpoint.replies["talker"] = Reply(prompt_tokens=100)
    converse(demo, tmp_path)
    shown = output.getvalue()
    assert len(demo.calls) >= 16
    assert {call.via for call in demo.calls} == {"LangChain", "… streamed", "… batch", "LlamaIndex"}
    assert demo.calls[-1].record is None
    assert "refused: no expert is affordable any more" in shown
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
    asked = [*prompts.CHAIN, prompts.STREAMED, *prompts.BATCH, *prompts.RETRIEVAL, *prompts.MORE]
    assert len(asked) >= 25
    reading = load_general(find_router("general-fast")).reader.read(asked)
    assert len(set(reading.kinds.argmax(axis=1).tolist())) >= 12


def test_the_starter_names_todays_models_and_nothing_else():
    pool = Pool.from_toml(STARTER / "experts.toml")
    catalogue = open_catalogue()
    assert read_config(STARTER / "routoo.toml").router == "general-fast"
    assert len(pool) >= 4
    for expert in pool:
        assert catalogue.find(expert.name) is not None
        assert expert.key_variable
        assert expert.output_usd_per_1m > 0


SCRIPT = textwrap.dedent("""
    import pathlib, signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts the tests may ignore it
    sys.path.insert(0, sys.argv[3])
    from test_demo import make_demo
    from routoo_core.testing import FakeEndpoint, Reply
    from routoo_integrations.demo.run import converse

    with FakeEndpoint() as endpoint:
        endpoint.replies = {name: Reply(delay_s=float(sys.argv[2])) for name in ("talker", "calculator")}
        demo, output = make_demo(endpoint, pathlib.Path(sys.argv[1]), "0.006")
        converse(demo, pathlib.Path(sys.argv[1]))
    print(output.getvalue())
""")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a process is POSIX")
def test_ctrl_c_leaves_no_process_and_no_hold_behind(tmp_path):
    tests = os.path.dirname(__file__)  # noqa: PTH120
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "30", tests]
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
    out, err = running.communicate(timeout=100)
    assert running.returncode == 0, err
    assert "Interrupted." in out
    (state,) = SqliteLedger(tmp_path / "demo.db").accounts()
    assert (state.account, state.held) == (budget.account, 0)
    assert state.spent > 0  # the prompt had been sent
    with pytest.raises(ProcessLookupError):
        for _ in range(50):  # an orphan that has ended is there until init has collected it
            os.killpg(running.pid, 0)
            time.sleep(0.1)


def test_a_terminal_of_80_columns_shows_the_choice_and_what_is_left():
    output = io.StringIO()
    demo = Demo(None, {}, Console(file=output, width=80))
    demo.print_header()
    demo.add(DemoCall("LangChain", "Is 91 a prime number?", None))
    lines = output.getvalue().splitlines()
    assert any("chosen" in line and "left" in line for line in lines)
    assert any("91" in line and "none: refused" in line for line in lines)
