"""What the rest of a period will bring: how many calls, and how much money for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.ledger import HourlyCalls
from routoo_core.budget.period import HOUR_S, RETENTION_S, ROLLING_SPAN_S, SLOTS_PER_PERIOD
from routoo_core.errors import ConfigurationError
from routoo_core.money import NANO_PER_USD

DAY = 24 * HOUR_S
LEARNT = {
    "hour": 7 * HOUR_S,
    "day": 7 * DAY,
    "month": RETENTION_S,
}  # how far back what is usual is learnt from
WEEKLY = 14 * DAY  # seen at least, before a month tells Mondays from Sundays
LATE = 0.8  # of the calls that usually have come by now and have not, those still expected
EVEN = 0.1  # of what is usual, spread evenly: no day is quite like the last
CAUTION = 1.5  # how many more calls than estimated the rest of a period is held ready for
NEAREST = 1 / 12  # of a rolling period that pacing looks ahead at least
_OVERRUN = 0.1
_PRIOR_SHARE = (
    0.02  # how much of a period the configured expected_calls weigh against the traffic seen
)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """When calls usually come.

    Attributes:
        begin: Seconds since the epoch.
        step: Seconds from each of ``calls`` to the next.
        calls: Usual from ``begin`` until each step, (steps,).
    """

    begin: float
    step: float
    calls: NDArray[np.float64]

    def until(self, moments: NDArray[np.float64]) -> NDArray[np.float64]:
        """Usual calls from ``begin`` until each of these."""
        steps = (moments - self.begin) / self.step
        return np.asarray(np.interp(steps, np.arange(len(self.calls)), self.calls))


@dataclass(frozen=True, slots=True)
class Standing:
    """An account that pays for a call.

    Attributes:
        budget: Its limit, and how many calls to expect.
        state: What is spent and held.
        usual: When its calls usually come; ``None`` while that is unknown.
    """

    budget: Budget
    state: AccountState
    usual: Profile | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What pacing expects of the rest of a window.

    Attributes:
        calls: Calls still to come, at least 1.
        allowance: USD each of them may cost on average; where their number is a guess, a cautious one.
    """

    calls: float
    allowance: float


def learnt_until(budget: Budget, now: float) -> float:
    """Until when :func:`learn` looks: where the last whole day ended, or for an hourly budget the last whole hour."""
    unit = "hour" if budget.period == "hour" else "day"
    return budget.model_copy(update={"period": unit, "rolling": False}).window(now).start


