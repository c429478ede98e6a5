"""The quality–cost curve: what each average spend buys, and the figures read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.selector import Lagrangian, Policy, Ratio

Array = NDArray[np.float64]
LAMBDAS: tuple[float, ...] = (0.0, *np.geomspace(1e-3, 1e4, 141).tolist())
ALPHAS: tuple[float, ...] = (0.0, *np.geomspace(1e-3, 10.0, 81).tolist())


@dataclass(frozen=True, slots=True)
class Always:
    """Not a router: one expert for every prompt.

    Attributes:
        column: The expert's.
    """

    column: int

    def __call__(
        self, quality: NDArray[np.floating], cost: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Preference of each expert."""
        preference = np.zeros_like(quality)
        preference[..., self.column] = 1
        return preference


@dataclass(frozen=True)
class Replay:
    """What serving every prompt under every policy would have cost and scored.

    Attributes:
        policies: What was served by.
        cost: Of the chosen expert, policies × prompts.
        score: Observed for the chosen expert, policies × prompts, 0–1.
        chosen: Its column, policies × prompts.
    """

    policies: tuple[Policy, ...]
    cost: Array = field(repr=False)
    score: Array = field(repr=False)
    chosen: NDArray[np.int64] = field(repr=False)

    def under(self, kind: type) -> Replay:
        """Under the policies of one kind only."""
        rows = [row for row, policy in enumerate(self.policies) if isinstance(policy, kind)]
        return Replay(
            tuple(self.policies[row] for row in rows),
            self.cost[rows],
            self.score[rows],
            self.chosen[rows],
        )

    def spending(self, budget: float) -> int:
        """The policy that spends the most within ``budget`` a prompt, else the cheapest: no score is looked at.

        Of equals the first.
        """
        cost = self.cost.mean(1)
        affordable = cost <= budget * (1 + 1e-9)
        return (
            int(np.where(affordable, cost, -np.inf).argmax())
            if affordable.any()
            else int(cost.argmin())
        )

    def curve(self, weights: Array | None = None) -> Curve:
        """The curve over all prompts, or over a resample given as one weight a prompt (summing to 1)."""
        weights = (
            np.full(self.cost.shape[1], 1 / self.cost.shape[1]) if weights is None else weights
        )
        return Curve(self.cost @ weights, self.score @ weights)


@dataclass(frozen=True)
class Curve:
    """Points of mean cost and mean observed quality, one for each policy."""

    cost: Array = field(repr=False)
    quality: Array = field(repr=False)

    def vertices(self) -> tuple[Array, Array]:
        """Cost and quality of the upper hull's corners, both strictly rising."""
        upper: list[tuple[float, float]] = []
        for point in sorted(zip(self.cost.tolist(), self.quality.tolist(), strict=True)):
            if (
                upper and upper[-1][0] == point[0]
            ):  # sorted: the later one at the same cost is the better
                upper.pop()
            while len(upper) > 1 and _below(upper[-2], upper[-1], point):
                upper.pop()
            upper.append(point)
        best = max(range(len(upper)), key=lambda i: upper[i][1])
        cost, quality = np.array(upper[: best + 1], dtype=np.float64).T
        return cost, quality

    def at(self, cost: Array | float) -> Array:
        """Quality at each ``cost`` on the upper hull: what mixing the policies buys."""
        return np.asarray(np.interp(cost, *self.vertices()))

    def area(self, cheapest: float, dearest: float) -> float:
        """Mean quality over the cost range from ``cheapest`` to ``dearest``; of no range, the quality there."""
        if dearest <= cheapest:
            return float(self.at(cheapest))
        corners = self.vertices()[0]
        inside = corners[(corners > cheapest) & (corners < dearest)]
        grid = np.concatenate([[cheapest], inside, [dearest]])  # the hull is straight between these
        return float(np.trapezoid(self.at(grid), grid) / (dearest - cheapest))

    def cost_of(self, quality: float) -> float:
        """Least cost at which the hull reaches ``quality``; infinite if it never does."""
        costs, qualities = self.vertices()
        return (
            float(np.interp(quality, qualities, costs))
            if quality <= qualities[-1] + 1e-12
            else float("inf")
        )


