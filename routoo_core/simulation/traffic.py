"""ReplayTraffic to replay: prompts, when they arrive, and what is predicted and observed of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from routoo_core.budget.period import HOUR_S, ROLLING_SPAN_S
from routoo_core.errors import ConfigurationError
from routoo_core.measures.curve import Array

DAY = ROLLING_SPAN_S["day"]
FIRST_MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC).timestamp()  # a Monday

CALLS_BY_HOUR = np.array(
    [1, 1, 1, 1, 1, 1, 1, 4, 20, 40, 40, 35, 20, 35, 40, 40, 35, 20, 8, 4, 3, 2, 1, 1]
)
"""Relative number of calls in each hour of a working day."""

BURST_HOURS = (15, 17)
"""Half of the calls of the pattern ``bursts`` arrive between these hours."""


@dataclass(frozen=True, eq=False)
class CallTokens:
    """How long the calls of a replay are.

    Attributes:
        prompts: Tokens of each prompt, (prompts,).
        replies: Tokens of each reply, prompts × experts.
        usual_replies: What the router expects of each expert, (experts,).
    """

    prompts: Array = field(repr=False)
    replies: Array = field(repr=False)
    usual_replies: Array = field(repr=False)


@dataclass(frozen=True)
class ReplayTraffic:
    """The calls of a replay.

    Attributes:
        prompts: The texts in the order they arrive, each once.
        times: When each arrives, seconds since the epoch, rising.
        quality: Predicted, prompts × experts, 0–1.
        typical_quality: Predicted for prompts that are not replayed; pacing starts from these.
        scores: Observed, prompts × experts, 0–1, no NaN; ``None`` where only predictions are known.
        earlier_times: When earlier calls arrived, seconds since the epoch, rising. They cost nothing; pacing learns
            from them when calls usually arrive.
        tokens: How long the calls are; ``None`` where all have the same length.
    """

    prompts: tuple[str, ...] = field(repr=False)
    times: Array = field(repr=False)
    quality: Array = field(repr=False)
    typical_quality: Array = field(repr=False)
    scores: Array | None = field(repr=False, default=None)
    earlier_times: Array = field(repr=False, default_factory=lambda: np.empty(0))
    tokens: CallTokens | None = field(repr=False, default=None)

    @classmethod
    def of_predictions(
        cls, quality: Array, typical_quality: Array, times: Array, earlier_times: Array
    ) -> ReplayTraffic:
        """Traffic with predicted quality and no observed scores. The prompts are numbered."""
        numbers = range(len(quality))
        prompts = tuple(f"prompt {number}" for number in numbers)
        return cls(prompts, times, quality, typical_quality, earlier_times=earlier_times)


def arrival_times(pattern: str, count: int, random: np.random.Generator, days: int = 1) -> Array:
    """Draw when calls arrive, seconds since the epoch, rising.

    Args:
        pattern: A name in :data:`ARRIVAL_PATTERNS`.
        count: How many calls.
        random: The source of randomness.
        days: Over how many days the calls are spread.

    Raises:
        ConfigurationError: The pattern is unknown.
    """
    if pattern not in ARRIVAL_PATTERNS:
        raise ConfigurationError(
            f"arrivals: {pattern!r} is none of {', '.join(ARRIVAL_PATTERNS)}; choose one of these"
        )
    return FIRST_MIDNIGHT + ARRIVAL_PATTERNS[pattern](count, random, days)


def _even_arrivals(count: int, random: np.random.Generator, days: int) -> Array:
    """At equal distances."""
    end = days * DAY
    return np.linspace(0, end, count, endpoint=False)


def _poisson_arrivals(count: int, random: np.random.Generator, days: int) -> Array:
    """At any time of the day, all equally likely."""
    times_of_day, call_days = _uniform_draws(count, random, days)
    return np.sort(times_of_day + call_days * DAY)


def _burst_arrivals(count: int, random: np.random.Generator, days: int) -> Array:
    """Half of the calls within two hours of the afternoon."""
    times_of_day, call_days = _uniform_draws(count, random, days)
    start, end = BURST_HOURS
    in_burst = count // 2
    times_of_day[:in_burst] = random.uniform(start * HOUR_S, end * HOUR_S, in_burst)
    return np.sort(times_of_day + call_days * DAY)


def _office_arrivals(count: int, random: np.random.Generator, days: int) -> Array:
    """Mostly in office hours."""
    _, call_days = _uniform_draws(count, random, days)  # drawn alike for every pattern of a seed
    probabilities = CALLS_BY_HOUR / CALLS_BY_HOUR.sum()
    hours = random.choice(24, count, p=probabilities)
    parts_of_hour = random.random(count)
    times_of_day = HOUR_S * (hours + parts_of_hour)
    return np.sort(times_of_day + call_days * DAY)


def _uniform_draws(count: int, random: np.random.Generator, days: int) -> tuple[Array, Array]:
    """A uniform time of the day and a day for each call."""
    times_of_day = random.uniform(0, DAY, count)
    call_days = random.integers(0, days, count).astype(np.float64)
    return times_of_day, call_days


ArrivalPattern = Callable[[int, np.random.Generator, int], Array]
"""Number of calls, randomness and number of days → seconds since the first midnight, rising."""

ARRIVAL_PATTERNS: dict[str, ArrivalPattern] = {
    "even": _even_arrivals,
    "poisson": _poisson_arrivals,
    "bursts": _burst_arrivals,
    "office": _office_arrivals,
}
