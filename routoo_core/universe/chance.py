"""How much of a coverage may be luck: many weak experts cover a prompt by guessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, lgamma, log

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.measures.curve import Array
from routoo_core.universe.observed import ObservedScores

Counts = NDArray[np.int64]

_RAREST = 0.05  # a share of the prompts; counts of lucky answers that are rarer say too little
_MOST_WITNESSES = 1_000  # experts from which a guess rate is estimated
_FEWEST_WITNESSES = 4
_HARDEST_PART = 10  # a guess rate is read off one prompt in so many, the hardest


@dataclass(frozen=True)
class GuessRates:
    """The chance of a lucky answer.

    Attributes:
        rates: For each prompt, 0 to below 1.
        source: Where the rates come from, in words.
    """

    rates: Array = field(repr=False)
    source: str


def guess_rates(
    observed: ObservedScores, choices: Sequence[int], rate: float | None
) -> GuessRates | None:
    """The chance of a lucky answer on each prompt; ``None`` where it cannot be known.

    A given rate holds everywhere. Otherwise it is 1 / choices where a prompt is known to have choices, and elsewhere
    what :func:`estimated_guess_rate` returns.

    Args:
        observed: Scores.
        choices: Number of choices of each prompt, 0 where unknown; empty when all are unknown.
        rate: A given rate, 0 to below 1.

    Raises:
        ConfigurationError: The rate is outside its range.
    """
    if rate is not None and not 0 <= rate < 1:
        raise ConfigurationError(f"guess_rate: {rate} is not from 0 to below 1")
    if not observed.binary:
        return None
    if rate is not None:
        return GuessRates(np.full(observed.prompts, rate), f"{rate:g}, as given")

    counts = choices or [0] * observed.prompts
    choice_counts = np.array(counts, dtype=np.float64)
    has_choices = choice_counts > 0
    if has_choices.all():
        return GuessRates(1 / choice_counts, "1 / choices")

    estimate = estimated_guess_rate(observed)
    if estimate is None or estimate >= 1:
        return None
    rates = np.where(has_choices, 1 / np.maximum(choice_counts, 1), estimate)
    source = f"{estimate:.3f}, estimated on the hardest prompts"
    if has_choices.any():
        source = f"1 / choices where there are some, else {source}"
    return GuessRates(rates, source)


def estimated_guess_rate(observed: ObservedScores) -> float | None:
    """Estimate how often an expert is right where hardly any knows the answer.

    This is the mean score on the hardest tenth of the prompts. Every other expert decides which prompts are hardest,
    and the score is that of the rest, so that a prompt does not count as hard by bad luck alone. Some of the rest do
    know the answer, so the estimate is rather too high than too low.

    Returns:
        The rate, from at most 1,000 experts, evenly spread; ``None`` with fewer than 4 experts, or where scores are not
        0 and 1.
    """
    witnesses = _evenly_spread(len(observed.experts), _MOST_WITNESSES)
    if len(witnesses) < _FEWEST_WITNESSES or not observed.binary:
        return None

    judges = _answer_counts(observed, witnesses[::2])
    rest = _answer_counts(observed, witnesses[1::2])
    is_usable = (judges.observed > 0) & (rest.observed > 0)
    usable = np.flatnonzero(is_usable)
    if not len(usable):
        return None

    judge_scores = judges.right[usable] / judges.observed[usable]
    by_difficulty = usable[np.argsort(judge_scores, kind="stable")]
    count = max(1, len(usable) // _HARDEST_PART)
    hardest = by_difficulty[:count]
    right = rest.right[hardest].sum()
    answers = rest.observed[hardest].sum()
    return float(right / answers)


@dataclass(frozen=True)
class _AnswerCounts:
    """Answers of some experts to each prompt, and how many of them are right."""

    observed: Counts
    right: Counts


def _answer_counts(observed: ObservedScores, rows: Sequence[int]) -> _AnswerCounts:
    is_observed = observed.is_observed(rows)
    is_right = observed.right_answers(rows)
    return _AnswerCounts(is_observed.sum(axis=0), is_right.sum(axis=0))


def coverage_without_luck(
    observed: ObservedScores, experts: Sequence[str], rates: Array
) -> tuple[float, ...]:
    """Coverage after each expert, corrected for chance; for scores of 0 and 1.

    On a prompt that none of n experts knows, the right answers are guesses, and their number is Binomial(n, rate). If a
    share u of the prompts were such, at least u · P(Binomial ≤ t) of all prompts would have t right answers or fewer.
    The largest u that the observed counts allow, at any t, is the unknown share, and 1 - u is the known one. For one
    expert this is the usual correction (score - rate) / (1 - rate).

    The curve never falls, since more experts know more. Guesses are taken as independent; where experts share their
    mistakes, there is less luck than this says.

    Args:
        observed: Scores.
        experts: Names in the order chosen.
        rates: Chance that an expert that does not know answers rightly, one for each prompt, 0 to below 1.
    """
    rows = observed.rows_of(experts)
    distinct_rates, rate_of_prompt = np.unique(rates, return_inverse=True)
    is_right = observed.right_answers(rows)
    right_counts = np.cumsum(is_right, axis=0, dtype=np.int64)
    is_observed = observed.is_observed(rows)
    observed_counts = np.cumsum(is_observed, axis=0, dtype=np.int64)

    known_shares = []
    for right, answer_counts in zip(right_counts, observed_counts, strict=True):
        lucky = _lucky_distribution(answer_counts, distinct_rates, rate_of_prompt)
        known_share = _known_share(right, lucky)
        known_shares.append(known_share)
    rising_shares = np.maximum.accumulate(known_shares)
    return tuple(rising_shares.tolist())


def _lucky_distribution(
    answer_counts: Counts, rates: Array, rate_of_prompt: NDArray[np.intp]
) -> Array:
    """Expected number of prompts with 0, 1, … right answers, if every answer were a guess.

    Args:
        answer_counts: Number of answers on each prompt.
        rates: The distinct guess rates.
        rate_of_prompt: The position of each prompt's rate in ``rates``.
    """
    most_answers = int(answer_counts.max(initial=0))
    pairs = np.stack([answer_counts, rate_of_prompt])
    distinct_pairs, counts = np.unique(pairs, axis=1, return_counts=True)
    expected = np.zeros(most_answers + 1)
    for (answers, rate), count in zip(distinct_pairs.T, counts, strict=True):
        probabilities = _binomial(int(answers), float(rates[rate]))
        expected[: answers + 1] += count * probabilities
    return expected


def _known_share(right: Counts, lucky: Array) -> float:
    """The least share of the prompts that some expert must know.

    Args:
        right: Number of right answers on each prompt.
        lucky: See :func:`_lucky_distribution`.
    """
    prompts = len(right)
    observed_counts = np.bincount(right, minlength=len(lucky))
    observed_at_most = np.cumsum(observed_counts) / prompts
    lucky_at_most = np.cumsum(lucky) / prompts

    ratio = observed_at_most / np.maximum(lucky_at_most, _RAREST)
    is_frequent = lucky_at_most >= _RAREST
    unknown_share = float(ratio[is_frequent].min())
    return 1 - min(1.0, unknown_share)


def _binomial(trials: int, probability: float) -> Array:
    """The probability of 0, 1, … successes."""
    probabilities = np.zeros(trials + 1)
    if probability == 0:
        probabilities[0] = 1.0
        return probabilities

    log_success = log(probability)
    log_failure = log(1 - probability)
    for successes in range(trials + 1):
        failures = trials - successes
        log_ways = lgamma(trials + 1) - lgamma(successes + 1) - lgamma(failures + 1)
        log_probability = log_ways + successes * log_success + failures * log_failure
        probabilities[successes] = exp(log_probability)
    return probabilities


def _evenly_spread(count: int, limit: int) -> list[int]:
    """At most ``limit`` of ``count`` positions, evenly spread, each once."""
    last = count - 1
    points = np.linspace(0, last, min(count, limit))
    positions = np.unique(points.astype(int))
    return [int(position) for position in positions]
