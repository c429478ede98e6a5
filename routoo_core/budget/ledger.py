"""What a budget is, and the contract of every ledger that keeps one. Amounts are nano-USD."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from routoo_core.errors import BudgetExceeded
from routoo_core.experts import to_nano_usd
from routoo_core.settings import Settings

Clock = Callable[[], float]
"""Seconds since the epoch, such as ``time.time``."""

FAIR_SHARE = 8  # a call that leaves its limit to the router may hold 1/8 of what is left, so others fit beside it
HOUR = 3600.0
SPANS = {"hour": HOUR, "day": 86_400.0, "month": 30 * 86_400.0}  # seconds that a rolling period looks back
KEPT = 35 * 86_400.0  # seconds that a ledger remembers when calls came, that a hold was closed, and rolling slots
SLOTS = 60  # parts of a rolling period that free themselves one by one


@dataclass(frozen=True, slots=True)
class Window:
    """One period of an account: money of different windows never mixes.

    Attributes:
        key: Its name, unique for the account.
        start: Seconds since the epoch.
        end: Seconds since the epoch; ``None`` for a run, which has no end, and for a rolling period, which ends now.
        span: Seconds that a rolling period looks back; ``None`` for one that stands still.
    """

    key: str
    start: float
    end: float | None
    span: float | None = None

    @property
    def resets(self) -> str | None:
        """When its money is there again at once, ISO 8601 in UTC; ``None`` for a run and for a rolling period."""
        return None if self.end is None or self.span else utc(self.end)

    def slot(self, at: float) -> Window:
        """Where a rolling period keeps the calls of a moment: one of its ``SLOTS``; any other period is its own."""
        if self.span is None:
            return self
        width = self.span / SLOTS
        start = at // width * width
        return Window(f"{self.key} {utc(start)}", start, start + width, self.span)

    def seen(self, now: float) -> Window:
        """The rolling period until ``now`` that a slot belongs to; any other period is its own."""
        if self.span is None:
            return self
        return Window(" ".join(self.key.split()[:2]), now - self.span, None, self.span)


def rolling_window(period: str, now: float) -> Window:
    """The last ``hour``, ``day`` or ``month`` until ``now``."""
    return Window(f"rolling {period}", now - SPANS[period], None, SPANS[period])


class Budget(Settings):
    """How much an account may spend in each period.

    ``Budget(limit="5.00", period="day")`` · ``Budget(limit=None)`` books everything and limits nothing.

    Attributes:
        account: Whose money.
        limit: USD for each period, a decimal string; ``None`` for no limit.
        period: ``run`` (never resets; a new one for every Budget object), ``hour``, ``day`` or ``month``.
        timezone: IANA name; decides when a day or month begins.
        expected_calls: Calls expected in a period, until traffic shows its own rate; used for pacing.
        rolling: The limit holds over *any* hour, day or month (of 30 days), looking back from now. A call counts from
            when its money was held, and at most 1/60 of the period longer.
        carry_over: What a period leaves unspent is added to the next one, up to one period's limit.
        within: The account this one is part of (user < team < organisation): a call is held against each, and the
            tightest limit binds.
    """

    account: Annotated[str, Field(min_length=1)] = "default"
    limit: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] | None = None
    period: Literal["run", "hour", "day", "month"] = "day"
    timezone: str = "UTC"
    expected_calls: Annotated[int, Field(ge=1)] = 1000
    run_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    rolling: bool = False
    carry_over: bool = False
    within: Budget | None = None

    @model_validator(mode="after")
    def _rolls_alone(self) -> Budget:
        if self.rolling and self.period == "run":
            raise ValueError("rolling: a run has no length to look back; set period to hour, day or month")
        if self.rolling and self.carry_over:
            raise ValueError("rolling: a rolling period leaves nothing to carry over; drop carry_over")
        return self

    @model_validator(mode="after")
    def _distinct_accounts(self) -> Budget:
        names = [budget.account for budget in self.chain]
        if len(set(names)) < len(names):
            raise ValueError(f"within: an account cannot be part of itself ({' < '.join(names)})")
        return self

    @property
    def chain(self) -> tuple[Budget, ...]:
        """This account and those it is part of, innermost first."""
        return (self, *(self.within.chain if self.within else ()))

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone such as 'Europe/Zurich'") from error
        return value

    @property
    def limit_nano(self) -> int | None:
        """The limit in nano-USD."""
        return None if self.limit is None else to_nano_usd(self.limit)

    def window(self, now: float) -> Window:
        """The period that ``now`` (seconds since the epoch) falls into."""
        if self.period == "run":
            return Window(f"run {self.run_id}", now, None)
        if self.rolling:
            return rolling_window(self.period, now)
        local = datetime.fromtimestamp(now, ZoneInfo(self.timezone))
        start = local.replace(minute=0, second=0, microsecond=0)
        if self.period == "hour":
            start = datetime.fromtimestamp(now // 3600 * 3600, ZoneInfo(self.timezone))
            return Window(start.isoformat(), start.timestamp(), start.timestamp() + 3600)
        start = start.replace(hour=0)
        if self.period == "month":
            start = start.replace(day=1)
        end = (start + timedelta(days=1 if self.period == "day" else 32)).replace(hour=0)
        end = end.replace(day=1) if self.period == "month" else end
        return Window(start.isoformat(), start.timestamp(), end.timestamp())


@dataclass(frozen=True, slots=True)
class AccountState:
    """Where an account stands in one window.

    Attributes:
        as_of: When, seconds since the epoch by the ledger's clock.
        limit: With what was carried over; ``None`` for no limit.
        spent: Settled.
        held: Reserved for calls in flight.
        calls: Calls settled.
        overshoot: What experts billed beyond their holds, in total; part of ``spent``.
        frees: Of a rolling period: when (seconds since the epoch) how much of it frees itself, the soonest first.
    """

    account: str
    window: Window
    as_of: float
    limit: int | None
    spent: int = 0
    held: int = 0
    calls: int = 0
    overshoot: int = 0
    frees: tuple[tuple[float, int], ...] = ()

    @property
    def available(self) -> int | None:
        """What may still be held; ``None`` for no limit."""
        return None if self.limit is None else max(0, self.limit - self.spent - self.held)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "available": self.available}


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


def tightest(states: Sequence[AccountState]) -> AccountState:
    """The account of a chain that least may still be held for."""
    limited = [state for state in states if state.available is not None]
    return min(limited, key=lambda state: state.available or 0) if limited else states[0]


def utc(at: float) -> str:
    """ISO 8601 of seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def rolled(slots: Sequence[AccountState], now: float) -> AccountState:
    """An account's slots, oldest first, as its rolling period until ``now``.

    Slots count as a whole, also those of a clock that ran ahead; of older ones only what is still held.
    """
    newest = slots[-1]
    span = newest.window.span or 0.0
    counted = [slot for slot in slots if (slot.window.end or 0.0) > now - span]
    return AccountState(
        newest.account,
        newest.window.seen(now),
        now,
        newest.limit,
        spent=sum(slot.spent for slot in counted),
        held=sum(slot.held for slot in slots),
        calls=sum(slot.calls for slot in counted),
        overshoot=sum(slot.overshoot for slot in counted),
        frees=tuple(((slot.window.end or 0.0) + span, slot.spent + slot.held) for slot in counted),
    )


def exceeded(state: AccountState, needed: int) -> BudgetExceeded:
    """The refusal of a call; for a rolling period it says when enough is free if nobody else calls."""
    free, enough = (state.limit or 0) - state.spent - state.held, None
    for at, amount in state.frees:
        free += amount
        enough = enough or (utc(at) if free >= needed else None)
    return BudgetExceeded(
        state.account,
        state.limit or 0,
        state.spent,
        state.held,
        needed,
        state.window.resets,
        enough,
    )


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
