"""How calls use a ledger: a call that was paid for is answered even if its ledger fails after it."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.journal import Journal, Settlement, journal_of
from routoo_core.budget.ledger import (
    FORGOTTEN_REBUILD,
    KnownSpending,
    Ledger,
    LimitStore,
    Reservation,
    RestorableLedger,
)
from routoo_core.budget.recollection import Recollection
from routoo_core.errors import LedgerError, LedgerForgot, ReservationClosed
from routoo_core.lifetimes import PerProcess
from routoo_core.money import NanoUsd, format_usd
from routoo_core.redaction import redacted_url

_MOST_ACCOUNTS_LISTED = 10
_LOGGER = logging.getLogger(__name__)


class Settlements:
    """Holds money and settles it; what the ledger cannot take is kept, and booked once it can.

    Before money is held the ledger must answer, so that a limit holds while it fails: nothing is called then. A ledger
    that has lost what it kept is restored from what this process knows, where its ``on_forgotten`` says so.

    Args:
        ledger: Keeps the accounts.
        journal: Keeps what the ledger could not take; by default its own.
    """

    def __init__(self, ledger: Ledger, journal: Journal | None = None) -> None:
        self.ledger = ledger
        self.journal = journal or journal_of(ledger)
        self._may_wait = True
        self._catching_up = threading.Lock()
        self._rebuilding = threading.Lock()
        self._recollections = _recollections_of(ledger)

    @property
    def _recollection(self) -> Recollection | None:
        """This process's."""
        return None if self._recollections is None else self._recollections.get()

    def reserve(
        self, budget: Budget, *, minimum: NanoUsd, maximum: NanoUsd, enforce: bool = True
    ) -> Reservation:
        """Hold money; see :meth:`routoo_core.budget.ledger.Ledger.reserve`.

        Raises:
            BudgetExceeded: Less than ``minimum`` is available.
            LedgerError: The ledger failed. What it may have held all the same is given back later.
        """
        if self._may_wait:
            self.catch_up()
        try:
            return self._hold(budget, minimum, maximum, enforce)
        except LedgerForgot:
            if self._recollection is None:
                raise
        self._rebuild()
        return self._hold(budget, minimum, maximum, enforce)

    def settle(self, reservation: Reservation, cost: NanoUsd) -> AccountState | None:
        """Book what a call cost.

        Returns:
            The state of the innermost account; ``None`` where the ledger failed, and the settlement is kept.

        Raises:
            ReservationClosed: The reservation was closed before.
        """
        return self._close(Settlement(reservation, cost))

    def release(self, reservation: Reservation) -> AccountState | None:
        """Give a hold back; see :meth:`settle`."""
        return self._close(Settlement(reservation, None))

    def catch_up(self) -> None:
        """Book what waits, until the ledger fails again; each settlement once, whoever else does the same."""
        if not self._catching_up.acquire(blocking=False):
            return
        try:
            self._may_wait = False
            for settlement in self.journal.settlements():
                if not self._book(settlement):
                    self._may_wait = True
                    return
        finally:
            self._catching_up.release()
        if self._recollection is not None and self._recollection.has_unbooked:
            self._try_to_rebuild()

    def _hold(
        self, budget: Budget, minimum: NanoUsd, maximum: NanoUsd, enforce: bool
    ) -> Reservation:
        epoch = 0 if self._recollection is None else self._recollection.epoch
        try:
            reservation = self.ledger.reserve(
                budget, minimum=minimum, maximum=maximum, enforce=enforce
            )
        except LedgerError as error:
            if error.reservation is not None:
                self._keep(Settlement(error.reservation, None))
            raise
        if self._recollection is not None:
            self._recollection.note_hold(budget, reservation, epoch)
        return reservation

    def _close(self, settlement: Settlement) -> AccountState | None:
        """Close a reservation, now or later; the state of the innermost account where it was now."""
        try:
            return self._apply(settlement)
        except ReservationClosed as error:
            self._note_forgotten(settlement, error)
        except LedgerForgot as error:
            if self._recollection is not None and self._try_to_rebuild():
                return self._close(settlement)
            self._log(settlement, error)
            self._keep(settlement)
        except LedgerError as error:
            self._log(settlement, error)
            self._keep(settlement)
        return None

    def _book(self, settlement: Settlement) -> bool:
        """Whether a settlement that waited is booked now."""
        try:
            self._apply(settlement)
        except ReservationClosed as error:  # the ledger had taken it, or another process was faster
            _LOGGER.debug("a settlement that waited: %s", error)
            is_mine = self.journal.remove(settlement)
            if is_mine and error.state == "unknown" and self._recollection is not None:
                self._recollection.note_unbooked(settlement)
            return True
        except LedgerError:
            return False
        self.journal.remove(settlement)
        return True

    def _apply(self, settlement: Settlement) -> AccountState:
        if self._recollection is None:
            return self._close_in_ledger(settlement.reservation, settlement.cost)
        while True:
            reservation = self._recollection.current(settlement.reservation)
            try:
                state = self._close_in_ledger(reservation, settlement.cost)
            except ReservationClosed:
                with self._rebuilding:
                    latest = self._recollection.current(settlement.reservation)
                if latest.id == reservation.id:
                    raise
                continue
            if self._recollection.note_booked(settlement, reservation):
                self._may_wait = self._may_wait or self._recollection.has_unbooked
                return state

    def _close_in_ledger(self, reservation: Reservation, cost: NanoUsd | None) -> AccountState:
        if cost is None:
            return self.ledger.release(reservation)
        return self.ledger.settle(reservation, cost)

    def _note_forgotten(self, settlement: Settlement, error: ReservationClosed) -> None:
        """Go on where the ledger has lost a hold, since its call was paid for.

        Raises:
            ReservationClosed: The ledger has not lost it; it was closed before.
        """
        if error.state != "unknown":
            raise error
        recollection = self._recollection
        if recollection is not None and recollection.is_open(settlement.reservation):
            recollection.note_unbooked(settlement)
            self._try_to_rebuild()
            return
        _LOGGER.error("the ledger has lost a hold, so that its call is booked nowhere: %s", error)

    def _try_to_rebuild(self) -> bool:
        """Restore the ledger now; where it fails, before money is next held."""
        try:
            self._rebuild()
        except LedgerError as error:
            _LOGGER.error("the ledger cannot be restored yet: %s", error)
            self._may_wait = True
            return False
        return True

    def _rebuild(self) -> None:
        """Restore a ledger that has lost what it kept.

        Raises:
            LedgerError: The ledger failed.
        """
        recollection = self._recollection
        assert recollection is not None  # noqa: S101
        with self._rebuilding:
            if not self._restore(recollection):
                return
            self._may_wait = True
            _warn_of_loss(self.ledger, recollection.spending())
            self._declare_again(recollection)
            self._take_over_own_settlements(recollection)
            self._restore(recollection)
            self._hold_again(recollection)

    def _restore(self, recollection: Recollection) -> bool:
        """Have the ledger hold what is known; whether it had lost what it kept."""
        assert isinstance(self.ledger, RestorableLedger)  # noqa: S101
        spending = recollection.spending()
        is_lost = self.ledger.restore(spending)
        recollection.note_restored(spending, is_lost)
        return is_lost

    def _take_over_own_settlements(self, recollection: Recollection) -> None:
        """What this process has kept is booked with the rest, in every account of the chain."""
        own = recollection.open_holds()
        for settlement in self.journal.settlements():
            if settlement.reservation.id in own and self.journal.remove(settlement):
                recollection.note_unbooked(settlement)

    def _declare_again(self, recollection: Recollection) -> None:
        """Limits that the ledger has lost are declared again, as they were last seen."""
        if not isinstance(self.ledger, LimitStore):
            return
        limited_accounts = {limit.account for limit in self.ledger.limits()}
        for limit in recollection.limits():
            if limit.account not in limited_accounts:
                self.ledger.set_limit(limit)

    def _hold_again(self, recollection: Recollection) -> None:
        """The money of calls in flight is held again, whatever the limit says."""
        for first_id, hold in recollection.open_holds().items():
            amount = hold.reservation.amount
            with suppress(ReservationClosed):  # it may have been made after the loss
                self.ledger.release(hold.reservation)
            reservation = self.ledger.reserve(hold.budget, minimum=0, maximum=amount, enforce=False)
            if not recollection.note_held_again(first_id, reservation):
                self.ledger.release(reservation)

    def _keep(self, settlement: Settlement) -> None:
        self.journal.add(settlement)
        self._may_wait = True

    def _log(self, settlement: Settlement, error: LedgerError) -> None:
        place = self.journal.folder or "memory"
        _LOGGER.error(
            "a call of account %r cost %s, which is kept in %s and booked when the ledger answers again: %s",
            settlement.reservation.account,
            format_usd(settlement.cost or 0),
            place,
            error,
        )


def _recollections_of(ledger: Ledger) -> PerProcess[Recollection] | None:
    """What each process remembers of a ledger that is to be restored; ``None`` for others."""
    if isinstance(ledger, RestorableLedger) and ledger.on_forgotten == FORGOTTEN_REBUILD:
        clock = ledger.clock
        return PerProcess(lambda: Recollection(ledger, clock))
    return None


def _warn_of_loss(ledger: Ledger, spending: list[KnownSpending]) -> None:
    spent_by: dict[str, NanoUsd] = {}
    for entry in spending:
        amount = entry.spent + entry.own + entry.unbooked
        spent_by[entry.account] = spent_by.get(entry.account, 0) + amount
    accounts = [f"{name} {format_usd(amount)}" for name, amount in spent_by.items()]
    summary = ", ".join(accounts[:_MOST_ACCOUNTS_LISTED]) or "nothing"
    more = len(accounts) - _MOST_ACCOUNTS_LISTED
    if more > 0:
        summary += f" and {more} more accounts"
    _LOGGER.warning(
        "the ledger %s has lost what it kept. It goes on with what this process knows to be spent: %s. Other processes "
        "add what they know when they next call",
        redacted_url(ledger.url),
        summary,
    )
