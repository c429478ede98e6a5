"""A ledger that has lost what it kept, and is to go on with what its processes know."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import redis_in
from test_new_ledger import DictLedger

from routoo_core import Budget, Pool, Router
from routoo_core.budget.journal import Journal, Settlement
from routoo_core.budget.ledger import DeclaredLimit
from routoo_core.budget.opening import LEDGERS
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.settlements import Settlements
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.config import build_router, open_ledger, read_config
from routoo_core.errors import (
    BudgetExceeded,
    ConfigurationError,
    LedgerError,
    LedgerForgot,
)
from routoo_core.testing import ManualClock

TEAM = Budget(account="team", limit="0.01", period="month")
ANN = Budget(account="ann", limit="0.001", period="day", within=TEAM)
BOB = Budget(account="bob", limit="0.001", period="day", within=TEAM)
THREADS = 6


class SqlitePlace:
    """A SQLite file that several processes share, and that vanishes."""

    def __init__(self, folder):
        self.path = folder / "ledger.db"

    def open(self, **settings):
        return SqliteLedger(self.path, on_forgotten="rebuild", **settings)

    def lose(self):
        for suffix in ("-wal", "-shm", ""):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


class RedisPlace:
    """A Redis server that is emptied."""

    def __init__(self, url):
        self.url = url

    def open(self, **settings):
        return RedisLedger(self.url, on_forgotten="rebuild", **settings)

    def lose(self):
        import redis

        redis.Redis.from_url(self.url).flushall()


@pytest.fixture(params=["sqlite", "redis"])
def place(request, tmp_path):
    if request.param == "sqlite":
        return SqlitePlace(tmp_path)
    return RedisPlace(request.getfixturevalue("redis_url"))


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "unbooked")


@pytest.fixture
def process(place, journal):
    """Makes what a process of its own has: a ledger and its settlements."""

    def make(**settings):
        return Settlements(place.open(**settings), journal)

    return make


def hold(settlements, budget, amount):
    return settlements.reserve(budget, minimum=amount, maximum=amount)


def spend(settlements, budget, amount):
    settlements.settle(hold(settlements, budget, amount), amount)


def standing(settlements, budget):
    state = settlements.ledger.state(budget)
    return state.spent, state.held


def test_a_process_goes_on_with_what_it_knows_to_be_spent_in_every_account(place, process, caplog):
    settlements = process()
    for _ in range(3):
        spend(settlements, ANN, 200_000)
    place.lose()

    with pytest.raises(BudgetExceeded, match="account 'ann'"):
        hold(settlements, ANN, 500_000)
    assert standing(settlements, ANN) == (600_000, 0)
    assert standing(settlements, TEAM) == (600_000, 0)
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "has lost what it kept" in warning.getMessage()
    assert "ann $0.000600" in warning.getMessage()
    spend(settlements, ANN, 300_000)
    assert standing(settlements, TEAM) == (900_000, 0)


def test_calls_in_flight_are_held_again_and_booked_once(place, process):
    settlements = process()
    reservation = hold(settlements, ANN, 400_000)
    place.lose()
    spend(settlements, BOB, 100_000)
    assert standing(settlements, ANN) == (0, 400_000)
    assert standing(settlements, TEAM) == (100_000, 400_000)

    settlements.settle(reservation, 300_000)
    assert standing(settlements, ANN) == (300_000, 0)
    assert standing(settlements, TEAM) == (400_000, 0)
    assert settlements.settle(reservation, 300_000) is None
    assert standing(settlements, ANN) == (300_000, 0)


def test_a_call_that_ends_after_the_loss_is_booked_though_no_other_call_follows(place, process):
    settlements = process()
    first = hold(settlements, ANN, 400_000)
    unused = hold(settlements, ANN, 100_000)
    spend(settlements, ANN, 50_000)
    place.lose()
    settlements.settle(first, 300_000)
    settlements.release(unused)
    assert standing(Settlements(place.open()), ANN) == (350_000, 0)
    assert standing(Settlements(place.open()), TEAM) == (350_000, 0)


def test_the_process_that_saw_the_most_counts_and_what_was_spent_since_is_added(
    place, process, monkeypatch
):
    monkeypatch.setattr("routoo_core.budget.recollection.LOOK_S", 0)
    first = process()
    second = process()
    spend(first, ANN, 100_000)
    spend(second, ANN, 100_000)  # which the first has not seen
    in_flight = hold(second, ANN, 300_000)
    place.lose()

    spend(first, ANN, 10_000)
    spend(second, ANN, 5_000)
    assert standing(second, ANN) == (215_000, 300_000)
    second.settle(in_flight, 200_000)
    spend(first, ANN, 1_000)
    assert standing(first, ANN) == (416_000, 0)
    assert standing(first, TEAM) == (416_000, 0)


def test_what_processes_have_not_seen_of_one_another_is_counted_all_the_same(place, process):
    first = process()
    second = process()
    for settlements in (first, second, first, second):
        spend(settlements, BOB, 1_000)
        spend(settlements, ANN, 50_000)
    place.lose()
    for settlements in (first, second):
        spend(settlements, ANN, 1_000)
    assert standing(first, ANN)[0] >= 202_000
    assert standing(first, TEAM)[0] >= 206_000


def test_calls_of_many_threads_are_booked_each_once(place, process):
    settlements = process()
    is_halfway = threading.Barrier(THREADS + 1)
    account = Budget(account="ann", limit="1", within=Budget(account="team", limit="1"))

    def call_often(number):
        for call in range(40):
            if call == 20:
                is_halfway.wait()
            spend(settlements, account, 1_000 + number)

    with ThreadPoolExecutor(THREADS) as threads:
        done = threads.map(call_often, range(THREADS))
        is_halfway.wait()
        place.lose()
        list(done)
    settlements.catch_up()
    cost = sum(40 * (1_000 + number) for number in range(THREADS))
    for budget in account.chain:
        spent, held = standing(settlements, budget)
        assert held == 0
        assert (
            cost <= spent <= 1.1 * cost
        )  # calls that end while an account is looked at count twice


def test_a_forked_child_does_not_hold_the_money_of_its_parents_calls(place, process):
    settlements = process()
    hold(settlements, ANN, 400_000)
    child = os.fork()
    if child == 0:
        place.lose()
        spend(settlements, BOB, 1_000)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert standing(process(), ANN) == (0, 0)
    hold(settlements, BOB, 1_000)
    assert standing(settlements, ANN) == (0, 400_000)
    assert standing(settlements, TEAM) == (1_000, 401_000)


def test_a_second_loss_is_made_good_as_the_first(place, process):
    settlements = process()
    for _ in range(3):
        spend(settlements, ANN, 100_000)
        place.lose()
    spend(settlements, ANN, 100_000)
    assert standing(settlements, ANN) == (400_000, 0)
    assert standing(settlements, TEAM) == (400_000, 0)


def test_a_process_that_starts_after_the_loss_learns_of_it_from_one_that_ran_before(place, process):
    before = process()
    spend(before, ANN, 100_000)
    place.lose()
    after = process()
    spend(after, ANN, 30_000)
    assert standing(after, ANN) == (30_000, 0)
    spend(before, ANN, 1_000)
    assert standing(after, ANN) == (131_000, 0)


@pytest.mark.parametrize("is_own", [True, False])
def test_what_waits_in_the_journal_is_booked_with_the_rest(place, process, journal, is_own):
    settlements = process()
    reservation = hold(settlements, ANN, 400_000)
    journal.add(Settlement(reservation, 300_000))
    going_on = settlements if is_own else process()
    spend(going_on, BOB, 1_000)
    place.lose()
    spend(going_on, BOB, 1_000)
    going_on.catch_up()
    assert journal.settlements() == []
    assert standing(going_on, ANN) == (300_000, 0)


def test_limits_that_were_declared_hold_again(place, process):
    settlements = process()
    limit = DeclaredLimit("ann", 500_000, "day", False, "routoo budget set", 1.0)
    settlements.ledger.set_limit(limit)
    spend(settlements, ANN, 100_000)
    place.lose()
    spend(settlements, ANN, 100_000)
    assert settlements.ledger.limits() == [limit]


def test_of_a_rolling_period_what_is_spent_comes_back_slot_by_slot(place, process):
    clock = ManualClock()
    settlements = process(clock=clock, ttl=9e9)
    budget = Budget(limit="0.001", period="hour", rolling=True)
    spend(settlements, budget, 300_000)
    clock.advance(1800)
    spend(settlements, budget, 200_000)
    in_flight = hold(settlements, budget, 100_000)
    place.lose()
    hold(settlements, budget, 1)
    assert standing(settlements, budget) == (500_000, 100_001)
    settlements.release(in_flight)
    clock.advance(1900)
    assert standing(settlements, budget) == (200_000, 1)


def test_a_period_that_has_passed_is_not_brought_back(place, process):
    clock = ManualClock()
    settlements = process(clock=clock)
    spend(settlements, ANN, 300_000)
    clock.advance(86_400)
    place.lose()
    spend(settlements, ANN, 100_000)
    assert standing(settlements, ANN) == (100_000, 0)
    assert len(settlements.ledger.history("ann")) == 1


def test_a_run_goes_on_from_its_start(place, process):
    clock = ManualClock()
    settlements = process(clock=clock)
    budget = Budget(limit="0.001", period="run")
    started = clock()
    spend(settlements, budget, 300_000)
    clock.advance(50)
    place.lose()
    spend(settlements, budget, 300_000)
    state = settlements.ledger.state(budget)
    assert (state.spent, state.window.start) == (600_000, started)


def test_of_a_file_that_was_moved_all_that_others_spent_is_known_too(tmp_path):
    place = SqlitePlace(tmp_path)
    first = Settlements(place.open())
    second = Settlements(place.open())
    spend(first, ANN, 100_000)
    spend(second, BOB, 200_000)
    place.path.rename(tmp_path / "away.db")
    spend(first, ANN, 1_000)
    assert standing(first, BOB) == (200_000, 0)
    assert standing(first, TEAM) == (301_000, 0)


def test_a_ledger_that_cannot_be_restored_is_restored_when_it_can(tmp_path, caplog):
    place = SqlitePlace(tmp_path / "folder")
    place.path.parent.mkdir()
    settlements = Settlements(place.open())
    spend(settlements, ANN, 100_000)
    in_flight = hold(settlements, ANN, 200_000)
    place.path.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match="cannot be opened anew"):
        hold(settlements, ANN, 1)
    assert settlements.settle(in_flight, 150_000) is None
    assert "cannot be restored yet" in caplog.text
    spend(settlements, ANN, 1_000)  # the journal has made the folder again
    settlements.catch_up()
    assert standing(settlements, ANN) == (251_000, 0)


def test_a_server_that_restarts_without_its_data_is_restored(tmp_path_factory, journal):
    folder = tmp_path_factory.mktemp("redis")
    with redis_in(folder) as (url, server):
        settlements = Settlements(RedisLedger(url, on_forgotten="rebuild"), journal)
        spend(settlements, ANN, 100_000)
        in_flight = hold(settlements, ANN, 200_000)
        server.terminate()
        server.wait()
        assert settlements.settle(in_flight, 150_000) is None
    with redis_in(folder) as (url, _):
        spend(settlements, ANN, 1_000)
        assert standing(settlements, ANN) == (251_000, 0)
        assert standing(settlements, TEAM) == (251_000, 0)
        assert journal.settlements() == []


# The setting


def test_by_default_calls_are_refused(place, tmp_path):
    ledger = place.open()
    ledger.on_forgotten = "refuse"
    settlements = Settlements(ledger, Journal(None))
    spend(settlements, ANN, 1)
    place.lose()
    with pytest.raises(LedgerForgot, match='or set on_forgotten = "rebuild" in .budget.'):
        for _ in range(2):
            ledger._last_check = -1.0
            spend(settlements, ANN, 1)
    assert SqliteLedger(tmp_path / "other.db").on_forgotten == "refuse"


def test_routoo_toml_says_what_follows_a_loss(tmp_path):
    file = tmp_path / "routoo.toml"
    file.write_text(
        'router = "general-fast"\n[budget]\non_forgotten = "rebuild"\n', encoding="utf-8"
    )
    assert read_config(file).budget.on_forgotten == "rebuild"
    file.write_text(
        'router = "general-fast"\n[budget]\non_forgotten = "rebuild"\n[budgets.team]\nlimit = "5"\n',
        encoding="utf-8",
    )
    assert read_config(file).read_budget(file).account == "team"


def test_a_router_is_described_and_built_again_with_the_setting(endpoint, checkpoint, tmp_path):
    experts = [endpoint.expert("calculator"), endpoint.expert("talker")]
    ledger = SqliteLedger(tmp_path / "l.db", on_forgotten="rebuild")
    config = build_router(Pool(experts), router=checkpoint, ledger=ledger).to_config()
    assert config["budget"]["on_forgotten"] == "rebuild"
    assert Router.from_config(config).ledger.on_forgotten == "rebuild"


def test_a_ledger_from_outside_is_not_rebuilt(monkeypatch):
    monkeypatch.setitem(LEDGERS, "dict", lambda url, beside, hold_ttl_s: DictLedger(url))
    assert open_ledger("dict://here").url == "dict://here"
    with pytest.raises(ConfigurationError, match="dict:// ledger cannot be rebuilt"):
        open_ledger("dict://here", on_forgotten="rebuild")


def test_a_setting_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="on_forgotten: 'ignore' is unknown; choose"):
        SqliteLedger(tmp_path / "l.db", on_forgotten="ignore")
    with pytest.raises(ConfigurationError, match="on_forgotten: 'ignore' is unknown; choose"):
        open_ledger("memory://", on_forgotten="ignore")


def test_a_ledger_is_copied_and_described_with_the_setting(place):
    assert pickle.loads(pickle.dumps(place.open())).on_forgotten == "rebuild"
