"""``routoo budget set``: what it changes in the ledger and in routoo.toml, and what it says."""

import json
import sqlite3
import time

import pytest
from typer.testing import CliRunner

from routoo_core import Budget
from routoo_core.budget.declared import declare_limits, file_source
from routoo_core.budget.ledger import DeclaredLimit
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import open_account, read_config
from routoo_core.errors import ConfigurationError, LedgerError
from routoo_core.limit_changes import LimitChange, change_limit
from routoo_integrations.cli import app

resource = pytest.importorskip("resource")

TEAM = """\
router = "general-fast"
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


def told(recwarn):
    """The warnings of ours, apart from Python's of files that a test left open."""
    return [warning for warning in recwarn if warning.category is UserWarning]


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
    assert not told(recwarn)


def test_the_time_zone_can_be_changed(write):
    path = write()
    said = run("set", "team", "60", "--timezone", "Europe/Zurich")
    assert said.startswith("account team: $60 each month in Europe/Zurich, in ")
    assert read_config(path).read_budget(path).timezone == "Europe/Zurich"


def test_the_limit_of_a_template_can_be_changed(write, recwarn):
    path = write()
    start(path)
    said = run("set", "user-*", "9")
    assert said == "account user-*: $9 each day, in routoo.toml and the ledger\n"
    [user] = read_config(path).read_budget(path).templates()
    assert (user.account, user.limit) == ("user-*", 9)
    after = terms(start(path))
    assert after["user-*"].limit == 9 * 10**9
    assert not told(recwarn)


TENANTS = """\
router = "general-fast"
[budget]
account = "house"
limit = "1.00"
accounts = ["tenant-*"]
"""


def test_a_limit_that_accounts_share_in_the_file_is_changed_in_the_ledger_for_one(write):
    path = write(TENANTS)
    start(path)
    said = run("set", "100")
    assert said.startswith("account house: $100 each day, in the ledger\n")
    assert "routoo.toml is left as it is: its limit is also that of tenant-*" in said
    assert path.read_text() == TENANTS
    limits = terms(SqliteLedger("routoo.db"))
    assert (limits["house"].limit, limits["tenant-*"].limit) == (100 * 10**9, 10**9)
    run("set", "tenant-*", "2")
    assert terms(SqliteLedger("routoo.db"))["tenant-*"].limit == 2 * 10**9
    assert path.read_text() == TENANTS


# The file


def test_every_table_of_an_account_is_changed_wherever_it_stands(write):
    path = write(
        'router = "general-fast"\n[budget]\naccount = "house"\nlimit = "9"\n'
        'within = {account = "org", limit = "50"}\n'
        '[[budget.members]]\naccount = "anna"\nlimit = "1"\n'
        'within = {account = "org", limit = "50"}\n'
    )
    assert "routoo.toml and the ledger" in run("set", "anna", "2")
    assert "routoo.toml and the ledger" in run("set", "org", "60")
    budget = read_config(path).read_budget(path)
    [anna] = budget.members
    assert (budget.limit, anna.limit) == (9, 2)
    assert [budget.within.limit, anna.within.limit] == [60, 60]


def test_what_an_account_with_tenants_is_within_is_changed_in_the_file(write):
    path = write(TENANTS + 'within = {account = "org", limit = "50"}\n')
    assert "routoo.toml and the ledger" in run("set", "org", "60")
    budget = read_config(path).read_budget(path)
    assert (budget.limit, budget.within.limit) == (1, 60)


def test_tables_with_others_between_them_and_lines_of_windows_are_kept(write):
    path = write()
    text = TEAM.replace("[budgets.intern]", "[alerts]\nlog = false\n[budgets.intern]")
    path.write_bytes(text.replace("\n", "\r\n").encode())
    run("set", "intern", "3")
    changed = text.replace('"2.00"', '"3"').replace("\n", "\r\n")
    assert path.read_bytes().decode() == changed


def test_a_ledger_that_fails_leaves_the_file_as_it_is(write):
    path = write()
    ledger = start(path)
    with sqlite3.connect("routoo.db") as db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON limits BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
    with pytest.raises(LedgerError, match="full"):
        change_limit(path, ledger, "intern", LimitChange("3"))
    assert path.read_text() == TEAM


def test_a_file_that_cannot_be_written_is_a_configuration_error_and_the_ledger_has_the_limit(write):
    path = write()
    ledger = SqliteLedger()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))  # as on a full disk
    try:
        with pytest.raises(ConfigurationError, match="The ledger has the new limit; write it"):
            change_limit(path, ledger, "intern", LimitChange("3"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert path.read_text() == TEAM
    assert [path.name for path in path.parent.iterdir()] == ["routoo.toml"]
    assert terms(ledger)["intern"].limit == 3 * 10**9


# Accounts of other files


def test_accounts_that_another_file_declared_are_shown_and_can_be_changed(write):
    path = write()
    ledger = start(path)
    batch = Budget(account="batch", limit="7", members=(Budget(account="job-*", limit="1"),))
    declare_limits(ledger, batch, "web-2:/app/routoo.toml", time.time())
    shown = json.loads(run("show", "--json"))
    limits = {row["account"]: (row["limit"], row["within"]) for row in shown}
    assert limits == {
        "team": (50 * 10**9, None),
        "intern": (2 * 10**9, "team"),
        "batch": (7 * 10**9, None),
    }
    assert run("set", "batch", "8") == "account batch: $8 each day, in the ledger\n"


def test_the_account_of_another_file_is_not_shown_within_ours(write):
    path = write(
        'router = "general-fast"\n[budget]\naccount = "house"\nlimit = "9"\n'
        'within = {account = "org", limit = "50"}\n'
    )
    declare_limits(start(path), Budget(account="batch", limit="7"), "elsewhere", time.time())
    rows = {row["account"]: row for row in json.loads(run("show", "--json"))}
    assert (rows["batch"]["limit"], rows["batch"]["within"]) == (7 * 10**9, None)
    assert rows["house"]["within"] == "org"
