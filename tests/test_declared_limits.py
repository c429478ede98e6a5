"""Limits that a ledger keeps: who may change them, in which time zone they hold, and what a template says."""

import json
import sqlite3

import pytest

from routoo_core import Budget
from routoo_core.budget.declared import DeclaredLimits, declare_limits
from routoo_core.budget.ledger import DeclaredLimit
from routoo_core.budget.redis import LIMITS_KEY, RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import BudgetExceeded

ZONES = ("UTC", "Asia/Tokyo", "America/Los_Angeles")


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request, tmp_path):
    if request.param == "redis":
        return RedisLedger(request.getfixturevalue("redis_url"))
    return SqliteLedger(tmp_path / "ledger.db")


def declare(ledger, source, **fields):
    """One start of a program with a file of one account."""
    declare_limits(ledger, Budget(**{"account": "team", **fields}), source, 1.0)


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
    assert not recwarn.list


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
