"""The quality–cost curve: what each average spend buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from routoo_core.selector import Lagrangian, PreferenceRule, Ratio

Array = NDArray[np.float64]

LAMBDAS: tuple[float, ...] = (0.0, *np.geomspace(1e-3, 1e4, 141).tolist())
"""The λ of a sweep, in units of 1 / (cost of the dearest expert)."""

ALPHAS: tuple[float, ...] = (0.0, *np.geomspace(1e-3, 10.0, 81).tolist())
"""The α of a sweep."""


@dataclass(frozen=True)
class Curve:
    """Points of mean cost and mean observed quality, one for each preference rule.

    Attributes:
        cost: Mean cost of a call, USD or USD per million tokens, shape (rules,).
        quality: Mean observed score, 0–1, shape (rules,).
    """

    cost: Array = field(repr=False)
    quality: Array = field(repr=False)

    def vertices(self) -> tuple[Array, Array]:
        """Cost and quality of the corners of the upper hull, both strictly rising."""
        return self._vertices

    def at(self, cost: Array | float) -> Array:
        """Quality at each ``cost`` on the upper hull, which mixing two rules at random reaches."""
        costs, qualities = self._vertices
        return np.asarray(np.interp(cost, costs, qualities))

    def area(self, cheapest: float, dearest: float) -> float:
        """Mean quality over the costs from ``cheapest`` to ``dearest``; of an empty range, the quality there."""
        if dearest <= cheapest:
            return float(self.at(cheapest))

        # The hull is straight between its corners, so the trapezoids are exact.
        corners, _ = self._vertices
        inside = corners[(corners > cheapest) & (corners < dearest)]
        grid = np.concatenate([[cheapest], inside, [dearest]])

        integral = np.trapezoid(self.at(grid), grid)
        return float(integral / (dearest - cheapest))

    def cost_of(self, quality: float) -> float:
        """Least cost at which the hull reaches ``quality``; infinite if it never does."""
        costs, qualities = self._vertices
        if quality > qualities[-1] + 1e-12:
            return float("inf")
        return float(np.interp(quality, qualities, costs))

    @cached_property
    def _vertices(self) -> tuple[Array, Array]:
        hull: list[tuple[float, float]] = []
        points = zip(self.cost.tolist(), self.quality.tolist(), strict=True)
        for point in sorted(points):
            # Points of equal cost are sorted by quality: the later one is at least as good.
            if hull and hull[-1][0] == point[0]:
                hull.pop()
            while len(hull) > 1 and _is_below(hull[-1], hull[-2], point):
                hull.pop()
            hull.append(point)

        corners = np.array(hull, dtype=np.float64)
        costs = corners[:, 0]
        qualities = corners[:, 1]
        end = int(qualities.argmax()) + 1  # beyond the best point, more cost buys nothing
        return costs[:end], qualities[:end]


def _is_below(
    point: tuple[float, float], left: tuple[float, float], right: tuple[float, float]
) -> bool:
    """Whether ``point`` lies on or below the line from ``left`` to ``right``."""
    cost_to_point = point[0] - left[0]
    cost_to_right = right[0] - left[0]
    gain_to_point = point[1] - left[1]
    gain_to_right = right[1] - left[1]
    return cost_to_point * gain_to_right >= gain_to_point * cost_to_right


@dataclass(frozen=True)
class ServedSweep:
    """What serving every prompt by every preference rule would have cost and scored.

    Attributes:
        rules: The rules that chose.
        cost: Cost of the chosen expert, rules × prompts.
        score: Observed score of the chosen expert, rules × prompts, 0–1.
        choices: Column of the chosen expert, rules × prompts.
    """

    rules: tuple[PreferenceRule, ...]
    cost: Array = field(repr=False)
    score: Array = field(repr=False)
    choices: NDArray[np.int64] = field(repr=False)

    def of_kind(self, kind: type) -> ServedSweep:
        """The part of the sweep by rules of one class."""
        rows = []
        for row, rule in enumerate(self.rules):
            if isinstance(rule, kind):
                rows.append(row)

        rules = tuple(self.rules[row] for row in rows)
        return ServedSweep(rules, self.cost[rows], self.score[rows], self.choices[rows])

    def row_within(self, budget: float) -> int:
        """Row of the rule that spends the most within ``budget`` a prompt, or of the cheapest if none does.

        The choice looks at costs only, so no score leaks into it. Of equals it is the first.
        """
        mean_cost = self.cost.mean(axis=1)
        affordable = mean_cost <= budget * (1 + 1e-9)
        if not affordable.any():
            return int(mean_cost.argmin())
        affordable_cost = np.where(affordable, mean_cost, -np.inf)
        return int(affordable_cost.argmax())

    def curve(self, weights: Array | None = None) -> Curve:
        """The curve over all prompts, or over a resample of them.

        Args:
            weights: One weight for each prompt, summing to 1; all equal by default.
        """
        if weights is None:
            weights = even_weights(self.cost.shape[1])
        return Curve(self.cost @ weights, self.score @ weights)


def even_weights(count: int) -> Array:
    """The same weight for each of ``count`` prompts, summing to 1."""
    return np.full(count, 1 / count)


def sweep(cost: Array) -> list[PreferenceRule]:
    """The preference rules of a router over their whole range: every λ of ``LAMBDAS`` and every α of ``ALPHAS``.

    Args:
        cost: Cost of each expert.
    """
    unit = 1 / (float(np.max(cost)) or 1.0)

    lagrangians = [Lagrangian(lambda_ * unit) for lambda_ in LAMBDAS]
    ratios = [Ratio(alpha) for alpha in ALPHAS]
    return [*lagrangians, *ratios]


def serve(
    quality: Array,
    scores: Array,
    cost: Array,
    rules: Sequence[PreferenceRule],
    call_costs: Array | None = None,
) -> ServedSweep:
    """Serve every prompt by each rule and take the observed score of the expert it chooses.

    Args:
        quality: Predicted, prompts × experts.
        scores: Observed, prompts × experts, no NaN.
        cost: Cost of each expert, or prompts × experts.
        rules: The same objects the router serves with.
        call_costs: What each call really costs, prompts × experts; by default what the rules go by.
    """
    costs = np.broadcast_to(cost, quality.shape)
    paid_costs = costs if call_costs is None else call_costs
    prompts = np.arange(len(quality))

    choices = []
    spending = []
    call_scores = []
    for rule in rules:
        column = np.argmax(rule(quality, costs), axis=1)
        choices.append(column)
        spending.append(paid_costs[prompts, column])
        call_scores.append(scores[prompts, column])

    return ServedSweep(tuple(rules), np.stack(spending), np.stack(call_scores), np.stack(choices))
