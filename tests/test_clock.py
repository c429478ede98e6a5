"""The wall clock says when it jumps, and a jump never frees what is held."""

import logging
import pickle

import pytest

from routoo_core import Budget
from routoo_core.budget.clock import WallClock
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import read_config
from routoo_core.errors import BudgetExceeded, ConfigurationError
from routoo_core.options import parts_from_config
from routoo_core.testing import ManualClock

DAY_S = 86_400


def test_a_jump_is_logged_once(caplog):
    wall = ManualClock()
    passed = ManualClock(0)
    clock = WallClock(wall, passed)
    for jump_s in (0, DAY_S, 0, -2 * DAY_S, 0):
        wall.advance(jump_s + 5)
        passed.advance(5)
        clock()
    messages = [record.getMessage() for record in caplog.records]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "+86400 s" in messages[0]
    assert "-172800 s" in messages[1]


def test_a_small_correction_and_a_long_wait_are_no_jumps(caplog):
    wall = ManualClock()
    passed = ManualClock(0)
    clock = WallClock(wall, passed)
    wall.advance(30)
    clock()
    wall.advance(10 * DAY_S)
    passed.advance(10 * DAY_S)
    clock()
    assert caplog.records == []


def test_the_clock_crosses_into_another_process():
    assert pickle.loads(pickle.dumps(WallClock()))() > 0


def test_a_jump_frees_no_money_of_a_call_that_runs():
    clock = ManualClock()
    ledger = SqliteLedger(clock=clock)
    budget = Budget(limit="0.000001", period="run")
    reservation = ledger.reserve(budget, minimum=600, maximum=600)
    clock.advance(DAY_S)
    with pytest.raises(BudgetExceeded):
        ledger.reserve(budget, minimum=600, maximum=600)
    assert ledger.settle(reservation, 100).spent == 100


CONFIG = {
    "router": "general-fast",
    "experts": {
        "gpt-4o(2024-05)": {
            "model": "m",
            "base_url": "http://127.0.0.1:1",
            "input_usd_per_1m": 1,
            "output_usd_per_1m": 1,
            "timeout_s": 120,
        }
    },
    "budget": {"limit": "1", "ledger": "memory://"},
}


def test_holds_that_expire_while_a_call_may_run_are_refused():
    budget = {**CONFIG["budget"], "hold_ttl_s": 60}
    with pytest.raises(
        ConfigurationError, match=r"hold_ttl_s: 60 is shorter than timeout_s .*\(120 s\)"
    ):
        parts_from_config({**CONFIG, "budget": budget})


def test_a_ledger_keeps_holds_as_long_as_it_is_told(tmp_path):
    file = tmp_path / "routoo.toml"
    file.write_text('router = "general-fast"\n[budget]\nhold_ttl_s = 3600\n', encoding="utf-8")
    assert read_config(file).budget.hold_ttl_s == 3600


@pytest.mark.parametrize("hold_ttl_s", [0, -1, float("inf"), float("nan")])
def test_a_time_to_live_is_a_positive_number(hold_ttl_s):
    budget = {**CONFIG["budget"], "hold_ttl_s": hold_ttl_s}
    with pytest.raises(ConfigurationError, match="hold_ttl_s"):
        parts_from_config({**CONFIG, "budget": budget})
