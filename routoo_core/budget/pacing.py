"""λ from what is left, how long it must last, and the traffic seen: spend evenly and well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routoo_core.budget.outlook import Standing, outlook
from routoo_core.candidates import Candidate, costs, qualities
from routoo_core.lifetimes import fork_safe_lock
from routoo_core.selector import Lagrangian, Policy, PolicyContext

RECENT_CALLS = 256
"""Calls whose qualities and costs stand for those to come."""
TYPICAL_PROMPTS = 512
"""Reference prompts that stand for them beside the recent calls."""
TYPICAL_WEIGHT = 2.0
"""How many recent calls one typical prompt counts as."""
LAMBDAS = np.concatenate([[0.0], np.geomspace(1e-2, 1e9, 300)])
"""The grid of λ, quality per USD, on which spending is known."""

Floats = NDArray[np.float64]


class Paced(Policy):
    """A policy whose λ follows the budget.

    Typical prompts and the recent calls together stand for the calls to come: λ is the multiplier at which
    serving *them* would cost, on average, what each remaining call may cost (the dual of the budget
    constraint). Typical prompts keep λ steady when easy calls come before hard ones; what is left of the
    money corrects it where traffic is unlike them.

    Args:
        reference: Predicted quality of typical prompts, prompts × experts.
        experts: Names of the reference's columns.
    """

    name: ClassVar[str] = "paced"
    needs_limit: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    def __init__(
        self, reference: NDArray[np.float32] | None = None, experts: tuple[str, ...] = ()
    ) -> None:
        self._reference = reference
        self._experts = experts
        self._traffic: dict[tuple[str, ...], Traffic] = {}
        self._lock = fork_safe_lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"reference": self._reference, "experts": self._experts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Paced.__init__(self, **state)

    def __repr__(self) -> str:
        return "Paced()"

    def rule(self, context: PolicyContext) -> Lagrangian:
        """The rule for one call, as if the call were already part of the traffic.

        Raises:
            ConfigurationError: No account that pays has a limit to pace.
        """
        allowance = smallest_allowance(context.standings())
        spending = spending_of(context.candidates)
        with self._lock:
            traffic = self._traffic_of(_names_of(context.candidates))
            return Lagrangian(traffic.lambda_with(spending, costs(context.candidates), allowance))

    def observe(self, context: PolicyContext) -> None:
        """Add a call to the traffic."""
        spending = spending_of(context.candidates)
        names = _names_of(context.candidates)
        with self._lock:
            traffic = self._traffic_of(names)
            self._traffic[names] = traffic
            traffic.add(spending, costs(context.candidates))

    def with_reference(self, quality: NDArray[np.float32], experts: tuple[str, ...]) -> Paced:
        """A paced policy that starts from typical prompts; see the class."""
        return Paced(quality, experts)

    def _traffic_of(self, names: tuple[str, ...]) -> Traffic:
        """The traffic seen with these experts in this order, or traffic of typical prompts alone."""
        traffic = self._traffic.get(names)
        return Traffic(self._typical_quality(names)) if traffic is None else traffic

    def _typical_quality(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        if self._reference is None or not set(names) <= set(self._experts):
            return np.empty((0, len(names)), dtype=np.float32)
        columns = [self._experts.index(name) for name in names]
        return self._reference[:TYPICAL_PROMPTS, columns]


class Traffic:
    """What the recent calls and the typical prompts would cost at each of ``LAMBDAS``, USD.

    Args:
        typical: Predicted quality of typical prompts, prompts × experts.
    """

    def __init__(self, typical: NDArray[np.float32]) -> None:
        self._typical = typical
        self._typical_spending = np.zeros(len(LAMBDAS))
        self._spending = np.zeros((RECENT_CALLS, len(LAMBDAS)))  # a row a call, the oldest replaced
        self._total = np.zeros(len(LAMBDAS))
        self._mean_cost = np.zeros(typical.shape[1])
        self._count = 0

    def add(self, spending: Floats, cost: Floats) -> None:
        """Add a call, in the place of the oldest.

        Args:
            spending: USD of the call at each of ``LAMBDAS``.
            cost: USD of each expert.
        """
        self._total = self._total_with(spending)
        self._spending[self._count % RECENT_CALLS] = spending
        self._mean_cost = self._mean_cost_with(cost)
        if self._renews_typical():
            self._typical_spending = self._typical_at(self._mean_cost)
        self._count += 1

    def lambda_with(self, spending: Floats, cost: Floats, allowance: float) -> float:
        """The least λ at which a call costs ``allowance`` USD on average, with one call more; changes nothing.

        Args:
            spending: USD of that call at each of ``LAMBDAS``.
            cost: USD of each expert.
            allowance: USD a call may cost on average.
        """
        typical_spending = self._typical_spending
        if self._renews_typical():
            typical_spending = self._typical_at(self._mean_cost_with(cost))
        total = self._total_with(spending)
        weight = min(self._count + 1, RECENT_CALLS) + TYPICAL_WEIGHT * len(self._typical)
        return least_lambda((total + TYPICAL_WEIGHT * typical_spending) / weight, allowance)

    def _total_with(self, spending: Floats) -> Floats:
        """The total of the recent calls when one more has replaced the oldest."""
        total: Floats = self._total + (spending - self._spending[self._count % RECENT_CALLS])
        return total

    def _mean_cost_with(self, cost: Floats) -> Floats:
        """The running mean cost of each expert with one call more, USD."""
        mean: Floats = self._mean_cost + (cost - self._mean_cost) / min(
            self._count + 1, RECENT_CALLS
        )
        return mean

    def _renews_typical(self) -> bool:
        """Whether the next call renews the cost of the typical prompts: at powers of two, then once a round."""
        if not len(self._typical):
            return False
        count = self._count + 1
        is_power_of_two = count & (count - 1) == 0
        starts_a_round = self._count % RECENT_CALLS == 0
        return is_power_of_two or starts_a_round

    def _typical_at(self, mean_cost: Floats) -> Floats:
        """USD of the typical prompts together at each of ``LAMBDAS``, where each expert costs its mean."""
        return spending_by_lambda(self._typical, np.tile(mean_cost, (len(self._typical), 1)))


def smallest_allowance(standings: Sequence[Standing]) -> float:
    """USD each remaining call may cost on average in the account that can afford the least.

    Raises:
        ConfigurationError: No account has a limit.
    """
    limited = [standing for standing in standings if standing.state.limit is not None]
    allowances = []
    for standing in limited or standings[:1]:
        allowances.append(outlook(standing.budget, standing.state, standing.usual).allowance)
    return min(allowances)


def least_lambda(mean_spending: Floats, allowance: float) -> float:
    """The least λ at which a call costs ``allowance`` USD on average, between two of ``LAMBDAS``.

    Args:
        mean_spending: USD a call at each of ``LAMBDAS``, falling.
        allowance: USD.
    """
    above = len(LAMBDAS) - 1
    if mean_spending[-1] <= allowance:
        above = int(np.argmax(mean_spending <= allowance))
    if not above:
        return 0.0
    low = max(LAMBDAS[above - 1], LAMBDAS[1] / 2)
    high = LAMBDAS[above]
    step = max(mean_spending[above - 1] - mean_spending[above], 1e-300)
    share = (mean_spending[above - 1] - allowance) / step
    return float(low * (high / low) ** min(max(share, 0.0), 1.0))


def spending_of(candidates: Sequence[Candidate]) -> Floats:
    """USD of one call at each of ``LAMBDAS``."""
    return spending_by_lambda(qualities(candidates)[None], costs(candidates)[None])


def spending_by_lambda(quality: NDArray[np.floating], cost: NDArray[np.floating]) -> Floats:
    """USD that prompts cost together at each of ``LAMBDAS``, for arrays of shape (prompts, experts)."""
    preference = quality[:, None] - LAMBDAS[:, None] * cost[:, None]  # prompts × lambdas × experts
    chosen = preference.argmax(axis=-1)
    total: Floats = np.take_along_axis(cost, chosen, axis=1).sum(axis=0, dtype=np.float64)
    return total


def _names_of(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(candidate.expert.predicted_as for candidate in candidates)
