"""Limits that a ledger keeps: who may change them, in which time zone they hold, and what a template says."""

import json
import platform
import sqlite3
import time
from dataclasses import replace

import pytest

from routoo_core import Budget
from routoo_core.budget.declared import DeclaredLimits, declare_limits, file_source
from routoo_core.budget.ledger import DECLARED_RETENTION_S, DeclaredLimit
from routoo_core.budget.redis import LIMITS_KEY, RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import BudgetExceeded
from routoo_core.testing import ManualClock

ZONES = ("UTC", "Asia/Tokyo", "America/Los_Angeles")


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request, tmp_path):
    if request.param == "redis":
        return RedisLedger(request.getfixturevalue("redis_url"))
    return SqliteLedger(tmp_path / "ledger.db")


def declare(ledger, source, **fields):
    """One start of a program with a file of one account."""
    declare_limits(ledger, Budget(**{"account": "team", **fields}), source, time.time())


def told(recwarn):
    """The warnings of ours, apart from Python's of files that a test left open."""
    return [warning for warning in recwarn if warning.category is UserWarning]


def limit_of(ledger, account="team"):
    """The limit in USD that all who share the ledger go by."""
    limits = {limit.account: limit.limit for limit in ledger.limits()}
    return limits[account] / 10**9


# Time zones


def test_an_account_in_three_time_zones_has_one_limit(ledger):
    declare(ledger, "a", limit="1", timezone=ZONES[0])
    spent = 0
    for zone in ZONES:
        budget = DeclaredLimits(ledger).apply(Budget(account="team", limit="1", timezone=zone))
        try:
            reservation = ledger.reserve(budget, minimum=10**9, maximum=10**9)
        except BudgetExceeded:
            continue
        spent += ledger.settle(reservation, 10**9).spent
    assert spent == 10**9


def test_files_that_differ_in_the_time_zone_alone_are_told(ledger):
    declare(ledger, "a", limit="1", timezone="Asia/Tokyo")
    with pytest.warns(
        UserWarning, match=r"b says \$1 each day, but the ledger has \$1 each day in Asia/Tokyo"
    ):
        declare(ledger, "b", limit="1")


@pytest.mark.parametrize("fields", [{"rolling": True}, {"period": "run"}])
def test_the_time_zone_of_a_period_that_begins_by_no_clock_does_not_matter(ledger, recwarn, fields):
    declare(ledger, "a", limit="1", timezone="Asia/Tokyo", **fields)
    declare(ledger, "b", limit="1", **fields)
    assert not told(recwarn)


def test_a_file_of_before_gets_time_zones(tmp_path):
    path = tmp_path / "ledger.db"
    SqliteLedger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE limits DROP COLUMN timezone")
        db.execute("INSERT INTO limits VALUES ('team', 5, 'day', 0, 'file', 1.0)")
    ledger = SqliteLedger(path)
    assert ledger.limits() == [DeclaredLimit("team", 5, "day", False, "file", 1.0, "UTC")]
    ledger.set_limit(DeclaredLimit("team", 5, "day", False, "file", 1.0, "Asia/Tokyo"))
    assert SqliteLedger(path).limits()[0].timezone == "Asia/Tokyo"


def test_a_limit_of_before_in_redis_has_a_time_zone(redis_url):
    import redis

    row = json.dumps(["5", "day", False, "file", 1.0])
    redis.Redis.from_url(redis_url).hset(LIMITS_KEY, "team", row)
    [limit] = RedisLedger(redis_url).limits()
    assert limit == DeclaredLimit("team", 5, "day", False, "file", 1.0, "UTC")


# Who may change a limit

ONE, OTHER = "web-1:/app/routoo.toml", "web-2:/app/routoo.toml"


def test_files_of_the_same_path_on_two_machines_do_not_undo_each_other(ledger):
    declare(ledger, ONE, limit="50")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"web-2.* says \$60 .* declared by web-1"):
            declare(ledger, OTHER, limit="60")
        declare(ledger, ONE, limit="50")
        assert limit_of(ledger) == 50


def test_a_file_is_known_by_its_machine_and_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert file_source("routoo.toml") == f"{platform.node()}:{tmp_path.resolve()}/routoo.toml"


def test_a_file_changes_a_limit_when_it_is_edited_and_not_when_it_is_read_again(ledger, recwarn):
    declare(ledger, ONE, limit="50")
    declare(ledger, ONE, limit="60")
    assert limit_of(ledger) == 60
    assert not told(recwarn)
    ledger.set_limit(DeclaredLimit("team", 70 * 10**9, "day", False, "command", 2.0))
    with pytest.warns(UserWarning, match=r"says \$60 each day, but the ledger has \$70"):
        declare(ledger, ONE, limit="60")
    assert limit_of(ledger) == 70
    declare(ledger, ONE, limit="80")
    assert limit_of(ledger) == 80


