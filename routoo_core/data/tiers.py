"""Tiers: experts of about equal rating stand in for one another, so that sparse battles say something of each.

As in RouteLLM (arXiv 2406.18665, section 4.1): experts are sorted by Bradley–Terry rating and cut into tiers so that
the sum of the variances within them is least.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.battles import Array, Battles, fit_ratings
from routoo_core.errors import ConfigurationError

TIER_PREFIX = "tier-"


@dataclass(frozen=True)
class Tiers:
    """Which tier each expert is in; tier 0 is the strongest.

    Attributes:
        experts: The experts' names.
        ratings: Their Bradley–Terry ratings, log-odds, (experts,).
        tier: The tier of each, (experts,).
    """

    experts: tuple[str, ...]
    ratings: Array = field(repr=False)
    tier: NDArray[np.int64] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """``tier-0``, ``tier-1`` … as experts of a table."""
        count = int(self.tier.max()) + 1
        return tuple(f"{TIER_PREFIX}{number}" for number in range(count))


def rate_tiers(battles: Battles, count: int) -> Tiers:
    """Rate the experts by their battles and cut them into tiers.

    Args:
        battles: Of every expert at least one.
        count: How many tiers, from 2 to the number of experts.

    Raises:
        ConfigurationError: There are fewer experts than tiers.
    """
    experts = len(battles.experts)
    if not 2 <= count <= experts:
        raise ConfigurationError(
            f"tiers: {count} is not from 2 to the number of experts ({experts})"
        )
    ratings = fit_ratings(battles.counts())
    strongest_first = np.argsort(-ratings, kind="stable")
    tier = np.empty(experts, dtype=np.int64)
    tier[strongest_first] = cut_by_variance(ratings[strongest_first], count)
    return Tiers(battles.experts, ratings, tier)


def cut_by_variance(values: Array, count: int) -> NDArray[np.int64]:
    """Cut sorted values into runs so that the sum of the variances within the runs is least.

    Args:
        values: Sorted, at least ``count`` of them.
        count: How many runs.

    Returns:
        The number of each value's run, from 0.
    """
    size = len(values)
    spread = _variances(values)
    # best[runs, end]: the least sum for the first ``end`` values in ``runs`` runs.
    # start[runs, end]: where the last of these runs begins.
    best = np.full((count + 1, size + 1), np.inf)
    start = np.zeros((count + 1, size + 1), dtype=np.int64)
    best[0, 0] = 0
    for runs in range(1, count + 1):
        for end in range(runs, size + 1):
            sums = best[runs - 1, :end] + spread[:end, end]
            start[runs, end] = int(sums.argmin())
            best[runs, end] = sums[start[runs, end]]

    numbers = np.empty(size, dtype=np.int64)
    end = size
    for runs in range(count, 0, -1):
        begin = int(start[runs, end])
        numbers[begin:end] = runs - 1
        end = begin
    return numbers


def _variances(values: Array) -> Array:
    """The variance of every run ``values[begin:end]``, (begin, end); infinite for empty ones."""
    size = len(values)
    variances = np.full((size + 1, size + 1), np.inf)
    for begin in range(size):
        for end in range(begin + 1, size + 1):
            variances[begin, end] = values[begin:end].var()
    return variances


def by_tier(battles: Battles, tiers: Tiers) -> Battles:
    """The battles between tiers; those within one say nothing of tiers and are left out."""
    first = tiers.tier[battles.first]
    second = tiers.tier[battles.second]
    between = first != second
    return Battles(
        prompts=battles.prompts,
        experts=tiers.names,
        row=battles.row[between],
        first=first[between],
        second=second[between],
        result=battles.result[between],
    )
