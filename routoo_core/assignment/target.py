"""``routoo calibrate``: the α, λ or floor of a policy that meets a target on typical prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.selector import Lagrangian, PreferenceRule, QualityFloor, Ratio
from routoo_core.win_rate import PairRule

Floats = NDArray[np.floating[Any]]

_POINTS = 200  # values tried first
_ZOOMS = 4  # searches, each between the neighbours of the best value of the one before


@dataclass(frozen=True)
class TunablePolicy:
    """A policy with one number to set.

    Attributes:
        field: The number's key in ``routoo.toml``.
        make: Number → policy.
        first_values: USD of a call to each expert → numbers to try first, rising.
    """

    field: str
    make: Callable[[float], PreferenceRule]
    first_values: Callable[[Floats], Floats]


def _first_lambdas(cost: Floats) -> Floats:
    """From λ = 0 to a λ at which no quality is worth a dearer expert."""
    distinct_costs = np.unique(cost)
    steps = np.diff(distinct_costs)
    smallest_step = float(steps.min()) if len(steps) else 1.0
    dearest = float(cost.max()) or 1.0
    lowest = 1e-3 / dearest
    highest = 2.0 / smallest_step
    lambdas = np.geomspace(lowest, highest, _POINTS)
    return np.concatenate([[0.0], lambdas])


def _first_alphas(_: Floats) -> Floats:
    alphas = np.geomspace(1e-4, 100.0, _POINTS)
    return np.concatenate([[0.0], alphas])


def _first_floors(_: Floats) -> Floats:
    return np.linspace(0, 1, _POINTS + 1)


TUNABLE_POLICIES: dict[str, TunablePolicy] = {
    "lagrangian": TunablePolicy("lambda", Lagrangian, _first_lambdas),
    "ratio": TunablePolicy("alpha", Ratio, _first_alphas),
    "quality_floor": TunablePolicy("floor", QualityFloor, _first_floors),
}


def win_rate_of(strong: int, weak: int) -> TunablePolicy:
    """The threshold of ``win_rate`` for two columns."""

    def make(threshold: float) -> PreferenceRule:
        return PairRule(threshold, strong, weak)

    return TunablePolicy("threshold", make, _first_floors)


@dataclass(frozen=True)
class Expectation:
    """What a policy is expected to do on the prompts.

    Attributes:
        value: The policy's number.
        quality: Mean predicted quality, 0–1.
        cost: Mean USD of a call.
        shares: Share of the calls that each expert gets, 0–1, (experts,).
    """

    value: float
    quality: float
    cost: float
    shares: NDArray[np.float64] = field(repr=False)


class Target(Protocol):
    """What a policy's number is chosen for."""

    @property
    def tolerance(self) -> float:
        """The largest distance at which the target counts as met."""
        ...

    def distance(self, expectation: Expectation) -> float:
        """How far an expectation is from the target; 0 when it is met."""
        ...

    def preference(self, expectation: Expectation) -> float:
        """Orders expectations of equal distance; the lowest is chosen."""
        ...


@dataclass(frozen=True)
class CostAtMost:
    """The best quality for at most a mean cost.

    Attributes:
        usd: USD of a call.
    """

    usd: float
    tolerance: float = 0.0

    def distance(self, expectation: Expectation) -> float:
        """USD of a call above the target."""
        return max(expectation.cost - self.usd, 0.0)

    def preference(self, expectation: Expectation) -> float:
        """The best quality comes first."""
        return -expectation.quality


@dataclass(frozen=True)
class QualityAtLeast:
    """The lowest cost for at least a mean quality.

    Attributes:
        quality: Predicted, 0–1.
    """

    quality: float
    tolerance: float = 0.0

    def distance(self, expectation: Expectation) -> float:
        """Quality below the target."""
        return max(self.quality - expectation.quality, 0.0)

    def preference(self, expectation: Expectation) -> float:
        """The lowest cost comes first."""
        return expectation.cost


@dataclass(frozen=True)
class ShareOf:
    """A share of the calls for one expert.

    Attributes:
        expert: Its column.
        share: Share of the calls, 0–1.
    """

    expert: int
    share: float
    tolerance: float = 0.01

    def distance(self, expectation: Expectation) -> float:
        """Difference of the shares."""
        expected_share = float(expectation.shares[self.expert])
        return abs(expected_share - self.share)

    def preference(self, expectation: Expectation) -> float:
        """The lowest cost comes first."""
        return expectation.cost


def is_met(target: Target, expectation: Expectation) -> bool:
    """Whether an expectation is within a target's tolerance."""
    return target.distance(expectation) <= target.tolerance


def calibrate(
    quality: Floats,
    cost: Floats,
    policy: TunablePolicy,
    target: Target,
    can_serve: NDArray[np.bool_] | None = None,
) -> Expectation:
    """Set a policy's number so that a target is met, or missed by as little as possible.

    Args:
        quality: Predicted, prompts × experts, 0–1.
        cost: USD of a call to each expert, (experts,), or of each pair, prompts × experts.
        policy: The policy whose number is set.
        target: What to meet.
        can_serve: Whether an expert can serve a prompt, prompts × experts; by default every one can.

    Raises:
        ConfigurationError: There are no prompts.
    """
    if not len(quality):
        raise ConfigurationError("no prompts: give some that are typical")

    values = policy.first_values(cost if cost.ndim == 1 else cost.mean(axis=0))
    for _ in range(_ZOOMS):
        expectations = []
        order = []
        for value in values:
            expectation = expect(quality, cost, policy, float(value), can_serve)
            expectations.append(expectation)
            order.append((target.distance(expectation), target.preference(expectation)))
        best = order.index(min(order))
        low = values[max(best - 1, 0)]
        high = values[min(best + 1, len(values) - 1)]
        values = np.linspace(low, high, _POINTS // 4)
    return expectations[best]


def expect(
    quality: Floats,
    cost: Floats,
    policy: TunablePolicy,
    value: float,
    can_serve: NDArray[np.bool_] | None = None,
) -> Expectation:
    """What a policy does with a number; see :func:`calibrate` for the arguments."""
    rank = policy.make(value)
    costs = np.broadcast_to(cost, quality.shape)
    preference = rank(quality, costs)
    if can_serve is not None:
        preference = np.where(can_serve, preference, -np.inf)
    choices = preference.argmax(axis=1)
    counts = np.bincount(choices, minlength=quality.shape[1])
    rows = np.arange(len(quality))
    return Expectation(
        value=value,
        quality=float(quality[rows, choices].mean()),
        cost=float(costs[rows, choices].mean()),
        shares=counts / len(quality),
    )