def _below(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether ``b`` lies on or below the line from ``a`` to ``c``."""
    return (b[0] - a[0]) * (c[1] - a[1]) >= (b[1] - a[1]) * (c[0] - a[0])


def sweep(cost: Array) -> list[Policy]:
    """The served selectors over their whole range: every λ (in units of 1 / dearest cost) and every α."""
    unit = 1 / (float(np.max(cost)) or 1.0)
    return [*(Lagrangian(price * unit) for price in LAMBDAS), *(Ratio(alpha) for alpha in ALPHAS)]


def replay(quality: Array, scores: Array, cost: Array, policies: Sequence[Policy]) -> Replay:
    """Serve every prompt under each policy and book what was observed.

    Args:
        quality: Predicted, prompts × experts.
        scores: Observed, prompts × experts, no NaN.
        cost: USD for each expert, or prompts × experts.
        policies: The same objects the router serves with.
    """
    cost, rows = np.broadcast_to(cost, quality.shape), np.arange(len(quality))
    chosen = [np.argmax(policy(quality, cost), axis=1) for policy in policies]
    spent, scored = ([table[rows, c] for c in chosen] for table in (cost, scores))
    return Replay(tuple(policies), np.stack(spent), np.stack(scored), np.stack(chosen))


@dataclass(frozen=True)
class Figures:
    """What a curve says beside the best single expert; infinite where never, NaN where there is nothing to divide by.

    Attributes:
        area: Mean quality between the cheapest expert's cost and the best single expert's.
        half: Quality at half the best single expert's cost, divided by its quality.
        three_quarters: The same at three quarters of its cost.
        gain: Quality at its cost less its quality.
        aiq: Mean quality between the cheapest expert's cost and the dearest's; RouterBench's AIQ.
        match: Share of its cost needed to match its quality.
        apgr: Share of the way from the cheapest expert's quality to its, averaged over the cost range; with two
            experts RouteLLM's average performance gap recovered.
        cpt50: Share of the cost range needed to go half that way. With two experts RouteLLM's CPT(50 %), the share of
            calls the dear one gets.
        cpt80: The same for four fifths of that way.
    """

    area: float
    half: float
    three_quarters: float
    gain: float
    aiq: float
    match: float
    apgr: float
    cpt50: float
    cpt80: float


@dataclass(frozen=True)
class Anchor:
    """The best single expert, which a curve is held against.

    Attributes:
        quality: Its mean observed score.
        cost: Its USD.
        cheapest: USD of the cheapest expert in the pool.
        cheapest_quality: That expert's mean observed score.
        dearest: USD of the dearest expert in the pool.
    """

    quality: float
    cost: float
    cheapest: float
    cheapest_quality: float
    dearest: float

    def recovered(self, quality: float) -> float:
        """Performance gap recovered (RouteLLM's PGR): how far ``quality`` is on the way from the cheapest expert's."""
        return _ratio(quality - self.cheapest_quality, self.quality - self.cheapest_quality)

    def threshold(self, curve: Curve, share: float) -> float:
        """RouteLLM's CPT: share of the cost range at which ``share`` of the gap is recovered."""
        gap = self.quality - self.cheapest_quality
        if gap <= 0:
            return float("nan")
        needed = curve.cost_of(self.cheapest_quality + share * gap)
        return float(np.maximum(0.0, _ratio(needed - self.cheapest, self.cost - self.cheapest)))


def figures(curve: Curve, anchor: Anchor) -> Figures:
    """Read the figures off a curve."""
    area = curve.area(anchor.cheapest, anchor.cost)
    return Figures(
        area=area,
        half=_ratio(float(curve.at(anchor.cost / 2)), anchor.quality),
        three_quarters=_ratio(float(curve.at(anchor.cost * 3 / 4)), anchor.quality),
        gain=float(curve.at(anchor.cost)) - anchor.quality,
        aiq=curve.area(anchor.cheapest, anchor.dearest),
        match=_ratio(curve.cost_of(anchor.quality), anchor.cost),
        apgr=anchor.recovered(area),
        cpt50=anchor.threshold(curve, 0.5),
        cpt80=anchor.threshold(curve, 0.8),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