def test_a_file_that_was_told_that_it_differs_may_be_edited_as_well(ledger):
    declare(ledger, ONE, limit="50")
    with pytest.warns(UserWarning, match="declared by web-1"):
        declare(ledger, OTHER, limit="60")
    declare(ledger, OTHER, limit="65")
    assert limit_of(ledger) == 65
    with pytest.warns(UserWarning, match="declared by web-2"):
        declare(ledger, ONE, limit="50")
    assert limit_of(ledger) == 65


def test_a_file_that_loses_its_limit_is_told_that_the_ledger_keeps_it(ledger, recwarn):
    declare(ledger, ONE, limit="50")
    declare(ledger, OTHER)
    assert not told(recwarn)
    with pytest.warns(UserWarning, match="gives it no limit any more.* budget set team none"):
        declare(ledger, ONE)
    assert limit_of(ledger) == 50


def test_a_program_that_sets_no_limit_is_told_nothing(ledger, recwarn):
    declare(ledger, ONE, limit="50")
    declare(ledger, None)
    assert not told(recwarn)


def test_a_ledger_remembers_the_last_words_of_each_file(ledger):
    first = DeclaredLimit("a", None, "month", True, ONE, time.time(), "Asia/Tokyo")
    second = DeclaredLimit("b", 10**18, "day", False, ONE, time.time())
    ledger.note_declared([replace(first, limit=7), replace(second, source=OTHER)])
    ledger.note_declared([first, second])
    assert ledger.last_declared(ONE) == [first, second]
    assert ledger.last_declared(OTHER) == [replace(second, source=OTHER)]
    assert ledger.last_declared("nobody") == []


def test_a_file_that_nobody_reads_any_more_is_forgotten(tmp_path):
    clock = ManualClock()
    ledger = SqliteLedger(tmp_path / "ledger.db", clock=clock)
    limit = DeclaredLimit("a", 5, "day", False, ONE, clock())
    ledger.note_declared([limit])
    clock.advance(DECLARED_RETENTION_S + 1)
    ledger.note_declared([replace(limit, source=OTHER, set_at=clock())])
    assert ledger.last_declared(ONE) == []
    assert len(ledger.last_declared(OTHER)) == 1


# Templates


def template(limit, **fields):
    """The budget of a file with a team and a template of its users."""
    user = Budget(account="user-*", limit=limit, **fields)
    return Budget(account="team", limit="50", members=(user,))


def test_an_account_of_a_template_has_one_limit_in_all_programs(ledger):
    declare_limits(ledger, template("5"), ONE, time.time())
    with pytest.warns(UserWarning, match=r"account 'user-\*': web-2.* set 'user-\*' LIMIT"):
        declare_limits(ledger, template("9", timezone="Asia/Tokyo"), OTHER, time.time())
    other = template("9", timezone="Asia/Tokyo").for_account("user-anna")
    anna = DeclaredLimits(ledger).apply(other)
    assert (anna.account, anna.limit, anna.timezone) == ("user-anna", 5, "UTC")


def test_an_accounts_own_limit_counts_before_that_of_its_template(ledger):
    declare_limits(ledger, template("5"), ONE, time.time())
    ledger.set_limit(DeclaredLimit("user-anna", 7 * 10**9, "day", False, "command", 1.0))
    limits = DeclaredLimits(ledger)
    assert limits.apply(template("5").for_account("user-anna")).limit == 7
    assert limits.apply(template("5").for_account("user-bob")).limit == 5


def test_a_template_limits_no_account_that_is_not_made_from_it(ledger):
    declare_limits(ledger, template("5"), ONE, time.time())
    assert DeclaredLimits(ledger).apply(Budget(account="user-x")).limit is None


def test_the_accounts_that_a_call_may_name_have_one_limit_in_all_programs(ledger):
    tenants = Budget(account="house", limit="1", accounts=("tenant-*", "guest"))
    declare_limits(ledger, tenants, ONE, time.time())
    ledger.set_limit(DeclaredLimit("house", 100 * 10**9, "day", False, "command", 1.0))
    limits = DeclaredLimits(ledger)
    assert limits.apply(tenants).limit == 100
    for name in ("tenant-7", "guest"):
        assert limits.apply(tenants.for_account(name)).limit == 1
    ledger.set_limit(DeclaredLimit("tenant-*", 3 * 10**9, "day", False, "command", 1.0))
    assert DeclaredLimits(ledger).apply(tenants.for_account("tenant-7")).limit == 3
