"""The contract of every ledger, which keeps accounts and holds money for calls in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.clock import Clock
from routoo_core.budget.period import DAY_S, Period, Window
from routoo_core.errors import ConfigurationError
from routoo_core.money import NanoUsd

HOLD_TTL_S = 900.0
"""Seconds after which a hold that nobody has settled counts as spent."""
DECLARED_RETENTION_S = 100 * DAY_S
"""How long a ledger remembers what a file has declared that no program has read since."""
FAIR_SHARE_DIVISOR = 8
"""A call that leaves its limit to the router holds at most 1/8 of the available money."""

FORGOTTEN_REFUSE = "refuse"
FORGOTTEN_REBUILD = "rebuild"
"""What ``on_forgotten`` may say: what follows where a ledger has lost what it kept."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money held for one attempt, until it is settled or released.

    Attributes:
        id: Unique in the ledger.
        account: The innermost account of the chain.
        window: The period of that account in which the money is held.
        amount: Nano-USD held, against each account of the chain.
        enforced: Whether it counted against the limit; ``False`` only for the ``on_exhausted``
            expert.
    """

    id: str
    account: str
    window: Window
    amount: NanoUsd
    enforced: bool


class HourlyCalls(NamedTuple):
    """How many calls of an account were settled in one hour.

    Attributes:
        hour_start: Seconds since the epoch.
        calls: At least 1.
    """

    hour_start: float
    calls: int


@dataclass(frozen=True, slots=True)
class Cooldown:
    """An expert that failed lately and is not asked first for a while.

    Attributes:
        expert: Its name.
        reason: Why it failed, in the words of :data:`routoo_core.failures.Reason`.
        until: When it may be asked first again, seconds since the epoch.
        failures: How often it failed in a row.
    """

    expert: str
    reason: str
    until: float
    failures: int


class LimitTerms(NamedTuple):
    """What may be spent, and in which time.

    Attributes:
        limit: Nano-USD in each period; ``None`` for no limit.
        period: ``run``, ``hour``, ``day`` or ``month``.
        rolling: Whether it holds over any such time, looking back from now.
        timezone: Where the period begins, an IANA name; ``UTC`` where it does not begin by a clock.
    """

    limit: NanoUsd | None
    period: Period
    rolling: bool
    timezone: str = "UTC"


def terms_of(budget: Budget) -> LimitTerms:
    """What a budget says of its own account."""
    zone = _zone_that_counts(budget.period, budget.rolling, budget.timezone)
    return LimitTerms(budget.limit_nano, budget.period, budget.rolling, zone)


def _zone_that_counts(period: Period, rolling: bool, timezone: str) -> str:
    """A time zone, or ``UTC`` for a period that begins in none."""
    return "UTC" if rolling or period == "run" else timezone


@dataclass(frozen=True, slots=True)
class DeclaredLimit:
    """A limit that lives in the ledger.

    Attributes:
        account: Whose.
        limit: Nano-USD in each period; ``None`` for no limit.
        period: ``run``, ``hour``, ``day`` or ``month``.
        rolling: Whether it holds over any such time, looking back from now.
        source: The file that declared it, or the command.
        set_at: When, seconds since the epoch.
        timezone: Where the period begins, an IANA name.
    """

    account: str
    limit: NanoUsd | None
    period: Period
    rolling: bool
    source: str
    set_at: float
    timezone: str = "UTC"

    @property
    def terms(self) -> LimitTerms:
        """What it says, whoever declared it."""
        zone = _zone_that_counts(self.period, self.rolling, self.timezone)
        return LimitTerms(self.limit, self.period, self.rolling, zone)


def amount_to_hold(available: NanoUsd | None, minimum: NanoUsd, maximum: NanoUsd) -> NanoUsd | None:
    """How much of a call's ``maximum`` to hold; ``None`` if not even ``minimum`` is available.

    Args:
        available: ``None`` for no limit.
        minimum: The least that makes the call worthwhile.
        maximum: The most that the call can cost.

    >>> amount_to_hold(available=800, minimum=50, maximum=500)
    100
    """
    if available is None:
        return maximum
    if available < minimum:
        return None
    fair_share = available // FAIR_SHARE_DIVISOR
    return min(maximum, max(minimum, fair_share))


class Ledger(Protocol):
    """Keeps accounts. Every method is atomic and safe from any thread; amounts are nano-USD.

    One suite of tests states the behaviour of all implementations. To add one, list it in
    ``LEDGERS`` of :mod:`routoo_core.budget.opening` under its URL scheme.
    """

    @property
    def url(self) -> str:
        """Where the accounts are; whoever opens ``memory://`` starts with none."""
        ...

    def reserve(
        self,
        budget: Budget,
        *,
        minimum: NanoUsd,
        maximum: NanoUsd,
        enforce: bool = True,
    ) -> Reservation:
        """Hold money for a call in the current window of every account of the chain.

        The amount lies between ``minimum`` and ``maximum``, see :func:`amount_to_hold`. If nobody settles within the
        ledger's time to live, all of it is booked, since so much may have been spent.

        Args:
            budget: The account that pays, and its limit.
            minimum: The least that makes the call worthwhile.
            maximum: The most it can cost.
            enforce: ``False`` holds ``maximum`` whatever the limit says.

        Raises:
            BudgetExceeded: Less than ``minimum`` is available in an account, which it names.
                Nothing was held.
            LedgerError: The ledger failed. Where it may hold the money all the same, the error has the
                ``reservation``.
        """
        ...

    def settle(self, reservation: Reservation, cost: NanoUsd) -> AccountState:
        """Book what the call cost, also beyond the hold, and free the rest, in every account.

        Returns:
            The state of the innermost account.

        Raises:
            ReservationClosed: The reservation is unknown or was closed before.
            LedgerError: The ledger failed.
        """
        ...

    def release(self, reservation: Reservation) -> AccountState:
        """Free the hold; nothing was spent.

        Returns:
            The state of the innermost account.

        Raises:
            ReservationClosed: The reservation is unknown or was closed before.
            LedgerError: The ledger failed.
        """
        ...

    def state(self, budget: Budget) -> AccountState:
        """The state of the account in the current window, as the next hold would find it.

        A query, like those below: it opens no window and writes nothing. Holds that have expired
        count as spent. The accounts that this one is part of are not looked at.
        """
        ...

    def accounts(self) -> list[AccountState]:
        """Every account in the window in which it last held money, by name."""
        ...

    def history(self, account: str | None = None) -> list[AccountState]:
        """Every window of one account, or of all, by account and then oldest first.

        Of a rolling period, its slots. A slot older than ``RETENTION_S`` may be forgotten, unless
        money is held in it or it is the last of its period.
        """
        ...

    def arrivals(self, account: str) -> list[HourlyCalls]:
        """How many calls of the account were settled in each hour, oldest first.

        Hours without calls are left out, and those older than ``RETENTION_S`` are forgotten.
        """
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...


