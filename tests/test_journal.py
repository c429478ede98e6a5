"""A ledger that fails after a call was paid for: the caller is answered, and the call is booked once it is back."""

import os
import signal
import stat

import pytest
from conftest import redis_in
from eight_ways import QUESTION, WAYS, answer, billed, call, model_for

from routoo_core import Budget
from routoo_core.budget import redis as redis_ledger
from routoo_core.budget.journal import Journal, Settlement
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.settlements import Settlements
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import LedgerError, ReservationClosed
from routoo_core.testing import Reply

BUDGET = Budget(limit="0.01", period="run")


class BreakableLedger(SqliteLedger):
    """A SQLite ledger that fails while it is told to."""

    is_broken = False

    def _transaction(self, kind):
        if self.is_broken:
            raise LedgerError("the disk is full")
        return super()._transaction(kind)


@pytest.fixture
def ledger(tmp_path):
    return BreakableLedger(tmp_path / "ledger.db")


@pytest.mark.parametrize("way", WAYS)
async def test_a_reply_that_was_paid_for_is_handed_over_and_booked_later(
    endpoint, make_router, ledger, way
):
    def break_ledger(body):
        ledger.is_broken = True
        return Reply()

    router = make_router(ledger=ledger)
    endpoint.replies["dear"] = break_ledger
    text, record, error = await ask(way, router)
    assert (text, error) == ("The answer is four.", None)
    assert record["settled_usd"]
    assert record["spent_usd"] is None
    [kept] = router.settlements.journal.folder.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    ledger.is_broken = False
    endpoint.replies["dear"] = Reply()
    ending = await call(way, router)
    assert ending.booked == billed(endpoint, router)
    assert ending.held == 0
    assert list(router.settlements.journal.folder.iterdir()) == []


async def ask(way, router):
    """A call whose account cannot be looked at afterwards."""
    try:
        return (*await answer(way, model_for(way, router), QUESTION), None)
    except Exception as error:  # noqa: BLE001
        return None, None, error


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_called_while_the_ledger_fails(endpoint, make_router, ledger, way):
    router = make_router(ledger=ledger)
    ledger.is_broken = True
    _, _, error = await ask(way, router)
    assert isinstance(error, LedgerError)
    assert endpoint.requests == []


def test_what_waits_is_booked_by_the_next_process_too(ledger):
    first = Settlements(ledger)
    reservation = first.reserve(BUDGET, minimum=500, maximum=500)
    ledger.is_broken = True
    assert first.settle(reservation, 321) is None
    ledger.is_broken = False
    second = Settlements(SqliteLedger(ledger.path))
    second.catch_up()
    assert second.ledger.state(BUDGET).spent == 321
    first.catch_up()
    assert second.ledger.state(BUDGET).spent == 321


def test_a_hold_that_could_not_be_given_back_is_given_back_later(ledger):
    settlements = Settlements(ledger)
    reservation = settlements.reserve(BUDGET, minimum=500, maximum=500)
    ledger.is_broken = True
    assert settlements.release(reservation) is None
    ledger.is_broken = False
    settlements.catch_up()
    state = ledger.state(BUDGET)
    assert (state.spent, state.held) == (0, 0)


def test_a_reservation_is_still_closed_once(ledger):
    settlements = Settlements(ledger)
    reservation = settlements.reserve(BUDGET, minimum=500, maximum=500)
    settlements.settle(reservation, 100)
    with pytest.raises(ReservationClosed):
        settlements.settle(reservation, 100)


