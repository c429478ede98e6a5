"""Algorithm 1: which few of many experts complement one another best (paper §3.4, Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.universe.observed import ObservedScores

_BATCH = 64  # gains that are computed together


@dataclass(frozen=True)
class Universe:
    """The experts chosen, in the order chosen, and how good the choice is.

    Attributes:
        experts: Names.
        gains: What each added to the coverage when it was chosen, 0–1.
        coverage: Eq. 2 after each: the mean over prompts of the highest observed score, 0–1.
        alone: What the coverage would lose without each, 0–1; 0 where the others cover all it covers.
        bound: No set of as many experts, with the same must-haves, covers more, 0–1.
        pool_coverage: The coverage of the whole pool, 0–1.
    """

    experts: tuple[str, ...]
    gains: tuple[float, ...]
    coverage: tuple[float, ...]
    alone: tuple[float, ...]
    bound: float
    pool_coverage: float

    @property
    def total_coverage(self) -> float:
        """The coverage of all chosen experts together, 0–1."""
        if not self.coverage:
            return 0.0
        return self.coverage[-1]

    @property
    def gap(self) -> float:
        """Share of the bound that is missing; the optimum is no further away."""
        if not self.coverage or self.bound <= 0:
            return 0.0
        return max(0.0, 1 - self.total_coverage / self.bound)


def select_universe(
    observed: ObservedScores,
    size: int,
    must_have: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
) -> Universe:
    """Add the expert that adds the most, until there are ``size`` or none adds anything (Algorithm 1).

    Equal gains go to the cheaper expert where prices are known, else to the first in the table. So an expert that
    another dominates is never chosen before it, unless it is as good and cheaper.

    The bound is Nemhauser's, applied after each step: the coverage so far plus the largest gains that could still be
    added to it. It is at most the coverage of the whole pool.

    Args:
        observed: Scores; a missing pair covers nothing.
        size: The most experts to choose, must-haves included.
        must_have: Chosen first, in this order, whatever they add.
        prices: USD of each expert, in any unit; experts without a price come last among equals.

    Raises:
        ConfigurationError: ``size`` is less than 1 or than the must-haves, or a must-have is unknown or repeated.
    """
    first_rows = must_have_rows(observed.experts, size, must_have)
    order = _cheapest_first(observed.experts, prices or {})
    greedy = _LazyGreedy(observed, first_rows, order)

    steps = size - len(first_rows)
    bound = greedy.bound(steps)
    while len(greedy.rows) < size and greedy.add_best():
        bound = min(bound, greedy.bound(steps))
    greedy.refresh_limits()
    bound = min(bound, greedy.bound(steps))

    best_of_all = observed.best_of_all()
    pool_coverage = observed.share(observed.total(best_of_all))
    return Universe(
        experts=tuple(observed.experts[row] for row in greedy.rows),
        gains=_prompt_shares(observed, greedy.gains),
        coverage=_prompt_shares(observed, np.cumsum(greedy.gains)),
        alone=_gains_over_others(observed, greedy.rows),
        bound=min(observed.share(bound), pool_coverage),
        pool_coverage=pool_coverage,
    )


def must_have_rows(experts: Sequence[str], size: int, must_have: Sequence[str]) -> list[int]:
    """The position of each must-have among the experts.

    Raises:
        ConfigurationError: ``size`` is less than 1 or than the must-haves, or a must-have is unknown or repeated.
    """
    smallest_size = max(1, len(must_have))
    if size < smallest_size:
        raise ConfigurationError(f"size: {size} is too few; choose at least {smallest_size}")
    for name in must_have:
        if name not in experts:
            raise ConfigurationError(
                f"must_have: no outcomes of {name!r}; check the name against the table"
            )
    if len(set(must_have)) < len(must_have):
        raise ConfigurationError("must_have: an expert is given twice; give each once")
    return [experts.index(name) for name in must_have]


def _cheapest_first(experts: Sequence[str], prices: Mapping[str, float]) -> NDArray[np.intp]:
    """Rows in the order in which equal gains are resolved."""
    usd = [prices.get(name, np.inf) for name in experts]
    return np.argsort(np.array(usd), kind="stable")


def _prompt_shares(observed: ObservedScores, totals: Iterable[float]) -> tuple[float, ...]:
    """Sums of gains as shares of all prompts."""
    return tuple(observed.share(total) for total in totals)


class _LazyGreedy:
    """The greedy loop; it computes only the gains that could lead.

    The gain of an expert never grows while others are chosen. So an earlier gain is an upper limit of the present one,
    and only experts whose limit leads are looked at again. The choice is that of the plain loop.

    Attributes:
        rows: Rows in the order chosen.
        gains: What each added, in the unit of the observed scores.
    """

    def __init__(
        self, observed: ObservedScores, first_rows: Sequence[int], order: NDArray[np.intp]
    ) -> None:
        self.rows: list[int] = []
        self.gains: list[int] = []
        self._observed = observed
        self._order = order  # rows, the preferred of equals first; limits are in this order
        self._best = observed.no_scores()
        for row in first_rows:
            gain = int(observed.gains(slice(row, row + 1), self._best)[0])
            self._add(row, gain)
        self._limits = self._all_gains()

    def add_best(self) -> bool:
        """Add the expert with the largest gain; ``False`` when no expert adds anything."""
        position = self._leading_position()
        gain = int(self._limits[position])
        if gain == 0:
            return False
        self._add(int(self._order[position]), gain)
        self._limits[position] = 0
        return True

    def bound(self, steps: int) -> int:
        """The gains so far plus the largest ``steps`` limits."""
        descending = np.sort(self._limits)[::-1]
        largest = descending[:steps]
        return sum(self.gains) + int(largest.sum())

    def refresh_limits(self) -> None:
        """Replace every limit by the present gain."""
        self._limits = self._all_gains()

    def _add(self, row: int, gain: int) -> None:
        self.rows.append(row)
        self.gains.append(gain)
        scores = self._observed.values[row]
        self._best = self._observed.merge(self._best, scores)

    def _leading_position(self) -> int:
        """The position of the largest gain; limits that could lead are brought up to date, a batch at a time."""
        limits = self._limits
        by_limit = np.argsort(-limits, kind="stable")
        lead = 0
        for start in range(0, len(by_limit), _BATCH):
            batch = by_limit[start : start + _BATCH]
            highest_limit = limits[batch[0]]
            if highest_limit < max(1, lead):
                break
            rows = self._order[batch]
            gains = self._observed.gains(rows, self._best)
            limits[batch] = gains
            lead = max(lead, int(gains.max()))
        return int(limits.argmax())

    def _all_gains(self) -> NDArray[np.int64]:
        observed = self._observed
        gains = [observed.gains(rows, self._best) for rows in observed.chunks()]
        gains_by_row = np.concatenate(gains)
        return gains_by_row[self._order]


def _gains_over_others(observed: ObservedScores, selection: Sequence[int]) -> tuple[float, ...]:
    """What each chosen expert adds to the best of those chosen before and after it."""
    best = observed.no_scores()
    best_before = []
    for row in selection:
        best_before.append(best)
        best = observed.merge(best, observed.values[row])

    gains: list[int] = []
    best_after = observed.no_scores()
    for row, before in zip(reversed(selection), reversed(best_before), strict=True):
        others_best = observed.merge(before, best_after)
        gain = observed.gains(slice(row, row + 1), others_best)[0]
        gains.append(int(gain))
        best_after = observed.merge(best_after, observed.values[row])
    return _prompt_shares(observed, reversed(gains))