@runtime_checkable
class CooldownStore(Protocol):
    """What a ledger may keep besides, so that the processes that share it also share which experts cool down."""

    def cooldowns(self) -> list[Cooldown]:
        """The last cooldown of every expert that has failed since it last answered, by name."""
        ...

    def set_cooldown(self, cooldown: Cooldown) -> None:
        """Remember a cooldown; it replaces the one that the expert has."""
        ...

    def clear_cooldown(self, expert: str) -> None:
        """Forget an expert's cooldown: it has answered."""
        ...


@runtime_checkable
class LimitStore(Protocol):
    """What a ledger may keep besides, so that all who share it follow the same limits."""

    def limits(self) -> list[DeclaredLimit]:
        """Every declared limit, by account; those of templates under their own names, such as ``user-*``."""
        ...

    def set_limit(self, limit: DeclaredLimit) -> None:
        """Declare a limit; it replaces the one that the account has."""
        ...

    def last_declared(self, source: str) -> list[DeclaredLimit]:
        """What a file said when a program last read it, by account, whether or not it counts."""
        ...

    def note_declared(self, limits: Sequence[DeclaredLimit]) -> None:
        """Remember what files say, for ``DECLARED_RETENTION_S``; each replaces the last of its source and account."""
        ...


class KnownSpending(NamedTuple):
    """What a process knows of one window of an account; amounts are nano-USD.

    Attributes:
        account: Whose.
        window: The window; of a rolling period, one slot.
        limit: As last seen.
        spent: As last seen, before the ledger lost it.
        own: What calls of this process have cost since then.
        unbooked: What calls cost whose holds the ledger had lost, so that it never booked them.
    """

    account: str
    window: Window
    limit: NanoUsd | None = None
    spent: NanoUsd = 0
    own: NanoUsd = 0
    unbooked: NanoUsd = 0


@runtime_checkable
class RestorableLedger(Protocol):
    """An optional part of a ledger: it can go on after its store was lost.

    Attributes:
        on_forgotten: ``refuse`` or ``rebuild``. With ``rebuild``, the next caller restores the ledger.
        clock: The clock of the ledger.
    """

    on_forgotten: str
    clock: Clock

    def restore(self, spending: Sequence[KnownSpending]) -> bool:
        """Go on with the ledger as it is now, with what is known of the accounts.

        Of each window, the most that any process has seen before the loss counts, and each adds its ``own``. What is
        spent after the loss is added, and so is ``unbooked``.

        Returns:
            Whether it had lost what it kept; where it had not, or has been restored before, only ``unbooked`` counts.

        Raises:
            LedgerError: The ledger failed.
        """
        ...


def check_on_forgotten(on_forgotten: str) -> str:
    """The setting, where it is one.

    Raises:
        ConfigurationError: It is unknown.
    """
    choices = (FORGOTTEN_REFUSE, FORGOTTEN_REBUILD)
    if on_forgotten not in choices:
        raise ConfigurationError(
            f"budget.on_forgotten: {on_forgotten!r} is unknown; choose {' or '.join(choices)}"
        )
    return on_forgotten


@runtime_checkable
class AlertStore(Protocol):
    """An optional part of a ledger: it remembers alerts, so that all processes together raise each alert once."""

    def claim_alert(self, account: str, window: str, percent: int) -> bool:
        """Claim an alert. True for the first caller, who raises it; false for every later one.

        Args:
            account: The account that the alert is about.
            window: The key of the period.
            percent: The share of the limit that is spent, in percent.
        """
        ...
