"""Budgets and where their accounts stand."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from routoo_core.budget.period import Window, rolling_window, utc
from routoo_core.errors import BudgetExceeded
from routoo_core.money import to_nano_usd
from routoo_core.settings import Settings


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
            raise ValueError(
                "rolling: a run has no length to look back; set period to hour, day or month"
            )
        if self.rolling and self.carry_over:
            raise ValueError(
                "rolling: a rolling period leaves nothing to carry over; drop carry_over"
            )
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
            raise ValueError(
                f"{value!r} is not an IANA time zone such as 'Europe/Zurich'"
            ) from error
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


def tightest(states: Sequence[AccountState]) -> AccountState:
    """The account of a chain that least may still be held for."""
    limited = [state for state in states if state.available is not None]
    return min(limited, key=lambda state: state.available or 0) if limited else states[0]


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
