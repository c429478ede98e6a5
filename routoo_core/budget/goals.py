"""λ from a goal: nearly the best for the least money, or a share of it saved for the most quality."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routoo_core.budget.pacing import (
    LAMBDAS,
    QUALITY,
    RECENT_CALLS,
    SPENDING,
    Floats,
    TrafficPolicy,
    least_lambda,
    smallest_allowance,
)
from routoo_core.candidates import costs, qualities
from routoo_core.errors import ConfigurationError
from routoo_core.selector import PolicyContext

CAUTION = 0.01
"""Added to the share of quality that is aimed at: what is observed falls short of what was predicted, since the expert
that looks best is now and then one of whom too much was predicted."""


class GoalPolicy(TrafficPolicy):
    """A policy that holds a goal on the running average, and keeps to the budget as well.

    What the calls so far were above or below the goal is made up for over the next 256 calls.

    Args:
        reference: Predicted quality of typical prompts, prompts × experts.
        experts: Names of the reference's columns.
    """

    def __init__(
        self, reference: NDArray[np.float32] | None = None, experts: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reference, experts)
        self._surplus = 0.0

    def multiplier(self, means: Floats, context: PolicyContext) -> float:
        """λ of the goal, or of the budget where that allows less."""
        lambda_of_goal = self.goal_lambda(means, self._surplus / RECENT_CALLS)
        standings = context.standings()
        if all(standing.state.limit is None for standing in standings):
            return lambda_of_goal
        return max(lambda_of_goal, least_lambda(means[SPENDING], smallest_allowance(standings)))

    def observe(self, context: PolicyContext) -> None:
        """Add a call to the traffic, and to what was reached so far."""
        quality = qualities(context.candidates)
        cost = costs(context.candidates)
        ruling = self.ruling(context)
        choice = int(np.argmax(ruling.rule(quality, cost)))
        best = int(np.argmax(quality))
        surplus = self.surplus(quality, cost, choice, best)
        self.add(ruling)
        with self._lock:
            self._surplus += surplus

    def goal_lambda(self, means: Floats, surplus: float) -> float:
        """λ at which calls reach the goal on average.

        Args:
            means: USD and predicted quality of a call at each of ``LAMBDAS``, (2, lambdas).
            surplus: What each of the next calls may be below the goal, since earlier ones were above.
        """
        raise NotImplementedError

    def surplus(self, quality: Floats, cost: Floats, choice: int, best: int) -> float:
        """By how much a call was above the goal; negative below.

        Args:
            quality: Predicted of each candidate, 0–1.
            cost: USD of each.
            choice: The candidate that was chosen.
            best: The one of the highest quality.
        """
        raise NotImplementedError


class MatchBest(GoalPolicy):
    """Nearly the quality of always asking the best expert, by prediction, for as little as possible.

    Args:
        quality: The share of that quality to aim at, above 0 and at most 1.
        reference: Predicted quality of typical prompts, prompts × experts.
        experts: Names of the reference's columns.
    """

    name: ClassVar[str] = "match_best"

    def __init__(
        self,
        quality: float = 0.98,
        reference: NDArray[np.float32] | None = None,
        experts: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reference, experts)
        if not isinstance(quality, int | float) or not 0 < quality <= 1:
            raise ConfigurationError(f"quality: {quality!r} is not a number above 0 and at most 1")
        self.quality = quality
        self._aim = min(1.0, quality + CAUTION)

    def parameters(self) -> dict[str, Any]:
        """The share."""
        return {"quality": self.quality}

    def goal_lambda(self, means: Floats, surplus: float) -> float:
        """The largest λ that still reaches the share."""
        best = means[QUALITY][0]
        least_quality = min(self._aim * best - surplus, best)
        reaching = np.flatnonzero(means[QUALITY] >= least_quality)
        return float(LAMBDAS[reaching[-1]]) if len(reaching) else 0.0

    def surplus(self, quality: Floats, cost: Floats, choice: int, best: int) -> float:
        """Predicted quality above the share."""
        return float(quality[choice] - self._aim * quality[best])


class Save(GoalPolicy):
    """A share saved of what always asking the best would cost, for as much quality as possible.

    Args:
        share: What is saved, at least 0 and below 1.
        reference: Predicted quality of typical prompts, prompts × experts.
        experts: Names of the reference's columns.
    """

    name: ClassVar[str] = "save"

    def __init__(
        self,
        share: float,
        reference: NDArray[np.float32] | None = None,
        experts: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reference, experts)
        if not isinstance(share, int | float) or not 0 <= share < 1:
            raise ConfigurationError(f"share: {share!r} is not a number of at least 0 and below 1")
        self.share = share

    def parameters(self) -> dict[str, Any]:
        """The share."""
        return {"share": self.share}

    def goal_lambda(self, means: Floats, surplus: float) -> float:
        """The least λ at which calls cost so much less."""
        allowance = (1 - self.share) * means[SPENDING][0] + surplus
        return least_lambda(means[SPENDING], max(allowance, 0.0))

    def surplus(self, quality: Floats, cost: Floats, choice: int, best: int) -> float:
        """USD below what a call may cost."""
        return float((1 - self.share) * cost[best] - cost[choice])
