"""What is special about the stores of ledgers: SQLite's file, and Redis' server."""

import pickle
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import redis_in

from routoo_core import Budget
from routoo_core.budget.period import RETENTION_S
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import BudgetExceeded, ConfigurationError, LedgerError
from routoo_core.testing import ManualClock

BUDGET = Budget(limit="0.001", period="day")
LIMIT = 1_000_000  # nano-USD


@pytest.fixture
def clock():
    return ManualClock()


def hold(ledger, budget, amount):
    return ledger.reserve(budget, minimum=amount, maximum=amount)


def test_a_ledger_survives_being_closed_and_opened(tmp_path):
    first = SqliteLedger(tmp_path / "l.db")
    first.settle(hold(first, BUDGET, 500), 321)
    first.close()
    assert SqliteLedger(tmp_path / "l.db").state(BUDGET).spent == 321


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path):
    start = threading.Barrier(16)

    def open_and_call(_):
        start.wait()
        ledger = SqliteLedger(tmp_path / "l.db")
        return ledger.settle(hold(ledger, BUDGET, 100), 10).calls

    with ThreadPoolExecutor(16) as threads:
        assert sorted(threads.map(open_and_call, range(16))) == list(range(1, 17))


def test_a_copied_ledger_is_another_connection_to_the_same_accounts(tmp_path):
    first = SqliteLedger(tmp_path / "l.db", ttl=60)
    first.settle(hold(first, BUDGET, 500), 321)
    second = pickle.loads(pickle.dumps(first))
    assert (second.path, second.ttl) == (first.path, 60)
    assert second.state(BUDGET).spent == 321


@pytest.mark.parametrize("version", [1, 5, 99])
def test_a_file_of_another_schema_is_refused_by_name_and_left_as_it_is(tmp_path, version):
    path = tmp_path / "l.db"
    SqliteLedger(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(
        ConfigurationError, match=rf"l.db: schema {version} .*name a new file in budget.ledger"
    ):
        SqliteLedger(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "customers.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE customers (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="customers.db: schema 0 .*name a new file"):
        SqliteLedger(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 99])
def test_a_redis_database_of_another_schema_is_refused_by_name(redis_url, version):
    import redis

    redis.Redis.from_url(redis_url).set("{routoo}:schema", version)
    with pytest.raises(
        ConfigurationError, match=rf"{redis_url}: schema {version} .*name another database"
    ):
        RedisLedger(redis_url)


@pytest.mark.slow
def test_a_million_accounts_are_kept_apart(tmp_path, clock):
    ledger = SqliteLedger(tmp_path / "ledger.db", clock=clock)
    budget = Budget(account="account 777777", limit="0.001")
    window = budget.window(clock())
    rows = (
        (f"account {i}", window.key, window.start, window.end, LIMIT, i, clock())
        for i in range(1_000_000)
    )
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        columns = '(account, window, start, "end", "limit", spent, used)'
        db.executemany(f"INSERT INTO accounts {columns} VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    assert ledger.settle(hold(ledger, budget, 1000), 700).spent == 777_777 + 700
    assert ledger.history("account 777778")[0].spent == 777_778
    with pytest.raises(BudgetExceeded):
        hold(ledger, budget, LIMIT)


def test_a_file_that_is_no_ledger_is_refused(tmp_path):
    path = tmp_path / "l.db"
    path.write_text("this is a text file, not a database; it is long enough to be read as one")
    with pytest.raises(ConfigurationError, match="not a database"):
        SqliteLedger(path)


def test_a_redis_server_that_cannot_be_reached_is_a_configuration_error_without_the_password(
    monkeypatch,
):
    monkeypatch.setenv("ROUTOO_REDIS_PASSWORD", "very-secret")
    with pytest.raises(ConfigurationError, match="Redis server cannot be used") as caught:
        RedisLedger("redis://127.0.0.1:9/0")
    assert "very-secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="take the password out of the URL") as caught:
        RedisLedger("redis://:very-secret@127.0.0.1:9/0")
    assert "very-secret" not in str(caught.value)


def test_a_redis_server_that_goes_away_lets_no_call_pass(tmp_path_factory):
    with redis_in(tmp_path_factory.mktemp("redis")) as (url, server):
        ledger = RedisLedger(url)
        server.terminate()
        server.wait()
    with pytest.raises(LedgerError, match="nothing is called while it cannot be asked"):
        hold(ledger, BUDGET, 100)


def test_a_file_forgets_reservations_five_weeks_after_they_were_closed(tmp_path, clock):
    ledger = SqliteLedger(tmp_path / "l.db", ttl=60, clock=clock)

    def call():
        held = ledger.reserve(Budget(limit="1"), minimum=1, maximum=9)
        ledger.settle(held, 3)
        return held

    old = call()
    clock.advance(RETENTION_S - 3600)
    recent = call()
    with pytest.raises(LedgerError, match="is settled"):
        ledger.settle(old, 3)
    clock.advance(2 * 3600)
    call()
    with pytest.raises(LedgerError, match="is unknown"):
        ledger.settle(old, 3)
    with pytest.raises(LedgerError, match="is settled"):
        ledger.settle(recent, 3)