def learn(arrivals: Sequence[HourlyCalls], budget: Budget, until: float) -> Profile | None:
    """When an account's calls usually come, as far ahead as pacing looks.

    For a day by the hour of the day, from the last seven; for a month by the hour of the week from the last five weeks,
    or of the day while there are less than two; for an hour evenly, from the last seven.

    Args:
        arrivals: See :meth:`~routoo_core.budget.ledger.Ledger.arrivals`.
        budget: Its period and time zone.
        until: See :func:`learnt_until`.

    Returns:
        ``None`` for a run, and when there were no calls in a whole period before.
    """
    counts = {
        hour: calls
        for hour, calls in arrivals
        if until - LEARNT.get(budget.period, 0.0) <= hour < until
    }
    if not counts:
        return None
    first = learnt_until(budget, min(counts))
    cycle = (
        1
        if budget.period == "hour"
        else 168
        if budget.period == "month" and until - first >= WEEKLY
        else 24
    )
    zone = ZoneInfo(budget.timezone)

    def places(begin: float, end: float) -> list[int]:
        local = (datetime.fromtimestamp(at, zone) for at in np.arange(begin, end, HOUR_S))
        return [(24 * at.weekday() + at.hour) % cycle for at in local]

    seen, passed = np.zeros(cycle), np.zeros(cycle)
    for hour, place in zip(np.arange(first, until, HOUR_S), places(first, until), strict=True):
        seen[place] += counts.get(hour // HOUR_S * HOUR_S, 0)
        passed[place] += 1
    rates = seen / np.maximum(passed, 1)
    rates += EVEN * (rates.mean() - rates)
    reach = HOUR_S * math.ceil(
        1.2 * ROLLING_SPAN_S[budget.period] / HOUR_S
    )  # a month or day may be longer, a slot lies beyond
    begin = until - reach
    ahead = rates[places(begin, until + DAY + reach)]
    return Profile(begin, HOUR_S, np.concatenate([[0.0], np.cumsum(ahead)]))


def outlook(budget: Budget, state: AccountState, usual: Profile | None = None) -> Outlook:
    """Expect the rest of the window: the calls still to come, and each one's share of the money.

    Calls come as they usually do, by a factor more or less than usual that is a Gamma–Poisson estimate from those of
    the window so far. While nothing is known to be usual, ``expected_calls`` spread evenly are. Of those usual until
    now that have not come, most may be late: ``LATE`` of them are still expected.

    A rolling period has no end. Money frees itself slot by slot, so it has many horizons: until a slot frees itself,
    what is available now and what the slots before it free must do. The horizon that leaves the least for each of its
    calls decides. The last one, a whole period ahead, makes that a limit's worth for each period in the long run; the
    nearer ones hold back after a burst. (Those nearer than ``NEAREST`` are left out: they are all noise.)

    Raises:
        ConfigurationError: The budget has no limit.
    """
    if state.available is None:
        raise ConfigurationError(
            f"budget.limit: the paced policy needs a limit for account {state.account!r}; set one or change the policy"
        )
    if state.window.end is None and state.window.span is None:
        to_come = float(budget.expected_calls - state.calls)
        if to_come <= 0:  # more came than expected: expect as many again as a tenth of those seen
            to_come = state.calls * _OVERRUN
        return _outlook(np.array([to_come]), np.array([state.available], dtype=np.float64))
    start, length, horizons, money = _horizons(state)
    now = min(max(state.as_of, start), start + length)
    profile = usual or Profile(start, length, budget.expected_calls * np.arange(4.0))
    before, until_now, whole = profile.until(np.array([start, now, start + length]))
    prior = _PRIOR_SHARE * (whole - before)
    factor = (state.calls + prior) / (until_now - before + prior)
    calls = factor * (profile.until(horizons) - until_now)
    if usual is None:
        return _outlook(
            calls,
            money,
            CAUTION if state.window.end else 1 + (CAUTION - 1) * (1 - (now - start) / length),
        )
    if state.window.end:
        calls += LATE * np.maximum(whole - before - state.calls - calls, 0.0)
    return _outlook(calls, money)


def _outlook(
    calls: NDArray[np.float64], money: NDArray[np.float64], caution: float = 1.0
) -> Outlook:
    """The horizon, each with its calls and its nano-USD, that leaves the least for a call."""
    calls = np.maximum(calls, 1.0)
    allowances = money / NANO_PER_USD / np.maximum(calls * caution, 1.0)
    tightest = int(allowances.argmin())
    return Outlook(float(calls[tightest]), float(allowances[tightest]))


def _horizons(state: AccountState) -> tuple[float, float, NDArray[np.float64], NDArray[np.float64]]:
    """When counting began, a period's length, the horizons (seconds since the epoch) and nano-USD until each."""
    window, left = state.window, float((state.limit or 0) - state.spent - state.held)
    if window.end is not None:
        return (
            window.start,
            window.end - window.start,
            np.array([window.end]),
            np.array([max(left, 0.0)]),
        )
    span = window.span or 0.0
    frees = np.array(state.refills or [(state.as_of + span, 0)], dtype=np.float64)
    freed = np.cumsum(frees[:, 1]) - frees[:, 1]
    far = frees[:, 0] >= state.as_of + span * NEAREST
    first = min(float(frees[0, 0]) - span - span / SLOTS_PER_PERIOD, state.as_of)
    return max(first, state.as_of - span), span, frees[far, 0], np.maximum(left + freed[far], 0.0)
