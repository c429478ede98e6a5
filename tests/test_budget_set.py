"""``routoo budget set``: what it changes in the ledger and in routoo.toml, and what it says."""

import time

import pytest
from typer.testing import CliRunner

from routoo_core.budget.declared import declare_limits, file_source
from routoo_core.budget.ledger import DeclaredLimit
from routoo_core.config import open_account, read_config
from routoo_integrations.cli import app

TEAM = """\
router = "mmlu-pro"
[budgets.team]
limit = "50.00"
period = "month"
[budgets.intern]
within = "team"
limit = "2.00"
[budgets."user-*"]
within = "team"
limit = "5.00"
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes routoo.toml; returns its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROUTOO_CONFIG", raising=False)

    def write(text=TEAM):
        path = tmp_path / "routoo.toml"
        path.write_text(text)
        return path

    return write


def run(*arguments):
    result = CliRunner().invoke(app, ["budget", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def start(path):
    """What a program with this file does first; returns the ledger."""
    budget, ledger = open_account(path, read_config(path))
    declare_limits(ledger, budget, file_source(path), time.time())
    return ledger


def terms(ledger):
    return {limit.account: limit.terms for limit in ledger.limits()}


def test_the_start_after_a_change_changes_nothing_whatever_the_ledger_had(write, recwarn):
    path = write()
    ledger = start(path)
    ledger.set_limit(DeclaredLimit("intern", 9, "hour", False, "x", 1.0, "Asia/Tokyo"))
    run("set", "intern", "3")
    after = terms(ledger)
    assert after["intern"] == (3 * 10**9, "hour", False, "Asia/Tokyo")
    assert terms(start(path)) == after
    assert not recwarn.list


def test_the_time_zone_can_be_changed(write):
    path = write()
    said = run("set", "team", "60", "--timezone", "Europe/Zurich")
    assert said.startswith("account team: $60 each month in Europe/Zurich, in ")
    assert read_config(path).read_budget(path).timezone == "Europe/Zurich"
