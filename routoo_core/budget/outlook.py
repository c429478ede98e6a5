"""What the rest of a period will bring: how many calls, and how much money for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.ledger import HourlyCalls, Ledger
from routoo_core.budget.period import HOUR_S, RETENTION_S, ROLLING_SPAN_S, SLOTS_PER_PERIOD
from routoo_core.errors import ConfigurationError
from routoo_core.money import NANO_PER_USD

DAY_S = 24 * HOUR_S
LEARNING_SPAN_S = {"hour": 7 * HOUR_S, "day": 7 * DAY_S, "month": RETENTION_S}
"""Period → how far back the usual calls are learnt from."""
WEEKLY_AFTER_S = 14 * DAY_S
"""Seconds of traffic after which the profile of a month tells Mondays from Sundays."""
HOURS_PER_DAY = 24
HOURS_PER_WEEK = 168

LATE_SHARE = 0.8
"""Of the calls that usually have come by now and have not, the share that is still expected."""
EVEN_SHARE = 0.1
"""Share of the usual calls that is spread evenly: no day is quite like the last."""
CAUTION = 1.5
"""How many more calls than estimated the rest of a period keeps money for while no profile is known."""
NEAREST_HORIZON = 1 / 12
"""Share of a rolling period that pacing looks ahead at least."""
OVERRUN_SHARE = 0.1
"""When more calls came than a run expected: the share of those seen that is expected once more."""
PRIOR_SHARE = 0.02
"""How much of a period the expected calls weigh against the traffic seen."""

_REMEMBERED_PROFILES = 1024

Floats = NDArray[np.float64]


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
    calls: Floats

    def until(self, moments: Floats) -> Floats:
        """Usual calls from ``begin`` until each of these moments, seconds since the epoch."""
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


class Standings:
    """Where accounts stand, and what is usual for them, which is looked up once a day, or hour.

    Args:
        ledger: Keeps the accounts.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._profile = lru_cache(maxsize=_REMEMBERED_PROFILES)(self._learn_profile)

    def of(self, budget: Budget) -> Standing:
        """Where one account stands."""
        state = self._ledger.state(budget)
        profile = self._profile(budget, learning_ends(budget, state.as_of))
        return Standing(budget, state, profile)

    def of_chain(self, budget: Budget) -> list[Standing]:
        """Where an account and those it is part of stand, innermost first."""
        return [self.of(part) for part in budget.chain]

    def _learn_profile(self, budget: Budget, until: float) -> Profile | None:
        return learn_profile(self._ledger.arrivals(budget.account), budget, until)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What pacing expects of the rest of a window.

    Attributes:
        calls: Calls still to come, at least 1.
        allowance: USD each of them may cost on average; a cautious amount where their number is a guess.
    """

    calls: float
    allowance: float


# When calls usually come


def learning_ends(budget: Budget, now: float) -> float:
    """Until when :func:`learn_profile` looks: the end of the last whole day, or hour for an hourly budget."""
    unit = "hour" if budget.period == "hour" else "day"
    return budget.model_copy(update={"period": unit, "rolling": False}).window(now).start


def learn_profile(arrivals: Sequence[HourlyCalls], budget: Budget, until: float) -> Profile | None:
    """When an account's calls usually come, as far ahead as pacing looks.

    For a day by the hour of the day, from the last seven days; for a month by the hour of the week from the last
    five weeks, or of the day while there are less than two weeks; for an hour evenly, from the last seven hours.

    Args:
        arrivals: See :meth:`~routoo_core.budget.ledger.Ledger.arrivals`.
        budget: Its period and time zone.
        until: See :func:`learning_ends`.

    Returns:
        ``None`` for a run, and when there were no calls in a whole period before.
    """
    earliest = until - LEARNING_SPAN_S.get(budget.period, 0.0)
    calls_at: dict[float, int] = {}
    for hour, calls in arrivals:
        if earliest <= hour < until:
            calls_at[hour] = calls
    if not calls_at:
        return None

    first = learning_ends(budget, min(calls_at))
    cycle = _cycle_hours(budget, until - first)
    rates = _hourly_rates(
        calls_at, _hours_of_cycle(budget, cycle, first, until), first, until, cycle
    )

    # A month or a day may be longer than its span, and a slot of a rolling period lies beyond it.
    reach = HOUR_S * math.ceil(1.2 * ROLLING_SPAN_S[budget.period] / HOUR_S)
    begin = until - reach
    rates_ahead = rates[_hours_of_cycle(budget, cycle, begin, until + DAY_S + reach)]
    return Profile(begin, HOUR_S, np.concatenate([[0.0], np.cumsum(rates_ahead)]))


def _cycle_hours(budget: Budget, history_s: float) -> int:
    """After how many hours traffic repeats itself."""
    if budget.period == "hour":
        return 1
    if budget.period == "month" and history_s >= WEEKLY_AFTER_S:
        return HOURS_PER_WEEK
    return HOURS_PER_DAY


def _hours_of_cycle(budget: Budget, cycle: int, begin: float, end: float) -> list[int]:
    """The hour of the cycle, in the budget's time zone, of every hour from ``begin`` to ``end``."""
    zone = ZoneInfo(budget.timezone)
    hours = []
    for moment in np.arange(begin, end, HOUR_S):
        local = datetime.fromtimestamp(moment, zone)
        hours.append((HOURS_PER_DAY * local.weekday() + local.hour) % cycle)
    return hours


