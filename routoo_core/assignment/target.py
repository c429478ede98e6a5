"""``routoo calibrate``: which α, λ or floor meets a target, and what to expect of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.selector import Lagrangian, Policy, QualityFloor, Ratio

Floats = NDArray[np.floating[Any]]

_POINTS, _ZOOMS = 200, 4
_NEARLY = 1e-9


@dataclass(frozen=True)
class Knob:
    """A policy with one number to turn.

    Attributes:
        field: The number's name in ``routoo.toml``.
        make: Number → policy.
        places: Numbers to try first, rising, given the cost of every call.
    """

    field: str
    make: Callable[[float], Policy]
    places: Callable[[Floats], Floats]


def _prices(cost: Floats) -> Floats:
    steps = np.diff(np.unique(cost))
    smallest = float(steps.min()) if len(steps) else 1.0
    return np.concatenate(
        [[0.0], np.geomspace(1e-3 / float(cost.max() or 1.0), 2.0 / smallest, _POINTS)]
    )


KNOBS: dict[str, Knob] = {
    "lagrangian": Knob("price", Lagrangian, _prices),
    "ratio": Knob(
        "alpha", Ratio, lambda _: np.concatenate([[0.0], np.geomspace(1e-4, 100.0, _POINTS)])
    ),
    "quality_floor": Knob("floor", QualityFloor, lambda _: np.linspace(0, 1, _POINTS + 1)),
}


@dataclass(frozen=True)
class Expectation:
    """What a policy would do on the given prompts.

    Attributes:
        value: The policy's number.
        quality: Mean predicted quality.
        cost: Mean USD of a call.
        shares: Share of the calls for each expert.
    """

    value: float
    quality: float
    cost: float
    shares: NDArray[np.float64] = field(repr=False)


Miss = Callable[[Expectation], tuple[float, float]]
"""How far an expectation is from the target, then what to prefer among equals; both the lower the better."""


def cost_at_most(target: float) -> Miss:
    """The best quality for at most so many USD a call."""
    return lambda found: (max(found.cost - target, 0.0), -found.quality)


def quality_at_least(target: float) -> Miss:
    """The least cost for at least this mean quality."""
    return lambda found: (max(target - found.quality, 0.0), found.cost)


def share_of(expert: int, target: float) -> Miss:
    """As near as possible to this share of the calls for one expert."""
    return lambda found: (abs(found.shares[expert] - target), found.cost)


def calibrate(quality: Floats, cost: Floats, knob: Knob, miss: Miss) -> Expectation:
    """Turn the knob until the target is met, or missed by as little as possible.

    Args:
        quality: Predicted, prompts × experts.
        cost: USD of a call to each expert, (experts,).
        knob: What to turn.
        miss: What to come near to.

    Raises:
        ConfigurationError: There are no prompts.
    """
    if not len(quality):
        raise ConfigurationError("no prompts: give some that are typical")
    places = knob.places(cost)
    for _ in range(_ZOOMS):
        found = [expect(quality, cost, knob, float(value)) for value in places]
        best = min(range(len(found)), key=lambda k: miss(found[k]))
        places = np.linspace(
            places[max(best - 1, 0)], places[min(best + 1, len(places) - 1)], _POINTS // 4
        )
    return min(found, key=miss)


def expect(quality: Floats, cost: Floats, knob: Knob, value: float) -> Expectation:
    """What the policy does with this number."""
    rows = np.arange(len(quality))
    chosen = knob.make(value)(quality, np.broadcast_to(cost, quality.shape)).argmax(axis=1)
    shares = np.bincount(chosen, minlength=quality.shape[1]) / len(quality)
    return Expectation(
        value, float(quality[rows, chosen].mean()), float(cost[chosen].mean()), shares
    )


def is_met(found: Expectation, miss: Miss, tolerance: float = _NEARLY) -> bool:
    """Whether a target was reached."""
    return bool(miss(found)[0] <= tolerance)
