"""What a process knows of a ledger's accounts, should the ledger lose what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.clock import Clock
from routoo_core.budget.journal import Settlement
from routoo_core.budget.ledger import (
    DeclaredLimit,
    KnownSpending,
    Ledger,
    LimitStore,
    Reservation,
)
from routoo_core.budget.period import SLOTS_PER_PERIOD, Window
from routoo_core.errors import LedgerError
from routoo_core.lifetimes import fork_safe_lock
from routoo_core.money import NanoUsd

LOOK_S = 0.25
"""How often an account that calls are held against is looked at."""

_Key = tuple[str, str]
"""An account, and the key of its window."""


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A hold that is not settled yet.

    Attributes:
        budget: The account that pays.
        reservation: The hold; where the ledger had lost the first one, the one in its place.
        windows: Account → its window, of the whole chain.
        epoch: How many losses of the ledger had been made good before it was made.
    """

    budget: Budget
    reservation: Reservation
    windows: Mapping[str, Window]
    epoch: int


class Recollection:
    """What calls of this process have seen of their accounts; safe from any thread.

    Args:
        ledger: Keeps the accounts.
        clock: The ledger's.
        stopwatch: Seconds that never go back.
    """

    def __init__(
        self, ledger: Ledger, clock: Clock, stopwatch: Callable[[], float] = monotonic
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._stopwatch = stopwatch
        self._spending: dict[_Key, KnownSpending] = {}
        self._limits: dict[str, DeclaredLimit] = {}
        self._open_holds: dict[str, OpenHold] = {}
        self._look_times: dict[str, float] = {}
        self._epoch = 0
        self._lock = fork_safe_lock()

    # What calls tell

    def note_hold(self, budget: Budget, reservation: Reservation, epoch: int) -> None:
        """A hold was made.

        Args:
            budget: The account that pays.
            reservation: The hold.
            epoch: The one before it was asked for.
        """
        now = self._clock()
        windows = {payer.account: payer.window(now).slot_at(now) for payer in budget.chain}
        with self._lock:
            self._open_holds[reservation.id] = OpenHold(budget, reservation, windows, epoch)
        self._look(budget)

    def note_booked(self, settlement: Settlement, last_hold: Reservation) -> bool:
        """The ledger has closed a hold.

        Args:
            settlement: With the hold as it was first made.
            last_hold: The hold that was closed: the first one, or the one in its place.

        Returns:
            Whether that is all. It is not where the hold was lost and made again in the meantime: the new one is open.
        """
        first_hold = settlement.reservation
        cost = settlement.cost or 0
        with self._lock:
            hold = self._open_holds.get(first_hold.id)
            if hold is not None and hold.reservation.id != last_hold.id:
                return False
            self._open_holds.pop(first_hold.id, None)
            is_lost = (
                hold is not None and hold.epoch != self._epoch
            )  # it was booked in what is lost
            for account, window in _windows_of(first_hold, hold).items():
                if is_lost:
                    self._add(account, window, unbooked=cost)
                else:
                    self._add(account, window, own=cost)
        if hold is not None:
            self._look(hold.budget)
        return True

    def note_unbooked(self, settlement: Settlement) -> None:
        """A call was paid for whose hold the ledger had lost."""
        reservation = settlement.reservation
        with self._lock:
            hold = self._open_holds.pop(reservation.id, None)
            for account, window in _windows_of(reservation, hold).items():
                self._add(account, window, unbooked=settlement.cost or 0)

    def note_restored(self, spending: list[KnownSpending], is_lost: bool) -> None:
        """The ledger has this now, so what was booked nowhere is booked.

        Args:
            spending: What it was restored with.
            is_lost: Whether it had lost what it kept. What was booked there meanwhile is lost, too.
        """
        restored_of = {(entry.account, entry.window.key): entry for entry in spending}
        with self._lock:
            for key, entry in self._spending.items():
                restoration = restored_of.get(key, KnownSpending(entry.account, entry.window))
                self._spending[key] = _after_restoring(entry, restoration, is_lost)
            if is_lost:
                self._epoch += 1
                self._look_times.clear()

    def note_held_again(self, first_id: str, reservation: Reservation) -> bool:
        """A hold that was lost is made again; whether it is still wanted."""
        with self._lock:
            hold = self._open_holds.get(first_id)
            if hold is None:
                return False
            self._open_holds[first_id] = replace(hold, reservation=reservation, epoch=self._epoch)
            return True

    # What is known

    @property
    def epoch(self) -> int:
        """How many losses of the ledger have been made good."""
        return self._epoch

    @property
    def has_unbooked(self) -> bool:
        """Whether something was spent that no ledger has booked."""
        return any(entry.unbooked for entry in self.spending())

    def is_open(self, reservation: Reservation) -> bool:
        """Whether this process has made a hold, and not closed it."""
        return reservation.id in self._open_holds

    def current(self, reservation: Reservation) -> Reservation:
        """A hold, or the one in its place."""
        hold = self._open_holds.get(reservation.id)
        return reservation if hold is None else hold.reservation

    def open_holds(self) -> dict[str, OpenHold]:
        """The holds that are not settled, by the ids under which they were first made."""
        with self._lock:
            return dict(self._open_holds)

    def spending(self) -> list[KnownSpending]:
        """What is known of the windows that have not passed."""
        now = self._clock()
        with self._lock:
            return [entry for entry in self._spending.values() if not entry.window.has_passed(now)]

    def limits(self) -> list[DeclaredLimit]:
        """The declared limits that were seen."""
        with self._lock:
            return list(self._limits.values())

    # Looking at the accounts

    def _look(self, budget: Budget) -> None:
        """Look at the accounts of a chain that were not looked at lately, and at the limits."""
        with self._lock:
            due = [payer for payer in budget.chain if self._is_due(payer.account)]
            before = dict(self._spending) if due else {}
        if not due:
            return
        with suppress(LedgerError):  # the call goes on without
            for payer in due:
                self._see(self._ledger.state(payer), before)
            if isinstance(self._ledger, LimitStore):
                limits = {limit.account: limit for limit in self._ledger.limits()}
                with self._lock:
                    self._limits.update(limits)
        self._forget_past_windows()

    def _is_due(self, account: str) -> bool:
        """Whether an account should be looked at now."""
        moment = self._stopwatch()
        last_look = self._look_times.get(account)
        if last_look is not None and moment - last_look < LOOK_S:
            return False
        self._look_times[account] = moment
        return True

    def _see(self, state: AccountState, before: Mapping[_Key, KnownSpending]) -> None:
        """Remember what an account has spent; never less than before.

        Args:
            state: Of the account.
            before: What was known when the state was asked for. Calls booked by then are part of what it shows, unless
                the ledger has lost them.
        """
        with self._lock:
            for window, amount in _spending_of(state):
                key = (state.account, window.key)
                entry = self._spending.get(key, KnownSpending(state.account, window))
                earlier = before.get(key, KnownSpending(state.account, window))
                peak = max(entry.spent, amount)
                unseen_spending = max(0, earlier.spent + earlier.own - peak)
                booked_since = max(0, entry.own - earlier.own)
                self._spending[key] = entry._replace(
                    limit=state.limit, spent=peak, own=unseen_spending + booked_since
                )

    def _forget_past_windows(self) -> None:
        now = self._clock()
        with self._lock:
            for key, entry in list(self._spending.items()):
                if entry.window.has_passed(now):
                    del self._spending[key]

    def _add(self, account: str, window: Window, own: NanoUsd = 0, unbooked: NanoUsd = 0) -> None:
        """Add what a call cost."""
        key = (account, window.key)
        entry = self._spending.get(key, KnownSpending(account, window))
        self._spending[key] = entry._replace(
            own=entry.own + own, unbooked=entry.unbooked + unbooked
        )


def _windows_of(reservation: Reservation, hold: OpenHold | None) -> Mapping[str, Window]:
    """Account → the window that a reservation is held in; of another process's, no more is known than who pays."""
    if hold is not None:
        return hold.windows
    window = reservation.window
    return {reservation.account: window.slot_at(window.start + (window.span or 0.0))}


def _after_restoring(
    entry: KnownSpending, restoration: KnownSpending, is_lost: bool
) -> KnownSpending:
    """What is known of a window once the ledger has it.

    Args:
        entry: Now.
        restoration: What the ledger was given.
        is_lost: See :meth:`Recollection.note_restored`.
    """
    debt = entry.unbooked - restoration.unbooked
    if not is_lost:
        return entry._replace(spent=entry.spent + restoration.unbooked, unbooked=debt)
    booked_meanwhile = entry.spent - restoration.spent + entry.own - restoration.own
    return entry._replace(
        spent=restoration.spent + restoration.own + restoration.unbooked,
        own=0,
        unbooked=debt + booked_meanwhile,
    )


def _spending_of(state: AccountState) -> list[tuple[Window, NanoUsd]]:
    """What is spent in a window, or in each slot of a rolling period.

    Of a slot, the state says what is spent and held together. What is held is taken off the newest slots.
    """
    window = state.window
    if window.span is None:
        return [(window, state.spent)]
    width = window.span / SLOTS_PER_PERIOD
    holds = state.held
    spending = []
    for refill in reversed(state.refills):
        slot = window.slot_at(refill.at - window.span - width / 2)
        held_here = min(holds, refill.amount)
        holds -= held_here
        spending.append((slot, refill.amount - held_here))
    return spending
