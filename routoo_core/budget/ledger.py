"""What a budget is, and the contract of every ledger that keeps one. Amounts are nano-USD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.period import Window

FAIR_SHARE = 8  # a call that leaves its limit to the router may hold 1/8 of what is left, so others fit beside it


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money held for one attempt, until it is settled or released.

    Attributes:
        account: Whose money, the innermost account's.
        window: That account's.
        amount: Held, against each account of the chain.
        enforced: Whether it counted against the limit; ``False`` only for the ``on_exhausted`` expert.
    """

    id: str
    account: str
    window: Window
    amount: int
    enforced: bool


def grant(available: int | None, minimum: int, maximum: int) -> int | None:
    """How much of a call's ``maximum`` to hold; ``None`` if not even ``minimum`` is there.

    >>> grant(available=800, minimum=50, maximum=500)
    100
    """
    if available is None:
        return maximum
    if available < minimum:
        return None
    return min(maximum, max(minimum, available // FAIR_SHARE))


class Ledger(Protocol):
    """Keeps accounts; every method is atomic and safe from any thread.

    One suite of tests states the behaviour of all implementations.
    """

    @property
    def url(self) -> str:
        """Where the accounts are; whoever opens ``memory://`` starts with none."""
        ...

    def reserve(
        self, budget: Budget, *, minimum: int, maximum: int, estimate: int, enforce: bool = True
    ) -> Reservation:
        """Hold between ``minimum`` and ``maximum`` (see :func:`grant`) in the current window of every account.

        Args:
            budget: Whose money, under what limit.
            minimum: The least that makes the call worthwhile.
            maximum: The most it can cost.
            estimate: Booked instead if nobody settles within the ledger's time to live.
            enforce: ``False`` holds ``maximum`` whatever the limit says.

        Raises:
            BudgetExceeded: Less than ``minimum`` is available in an account, which it names; nothing was held.
        """
        ...

    def settle(self, reservation: Reservation, cost: int) -> AccountState:
        """Book what the call cost, also beyond the hold, and free the rest, in every account.

        Returns:
            Where the innermost account stands.

        Raises:
            LedgerError: The reservation was closed before.
        """
        ...

    def release(self, reservation: Reservation) -> AccountState:
        """Free the hold; nothing was spent.

        Raises:
            LedgerError: The reservation was closed before.
        """
        ...

    def state(self, budget: Budget) -> AccountState:
        """Where the account stands in the current window; those it is part of are not looked at."""
        ...

    def accounts(self) -> list[AccountState]:
        """Every account in the window it last used, by name."""
        ...

    def history(self, account: str | None = None) -> list[AccountState]:
        """Every window of one account, or of all, by account and then oldest first; of a rolling period, its slots.

        A slot older than ``KEPT`` may be forgotten, unless money is held in it or it is the last of its period.
        """
        ...

    def arrivals(self, account: str) -> list[tuple[float, int]]:
        """When the account's calls were settled: (an hour's start in seconds since the epoch, calls), oldest first.

        Hours without calls are left out, and those older than ``KEPT`` are forgotten.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
