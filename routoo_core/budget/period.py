"""Periods of an account: by the calendar, or looking back from now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Period = Literal["run", "hour", "day", "month"]
"""How long a limit holds; a run never resets."""

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S

ROLLING_SPAN_S = {"hour": HOUR_S, "day": DAY_S, "month": 30 * DAY_S}
"""How far a rolling period looks back."""

SLOTS_PER_PERIOD = 60
"""A rolling period is kept in this many slots; its money becomes available again slot by slot."""

RETENTION_S = 35 * DAY_S
"""How long a ledger keeps hourly counts, closed reservations and slots of rolling periods."""


@dataclass(frozen=True, slots=True)
class Window:
    """One period of an account; money of different windows never mixes.

    Attributes:
        key: Its name, unique within the account.
        start: Seconds since the epoch.
        end: Seconds since the epoch. ``None`` for a run, which has no end, and for a rolling
            period, which ends now.
        span: Seconds that a rolling period looks back; ``None`` for a run and for a calendar
            period.
    """

    key: str
    start: float
    end: float | None
    span: float | None = None

    @property
    def resets(self) -> str | None:
        """When it resets, ISO 8601; ``None`` for a run and for a rolling period."""
        if self.end is None or self.span is not None:
            return None
        return iso_utc(self.end)

    def has_passed(self, now: float) -> bool:
        """Whether what was spent in it counts no more, neither in it nor in a rolling period that it is a slot of."""
        return self.end is not None and self.end + (self.span or 0.0) <= now

    def slot_at(self, moment: float) -> Window:
        """The slot in which a rolling period keeps the calls of ``moment``.

        Any other window is its own slot.
        """
        if self.span is None:
            return self
        width = self.span / SLOTS_PER_PERIOD
        start = moment // width * width
        return Window(f"{self.key} {iso_utc(start)}", start, start + width, self.span)

    def period_until(self, now: float) -> Window:
        """The rolling period that ends ``now`` and to which this slot belongs.

        Any other window is its own period.
        """
        if self.span is None:
            return self
        word, period, *_ = self.key.split()
        return Window(f"{word} {period}", now - self.span, None, self.span)


def rolling_window(period: str, now: float) -> Window:
    """The last ``hour``, ``day`` or ``month`` (of 30 days) until ``now``."""
    span = ROLLING_SPAN_S[period]
    return Window(f"rolling {period}", now - span, None, span)


def calendar_window(period: str, timezone: str, now: float) -> Window:
    """The ``hour``, ``day`` or ``month`` that ``now`` falls into in an IANA time zone."""
    zone = ZoneInfo(timezone)
    if period == "hour":
        start = datetime.fromtimestamp(now // HOUR_S * HOUR_S, zone)
        return Window(start.isoformat(), start.timestamp(), start.timestamp() + HOUR_S)

    local = datetime.fromtimestamp(now, zone)
    start = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        end = start + timedelta(days=1)
    else:
        start = start.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return Window(start.isoformat(), start.timestamp(), end.timestamp())


def iso_utc(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat()
