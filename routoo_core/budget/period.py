"""Periods of an account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Seconds since the epoch, such as ``time.time``."""


HOUR = 3600.0


SPANS = {
    "hour": HOUR,
    "day": 86_400.0,
    "month": 30 * 86_400.0,
}  # seconds that a rolling period looks back


KEPT = (
    35 * 86_400.0
)  # seconds that a ledger remembers when calls came, that a hold was closed, and rolling slots


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


def utc(at: float) -> str:
    """ISO 8601 of seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat()
