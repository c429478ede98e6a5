"""How calls use a ledger: a call that was paid for is answered even if its ledger fails after it."""

from __future__ import annotations

import logging
import threading

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.journal import Journal, Settlement, journal_of
from routoo_core.budget.ledger import Ledger, Reservation
from routoo_core.errors import LedgerError, ReservationClosed
from routoo_core.money import NanoUsd, format_usd

_LOGGER = logging.getLogger(__name__)


class Settlements:
    """Holds money and settles it; what the ledger cannot take is kept, and booked once it can.

    Before money is held the ledger must answer, so that a limit holds while it fails: nothing is called then.

    Args:
        ledger: Keeps the accounts.
        journal: Keeps what the ledger could not take; by default its own.
    """

    def __init__(self, ledger: Ledger, journal: Journal | None = None) -> None:
        self.ledger = ledger
        self.journal = journal or journal_of(ledger)
        self._may_wait = True
        self._catching_up = threading.Lock()

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
            return self.ledger.reserve(budget, minimum=minimum, maximum=maximum, enforce=enforce)
        except LedgerError as error:
            if error.reservation is not None:
                self._keep(Settlement(error.reservation, None))
            raise

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

    def _close(self, settlement: Settlement) -> AccountState | None:
        """Close a reservation, now or later; the state of the innermost account where it was now."""
        try:
            return self._apply(settlement)
        except ReservationClosed as error:
            self._note_forgotten(error)
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
        except LedgerError:
            return False
        self.journal.remove(settlement)
        return True

    def _apply(self, settlement: Settlement) -> AccountState:
        if settlement.cost is None:
            return self.ledger.release(settlement.reservation)
        return self.ledger.settle(settlement.reservation, settlement.cost)

    def _note_forgotten(self, error: ReservationClosed) -> None:
        """Go on where the ledger has lost a hold, since its call was paid for.

        Raises:
            ReservationClosed: The ledger has not lost it; it was closed before.
        """
        if error.state != "unknown":
            raise error
        _LOGGER.error("the ledger has lost a hold, so that its call is booked nowhere: %s", error)

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