def _hourly_rates(
    calls_at: dict[float, int], hours: Sequence[int], first: float, until: float, cycle: int
) -> Floats:
    """Mean calls in each hour of the cycle, a share of them spread evenly."""
    calls = np.zeros(cycle)
    occurrences = np.zeros(cycle)
    for moment, hour in zip(np.arange(first, until, HOUR_S), hours, strict=True):
        calls[hour] += calls_at.get(moment // HOUR_S * HOUR_S, 0)
        occurrences[hour] += 1
    rates = calls / np.maximum(occurrences, 1)
    rates += EVEN_SHARE * (rates.mean() - rates)
    return rates


# What is still to come


def outlook(budget: Budget, state: AccountState, usual: Profile | None = None) -> Outlook:
    """Expect the rest of the window: the calls still to come, and each one's share of the money.

    Calls come as they usually do, by a factor more or less than usual that is a Gamma–Poisson estimate from those of
    the window so far. While nothing is known to be usual, ``expected_calls`` spread evenly are. Of those usual until
    now that have not come, most may be late: ``LATE_SHARE`` of them are still expected.

    A rolling period has no end. Money becomes free slot by slot, so it has many horizons: until a slot is free,
    what is available now and what the slots before it free must do. The horizon that leaves the least for each of its
    calls decides. The last one, a whole period ahead, makes that a limit's worth for each period in the long run; the
    nearer ones hold back after a burst. (Those nearer than ``NEAREST_HORIZON`` are left out: they are all noise.)

    Raises:
        ConfigurationError: The budget has no limit.
    """
    if state.available is None:
        raise ConfigurationError(
            f"budget.limit: the paced policy needs a limit for account {state.account!r}; "
            "set one or change the policy"
        )
    if state.window.end is None and state.window.span is None:
        return _outlook_of_run(budget, state.calls, state.available)

    horizons = _horizons(state)
    even = Profile(
        horizons.begin, horizons.length, budget.expected_calls * np.arange(4.0)
    )  # reaches three periods ahead
    pace = _traffic_pace(state, horizons, usual or even)
    calls = pace.factor * (pace.profile.until(horizons.ends) - pace.usual_by_now)
    if usual is None:
        return _tightest_outlook(calls, horizons.money, _caution(state, horizons))
    if state.window.end:
        missing = pace.usual_in_period - state.calls - calls
        calls += LATE_SHARE * np.maximum(missing, 0.0)
    return _tightest_outlook(calls, horizons.money)


@dataclass(frozen=True, slots=True, eq=False)
class _Pace:
    """How this period's traffic compares with the usual.

    Attributes:
        profile: When calls usually come.
        usual_by_now: Usual calls from the profile's begin until now.
        usual_in_period: Usual calls in the whole period.
        factor: How many times the usual calls come in this period (a Gamma–Poisson estimate).
    """

    profile: Profile
    usual_by_now: float
    usual_in_period: float
    factor: float


def _traffic_pace(state: AccountState, horizons: _Horizons, profile: Profile) -> _Pace:
    begin = horizons.begin
    end = begin + horizons.length
    moments = np.array([begin, _moment(state, horizons), end])
    until_begin, until_now, until_end = profile.until(moments)
    prior = PRIOR_SHARE * (until_end - until_begin)
    factor = (state.calls + prior) / (until_now - until_begin + prior)
    return _Pace(profile, until_now, until_end - until_begin, factor)


def _moment(state: AccountState, horizons: _Horizons) -> float:
    """Now, by the ledger's clock, within the period."""
    return min(max(state.as_of, horizons.begin), horizons.begin + horizons.length)


def _outlook_of_run(budget: Budget, calls: int, available: int) -> Outlook:
    """The outlook of a run, which has no end: the calls that are expected and have not come."""
    to_come = float(budget.expected_calls - calls)
    if to_come <= 0:  # more came than expected
        to_come = calls * OVERRUN_SHARE
    return _tightest_outlook(np.array([to_come]), np.array([available], dtype=np.float64))


def _caution(state: AccountState, horizons: _Horizons) -> float:
    """How many more calls than estimated to keep money for; a rolling period needs less the longer it is seen."""
    if state.window.end:
        return CAUTION
    age = _moment(state, horizons) - horizons.begin
    return 1 + (CAUTION - 1) * (1 - age / horizons.length)


def _tightest_outlook(calls: Floats, money: Floats, caution: float = 1.0) -> Outlook:
    """The horizon that leaves the least for a call.

    Args:
        calls: Still to come until each horizon.
        money: Nano-USD until each horizon.
        caution: Factor on the calls.
    """
    calls = np.maximum(calls, 1.0)
    allowances = money / NANO_PER_USD / np.maximum(calls * caution, 1.0)
    tightest = int(allowances.argmin())
    return Outlook(float(calls[tightest]), float(allowances[tightest]))


@dataclass(frozen=True, slots=True, eq=False)
class _Horizons:
    """How far ahead pacing looks.

    Attributes:
        begin: When counting began, seconds since the epoch.
        length: Of the period, seconds.
        ends: The horizons, seconds since the epoch.
        money: Nano-USD that calls until each horizon may cost.
    """

    begin: float
    length: float
    ends: Floats
    money: Floats


def _horizons(state: AccountState) -> _Horizons:
    window = state.window
    available = float((state.limit or 0) - state.spent - state.held)
    if window.end is not None:
        money = np.array([max(available, 0.0)])
        return _Horizons(window.start, window.end - window.start, np.array([window.end]), money)

    span = window.span or 0.0
    refills = np.array(state.refills or [(state.as_of + span, 0)], dtype=np.float64)
    moments = refills[:, 0]
    amounts = refills[:, 1]
    freed_before = np.cumsum(amounts) - amounts
    is_far = moments >= state.as_of + span * NEAREST_HORIZON

    first_call = min(float(moments[0]) - span - span / SLOTS_PER_PERIOD, state.as_of)
    begin = max(first_call, state.as_of - span)
    money = np.maximum(available + freed_before[is_far], 0.0)
    return _Horizons(begin, span, moments[is_far], money)
