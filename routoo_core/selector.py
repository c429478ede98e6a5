"""Step 4 of the path: predicted quality and cost become a ranking (paper §3.3).

A policy is a callable ``(quality, cost) → preference``, both arrays of shape (…, experts), cost in USD;
the expert with the highest preference is tried first. Any plain function of that form will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from math import isinf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.candidates import Candidate, costs, qualities
from routoo_core.errors import ConfigurationError
from routoo_core.latency import INDIFFERENT, LatencyRule
from routoo_core.money import decimal_usd, format_usd

Array = NDArray[np.floating[Any]]
Policy = Callable[[Array, Array], Array]

_FREE = 1e-12  # USD; stands in for a price of zero where a policy divides by cost


@dataclass(frozen=True, slots=True)
class Ratio:
    """The paper's ratio ``s / c^α`` (§3.3): α = 0 ignores cost, a larger α favours the cheap.

    Attributes:
        alpha: Weight of the cost, at least 0; the paper plots 1, 0.1 and 0.01.
    """

    alpha: float = 0.1

    def __post_init__(self) -> None:
        _at_least_zero("alpha", self.alpha)

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        preference: Array = quality / np.maximum(cost, _FREE) ** self.alpha
        return preference


@dataclass(frozen=True, slots=True)
class Lagrangian:
    """Quality less cost at a price: ``s - λ c``, the multiplier form of the budgeted assignment.

    Attributes:
        price: λ, quality per USD, at least 0.
    """

    price: float

    def __post_init__(self) -> None:
        _at_least_zero("price", self.price)

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        preference: Array = quality - self.price * cost
        return preference


@dataclass(frozen=True, slots=True)
class QualityFloor:
    """The cheapest expert that is good enough; when none is, the best.

    Attributes:
        floor: Predicted quality that is good enough, 0–1.
    """

    floor: float

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ConfigurationError(f"floor: {self.floor} is not between 0 and 1")

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert: every one above the floor comes before every one below."""
        cheapness = 1.0 + 1.0 / (1.0 + cost)
        preference: Array = np.where(quality >= self.floor, cheapness, quality - 1.0)
        return preference


@dataclass(frozen=True, slots=True)
class Best:
    """The highest predicted quality, whatever it costs."""

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        return quality


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The lowest expected cost, whatever the quality."""

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        return -cost


def _at_least_zero(name: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise ConfigurationError(f"{name}: {value} is not a finite number of at least 0")


@dataclass(frozen=True, slots=True)
class Loyalty:
    """How much a conversation holds to the expert that answered last.

    Attributes:
        expert: Who.
        margin: Predicted quality by which another must be better; infinite while a tool call is open.
    """

    expert: str
    margin: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The ranked candidates and why they stand so; nobody has been called yet.

    Attributes:
        candidates: Best first, never empty.
        policy: Name and parameters of what ranked them, e.g. ``{"name": "Lagrangian", "price": 12.5}``.
        fingerprint: The predictor's.
        predict_ms: Time the prediction took.
        loyalty: What spoke for the expert of the turn before, where there was one.
    """

    candidates: tuple[Candidate, ...]
    policy: Mapping[str, Any]
    fingerprint: str
    predict_ms: float
    loyalty: Loyalty | None = None

    def record(self) -> dict[str, Any]:
        """Plain JSON values, amounts as decimal USD; no prompt text."""
        return {
            "expert": self.candidates[0].expert.name,
            "policy": dict(self.policy),
            "candidates": [
                {
                    "expert": candidate.expert.name,
                    "quality": round(candidate.quality, 4),
                    "expected_usd": decimal_usd(candidate.expected_cost),
                    "maximum_usd": decimal_usd(candidate.maximum_cost),
                    "latency_s": None if candidate.latency is None else round(candidate.latency, 3),
                }
                for candidate in self.candidates
            ],
            "previous": self.loyalty and self.loyalty.expert,
            "open_tool_call": self.loyalty is not None and isinf(self.loyalty.margin),
            "predict_ms": round(self.predict_ms, 2),
            "router": self.fingerprint,
        }

    def explain(self) -> str:
        """Say in one line why the first candidate leads, and what the next one would have cost."""
        first, *rest = self.candidates
        settings = ", ".join(
            f"{key} {value:.4g}" for key, value in self.policy.items() if key != "name"
        )
        reason = (
            f"{first.expert.name}: predicted quality {first.quality:.2f} for "
            f"{format_usd(first.expected_cost)} ({self.policy['name']}{': ' + settings if settings else ''})"
        )
        if not rest:
            return reason
        return f"{reason}; next {rest[0].expert.name}: {rest[0].quality:.2f} for {format_usd(rest[0].expected_cost)}"


def rank(
    policy: Policy,
    candidates: Sequence[Candidate],
    latency: LatencyRule | None = None,
    loyalty: Loyalty | None = None,
) -> tuple[Candidate, ...]:
    """Order candidates by preference; equals by expected cost, then in the order given.

    With a latency rule, what a second costs is taken off the quality first, and experts that are too slow come last.
    With loyalty, the margin is added to the quality of the expert of the turn before, who comes first while its tool
    call is open.

    Raises:
        ConfigurationError: The policy returned something other than one finite number a candidate.
    """
    rule = latency or INDIFFERENT
    margin = [
        loyalty.margin if loyalty and loyalty.expert == c.expert.name else 0.0 for c in candidates
    ]
    held = np.isinf(margin)
    quality = (
        qualities(candidates)
        - [rule.penalty(c.latency) for c in candidates]
        + np.where(held, 0.0, margin)
    )
    preference = np.asarray(policy(np.maximum(quality, 0), costs(candidates)), dtype=np.float64)
    if preference.shape != (len(candidates),) or not np.isfinite(preference).all():
        raise ConfigurationError(
            f"policy {policy!r} must return {len(candidates)} finite numbers, got {preference}"
        )
    slow = [rule.is_slow(candidate.latency) for candidate in candidates]
    order = sorted(
        range(len(candidates)),
        key=lambda i: (not held[i], slow[i], -preference[i], candidates[i].expected_cost),
    )
    return tuple(candidates[i] for i in order)


def describe(policy: Policy) -> dict[str, Any]:
    """A policy's name and parameters, for the decision record."""
    if is_dataclass(policy) and not isinstance(policy, type):
        return {"name": type(policy).__name__, **asdict(policy)}
    return {"name": getattr(policy, "__name__", type(policy).__name__)}