def test_a_journal_that_cannot_be_written_keeps_in_memory(ledger, tmp_path, caplog):
    (tmp_path / "file").write_text("", encoding="utf-8")
    settlements = Settlements(ledger, Journal(tmp_path / "file" / "folder"))
    reservation = settlements.reserve(BUDGET, minimum=500, maximum=500)
    ledger.is_broken = True
    settlements.settle(reservation, 321)
    ledger.is_broken = False
    assert "lost with this process" in caplog.text
    settlements.catch_up()
    assert ledger.state(BUDGET).spent == 321


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cost": 1}', '{"reservation": 7, "cost": 1}'])
def test_a_damaged_file_of_the_journal_stops_nothing(ledger, tmp_path, text, caplog):
    journal = Journal(tmp_path / "unbooked")
    reservation = ledger.reserve(BUDGET, minimum=500, maximum=500)
    journal.add(Settlement(reservation, 100))
    (journal.folder / "0.json").write_text(text, encoding="utf-8")
    Settlements(ledger, journal).catch_up()
    assert ledger.state(BUDGET).spent == 100
    assert "0.json cannot be read" in caplog.text


@pytest.fixture
def redis_process(tmp_path, monkeypatch):
    """A Redis server of this test's own, asked by an impatient client, and its process."""
    monkeypatch.setattr(redis_ledger, "TIMEOUT_S", 0.2)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with redis_in(tmp_path) as (url, process):
        yield url, process
        process.send_signal(signal.SIGCONT)


def test_a_settlement_whose_answer_was_lost_is_booked_once(redis_process):
    url, process = redis_process
    settlements = Settlements(RedisLedger(url))
    reservation = settlements.reserve(BUDGET, minimum=500, maximum=500)
    process.send_signal(signal.SIGSTOP)
    assert settlements.settle(reservation, 321) is None
    process.send_signal(signal.SIGCONT)
    settlements.catch_up()
    state = settlements.ledger.state(BUDGET)
    assert (state.spent, state.held, state.calls) == (321, 0, 1)
    assert settlements.journal.settlements() == []


def test_a_hold_whose_answer_was_lost_is_taken_back(redis_process):
    url, process = redis_process
    settlements = Settlements(RedisLedger(url))
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(LedgerError):
        settlements.reserve(BUDGET, minimum=500, maximum=500)
    process.send_signal(signal.SIGCONT)
    settlements.ledger.state(BUDGET)  # the server has done by now what it was asked before
    settlements.catch_up()
    state = settlements.ledger.state(BUDGET)
    assert (state.spent, state.held) == (0, 0)


def test_a_new_ledger_is_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        ledger = SqliteLedger(tmp_path / "ledger.db")
        ledger.reserve(BUDGET, minimum=1, maximum=1)
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_is_said_before_anything_is_called(tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.db")
    [(pages,)] = ledger._connection.execute("PRAGMA page_count").fetchall()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="make room on its disk"):
        for number in range(5000):
            budget = Budget(account=f"account-{number}", limit="1")
            ledger.reserve(budget, minimum=1, maximum=1)


def test_a_file_that_was_replaced_while_it_was_open_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("routoo_core.budget.sqlite.FILE_CHECK_S", 0)
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    ledger.settle(ledger.reserve(BUDGET, minimum=1, maximum=9), 9)
    path.rename(tmp_path / "away.db")
    with pytest.raises(LedgerError, match="moved or deleted while it was open"):
        ledger.reserve(BUDGET, minimum=1, maximum=9)
    SqliteLedger(path)
    with pytest.raises(LedgerError, match="moved or deleted while it was open"):
        ledger.reserve(BUDGET, minimum=1, maximum=9)


def test_a_redis_that_forgot_is_noticed_until_somebody_starts_anew(redis_url):
    import redis

    ledger = RedisLedger(redis_url)
    settlements = Settlements(ledger, Journal(None))
    reservation = settlements.reserve(BUDGET, minimum=1, maximum=9)
    redis.Redis.from_url(redis_url).flushall()
    with pytest.raises(LedgerError, match="lost what it kept"):
        settlements.reserve(BUDGET, minimum=1, maximum=9)
    assert settlements.settle(reservation, 9) is None  # the caller has paid for an answer
    anew = RedisLedger(redis_url)
    with pytest.raises(LedgerError, match="lost what it kept"):
        settlements.reserve(BUDGET, minimum=1, maximum=9)
    assert anew.reserve(BUDGET, minimum=1, maximum=9).amount == 9
