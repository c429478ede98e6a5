"""A ledger from outside: one class, registered under a scheme of its own, opened like the others."""

import threading
import time
from dataclasses import replace
from uuid import uuid4

import pytest

from routoo_core import Budget, Pool, RoutedRequest, Usage
from routoo_core.budget.account import AccountState, binding_account
from routoo_core.budget.ledger import Reservation, amount_to_hold
from routoo_core.budget.opening import LEDGERS
from routoo_core.config import build_router, open_account, open_ledger, read_config
from routoo_core.errors import BudgetExceeded, ConfigurationError, ReservationClosed
from routoo_core.testing import FakePredictor


class DictLedger:
    """Accounts in a dict, for runs and calendar periods; its holds do not expire."""

    def __init__(self, url):
        self.url = url
        self._states = {}  # by account and window
        self._holds = {}  # by reservation: the keys of the states it is held in
        self._lock = threading.Lock()

    def reserve(self, budget, *, minimum, maximum, enforce=True):
        with self._lock:
            states = [self._read(payer) for payer in budget.chain]
            binding = binding_account(states)
            amount = amount_to_hold(binding.available if enforce else None, minimum, maximum)
            if amount is None:
                raise binding.refusal(minimum)
            reservation = Reservation(
                uuid4().hex, budget.account, states[0].window, amount, enforce
            )
            for state in states:
                self._write(replace(state, held=state.held + amount))
            self._holds[reservation.id] = [(state.account, state.window.key) for state in states]
        return reservation

    def settle(self, reservation, cost):
        return self._close(reservation, cost, calls=1)

    def release(self, reservation):
        return self._close(reservation, cost=0, calls=0)

    def state(self, budget):
        with self._lock:
            return self._read(budget)

    def accounts(self):
        last = {account: state for (account, _), state in self._states.items()}
        return [last[account] for account in sorted(last)]

    def history(self, account=None):
        states = [s for s in self._states.values() if account in {None, s.account}]
        return sorted(states, key=lambda state: (state.account, state.window.start))

    def arrivals(self, account):
        return []

    def close(self):
        pass

    def _read(self, budget):
        now = time.time()
        window = budget.window(now)
        new = AccountState(budget.account, window, now, budget.limit_nano)
        state = self._states.get((budget.account, window.key), new)
        return replace(state, as_of=now, limit=budget.limit_nano)

    def _write(self, state):
        self._states[state.account, state.window.key] = state

    def _close(self, reservation, cost, calls):
        with self._lock:
            if reservation.id not in self._holds:
                raise ReservationClosed(reservation.id, "settled")
            for key in self._holds.pop(reservation.id):
                state = self._states[key]
                self._write(
                    replace(
                        state,
                        spent=state.spent + cost,
                        held=state.held - reservation.amount,
                        calls=state.calls + calls,
                    )
                )
            return self._states[reservation.account, reservation.window.key]


@pytest.fixture
def dict_ledger(monkeypatch):
    """Registered under ``dict://``, as a program of its user would do it."""
    monkeypatch.setitem(LEDGERS, "dict", lambda url, beside, hold_ttl_s: DictLedger(url))


def test_a_ledger_from_outside_is_opened_by_its_scheme(dict_ledger):
    ledger = open_ledger("dict://here")
    assert isinstance(ledger, DictLedger)
    assert ledger.url == "dict://here"
    with pytest.raises(ConfigurationError, match="dict://"):
        open_ledger("oracle://x")


def test_routoo_toml_names_a_ledger_from_outside(dict_ledger, tmp_path):
    path = tmp_path / "routoo.toml"
    path.write_text(
        'router = "general-fast"\nexperts = "experts.toml"\n'
        '[budget]\nlimit = "1"\nledger = "dict://here"\n'
    )
    budget, ledger = open_account(path, read_config(path))
    assert isinstance(ledger, DictLedger)
    assert ledger.state(budget).available == 10**9


def test_a_router_holds_and_settles_in_a_ledger_from_outside(dict_ledger, endpoint):
    team = Budget(account="team", limit="0.0009", period="month")
    budget = Budget(account="ann", limit="1", period="month", within=team)
    router = build_router(
        Pool([endpoint.expert("cheap", max_output_tokens=500)]),
        router=FakePredictor({"cheap": 0.5}),
        policy="paced",
        budget=budget,
        ledger="dict://here",
    )
    request = RoutedRequest.from_text("hello", max_tokens=500)
    for attempt in router.attempts(request):
        with attempt:
            assert router.ledger.state(team).held > 0
            attempt.settle(Usage(10, 500))
    state = router.ledger.state(budget)
    assert (state.spent, state.held, state.calls) == (510_000, 0, 1)
    assert [state.account for state in router.ledger.accounts()] == ["ann", "team"]
    with pytest.raises(BudgetExceeded, match="account 'team'"):
        next(router.attempts(request))
