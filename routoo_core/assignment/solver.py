"""Offline: every prompt is known, and so is how far from the optimum an assignment can be (paper §3.3, Eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.selector import Array, PreferenceRule

UNASSIGNED = -1
_CHUNK = 1 << 17  # pairs looked at together: they stay in the cache
_SAMPLE = 8_000  # prompts that bracket λ before all are looked at
_WIDEN = 4.0
_EXACT = 100  # halvings
_UPGRADED = 2_000  # prompts that what is left may upgrade

Chosen = NDArray[np.int32]
Rows = slice | NDArray[np.intp]


@dataclass(frozen=True)
class Assignment:
    """Who answers each prompt, and the certificate of how good that is.

    Attributes:
        chosen: Column of the expert, or ``UNASSIGNED``, int32, (prompts,).
        quality: Predicted quality of all prompts together.
        cost: USD of all prompts together; at most the budget.
        budget: USD.
        bound: No assignment within the budget has more quality: the optimum of the LP relaxation.
        lambda_: λ of that bound, quality per USD.
    """

    chosen: Chosen = field(repr=False)
    quality: float
    cost: float
    budget: float
    bound: float
    lambda_: float

    @property
    def gap(self) -> float:
        """Share of the bound that is missing; the optimum is no further away."""
        return max(0.0, 1 - self.quality / self.bound) if self.bound > 0 else 0.0


def assign(
    quality: Array,
    cost: Array,
    budget: float,
    policy: PreferenceRule | None = None,
    *,
    serve_all: bool = True,
) -> Assignment:
    """Assign every prompt to an expert within a budget for all of them together.

    Without a policy the LP relaxation is solved by its multiplier λ: each prompt gets ``argmax(quality - λ cost)``, and
    what is left of the budget upgrades prompts that are nearly indifferent at λ. The LP splits at most one prompt, so
    the gap is below one prompt's quality. With a policy this is the paper's greedy: prompts in the order given, each to
    the first expert of the policy's ranking that the budget still allows.

    When the budget does not pay the cheapest expert for every prompt, some prompts get nobody.

    Args:
        quality: Predicted, prompts × experts, 0–1; an array on disk (``np.memmap``) will do.
        cost: USD of a call to each expert, (experts,), or of each pair, prompts × experts.
        budget: USD, at least 0.
        policy: ``Ratio(alpha)`` is the paper's; ``None`` solves the LP.
        serve_all: ``False`` leaves prompts to nobody also when the budget pays for all, where that buys more elsewhere.

    Raises:
        ConfigurationError: The arrays do not fit or hold something that is not finite, or a cost or the budget is
            negative.
    """
    problem = _Problem(quality, cost, budget)
    problem.skip |= not serve_all
    if policy is None:
        return _solve(problem)
    chosen = _greedy(problem, policy)
    value, spent = problem.total(np.arange(problem.count), chosen)
    problem.skip |= bool((chosen == UNASSIGNED).any())  # the bound is for those who may do the same
    return replace(_solve(problem), chosen=chosen, quality=value, cost=spent)


class _Problem:
    """Checked input. ``skip`` says that leaving a prompt to nobody, for quality 0 and cost 0, is a choice too."""

    def __init__(self, quality: Array, cost: Array, budget: float) -> None:
        if (
            quality.ndim != 2
            or not quality.size
            or cost.shape not in {quality.shape, quality.shape[1:]}
        ):
            raise ConfigurationError(
                f"cost: shape {cost.shape} does not fit quality {quality.shape}; give one cost for each expert or pair"
            )
        if not (np.isfinite(budget) and budget >= 0):
            raise ConfigurationError(f"budget: {budget} is not a finite amount of at least 0 USD")
        self.quality, self.cost, self.budget = quality, cost, float(budget)
        self.count, self.experts = quality.shape
        self.skip = self._cheapest() > self.budget

    def chunks(self) -> Iterator[slice]:
        """Slices over all prompts, small enough to stay in the cache."""
        step = max(1, _CHUNK // self.experts)
        for start in range(0, self.count, step):
            yield slice(start, min(start + step, self.count))

    def costs(self, rows: Rows) -> Array:
        """Costs of these prompts: (experts,), or (prompts, experts)."""
        return self.cost if self.cost.ndim == 1 else self.cost[rows]

    def pairs(self, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Quality and cost of these prompts, (prompts, choices); the last choice is nobody when that is one."""
        quality = np.asarray(self.quality[rows], dtype=np.float64)
        cost = np.broadcast_to(np.asarray(self.costs(rows), dtype=np.float64), quality.shape)
        nothing = np.zeros((len(quality), 1 if self.skip else 0))
        return np.concatenate([quality, nothing], axis=1), np.concatenate([cost, nothing], axis=1)

    def best(self, rows: slice, price: float) -> Chosen:
        """The choice of each prompt at λ."""
        worth = self.quality[rows] - (price * self.costs(rows)).astype(self.quality.dtype)
        chosen: Chosen = worth.argmax(axis=1).astype(np.int32)
        if self.skip:
            chosen[worth[np.arange(len(chosen)), chosen] < 0] = UNASSIGNED
        return chosen

    def total(self, rows: NDArray[np.intp], chosen: Chosen) -> tuple[float, float]:
        """Quality and USD of these prompts together."""
        served = chosen != UNASSIGNED
        rows, chosen = rows[served], chosen[served]
        cost = self.cost[chosen] if self.cost.ndim == 1 else self.cost[rows, chosen]
        return float(self.quality[rows, chosen].sum(dtype=np.float64)), float(
            cost.sum(dtype=np.float64)
        )

    def _cheapest(self) -> float:
        """USD of the cheapest expert for every prompt."""
        if not (np.isfinite(self.cost).all() and (self.cost >= 0).all()):
            raise ConfigurationError("cost: every cost must be a finite number of at least 0")
        if not all(np.isfinite(self.quality[rows].sum()) for rows in self.chunks()):
            raise ConfigurationError("quality: every quality must be a finite number")
        if self.cost.ndim == 1:
            return float(self.cost.min() * self.count)
        least = [self.cost[rows].min(axis=1).sum(dtype=np.float64) for rows in self.chunks()]
        return float(np.sum(least))


@dataclass(frozen=True)
class _Partial:
    """Choices, provisional for the ``undecided`` prompts; quality and USD of all others together."""

    chosen: Chosen
    undecided: NDArray[np.intp]
    quality: float
    cost: float


def _solve(problem: _Problem) -> Assignment:
    """Find the least λ at which the budget suffices.

    λ is bracketed on a sample. A prompt with the same best choice at both ends of the bracket has it in between too, so
    only the others, a few per cent, are looked at again.
    """
    if problem.count <= _SAMPLE:
        every = np.arange(problem.count)
        return _finish(
            problem,
            _Partial(np.zeros(problem.count, np.int32), every, 0, 0),
            0,
            _dearest(problem, every),
        )
    rows = np.linspace(0, problem.count - 1, _SAMPLE).astype(np.intp)
    quality, cost = problem.pairs(rows)
    share, top = problem.budget * _SAMPLE / problem.count, _dearest(problem, rows)
    middle = _narrow(quality, cost, share, 0.0, top)
    spread = float(cost[np.arange(_SAMPLE), middle.own].std() + cost.mean() / 1000)
    margin = _WIDEN * spread * _SAMPLE**0.5
    while True:
        low = _narrow(quality, cost, share + margin, 0.0, top).low
        high = _narrow(quality, cost, share - margin, 0.0, top).high if margin < share else top
        settled = _between(problem, low, high)
        if settled is not None:
            return _finish(problem, settled, low, high)
        margin, top = margin * _WIDEN, top * _WIDEN


def _dearest(problem: _Problem, rows: NDArray[np.intp]) -> float:
    """A λ at which no dollar more than needed is worth it."""
    cost = np.sort(problem.pairs(rows)[1], axis=1)
    steps = np.diff(cost, axis=1)
    smallest = steps[steps > 0].min(initial=np.inf)
    return float(2 * max(1.0, problem.quality.max()) / smallest) if np.isfinite(smallest) else 1.0


def _between(problem: _Problem, low: float, high: float) -> _Partial | None:
    """Settle the prompts that choose alike at both λ; ``None`` if the least λ is not between them."""
    chosen, alike = np.empty(problem.count, np.int32), np.empty(problem.count, bool)
    quality = cost = cost_low = cost_high = 0.0
    for rows in problem.chunks():
        left, right, every = (
            problem.best(rows, low),
            problem.best(rows, high),
            np.arange(rows.start, rows.stop),
        )
        same = left == right
        value, spent = problem.total(every[same], right[same])
        quality, cost = quality + value, cost + spent
        cost_low += problem.total(every[~same], left[~same])[1]
        cost_high += problem.total(every[~same], right[~same])[1]
        chosen[rows], alike[rows] = right, same
    if cost + cost_high > problem.budget or (cost + cost_low < problem.budget and low > 0):
        return None
    return _Partial(chosen, np.flatnonzero(~alike), quality, cost)


@dataclass(frozen=True)
class _Narrowed:
    """λ between two numbers that floating point hardly tells apart, and the choices at the upper one."""

    low: float
    high: float
    own: NDArray[np.intp]


def _narrow(
    quality: NDArray[np.float64], cost: NDArray[np.float64], budget: float, low: float, high: float
) -> _Narrowed:
    """Halve the bracket of the least λ at which ``budget`` suffices; prompts that no longer change are left alone."""

    def best(price: float, of: NDArray[np.intp] | slice) -> NDArray[np.intp]:
        chosen: NDArray[np.intp] = (quality[of] - price * cost[of]).argmax(axis=1)
        return chosen

    every = np.arange(len(quality))
    left, own = best(low, slice(None)), best(high, slice(None))
    if float(cost[every, left].sum()) <= budget:
        return _Narrowed(low, low, left)
    active = np.flatnonzero(left != own)
    fixed = float(cost[every, own].sum() - cost[active, own[active]].sum())
    for _ in range(_EXACT):
        middle = (low + high) / 2
        if not len(active) or not low < middle < high:
            break
        chosen = best(middle, active)
        if fixed + float(cost[active, chosen].sum()) <= budget:
            high, own[active] = middle, chosen
        else:
            low, left[active] = middle, chosen
        changing = left[active] != own[active]
        fixed += float(cost[active, own[active]][~changing].sum())
        active = active[changing]
    return _Narrowed(low, high, own)


def _finish(problem: _Problem, settled: _Partial, low: float, high: float) -> Assignment:
    """Decide the undecided prompts."""
    left = problem.budget - settled.cost
    quality, cost = problem.pairs(settled.undecided)
    found = _narrow(quality, cost, left, low, high)
    rows, own, price = np.arange(len(quality)), found.own, found.high
    bound = (
        settled.quality + float((quality[rows, own] - price * cost[rows, own]).sum()) + price * left
    )
    bound += problem.count * float(
        np.finfo(problem.quality.dtype).eps
    )  # rounding in the comparisons above
    _spend_rest(quality, cost, own, left)
    value, spent = (
        settled.quality + float(quality[rows, own].sum()),
        settled.cost + float(cost[rows, own].sum()),
    )
    settled.chosen[settled.undecided] = np.where(own < problem.experts, own, UNASSIGNED)
    return Assignment(settled.chosen, value, spent, problem.budget, max(bound, value), price)


def _spend_rest(
    quality: NDArray[np.float64], cost: NDArray[np.float64], own: NDArray[np.intp], budget: float
) -> None:
    """Upgrade prompts while the budget lasts, where a dollar buys the most first; changes ``own``."""
    left = budget - float(cost[np.arange(len(own)), own].sum())
    rows = np.arange(min(len(own), _UPGRADED))
    gain, extra = (
        quality[rows] - quality[rows, own[rows]][:, None],
        cost[rows] - cost[rows, own[rows]][:, None],
    )
    useful = (gain > 0) & (extra <= left)
    rate = np.where(useful, gain / np.maximum(extra, 1e-300), 0.0)
    best = rate.argmax(axis=1)
    for row in np.argsort(-rate[rows, best], kind="stable"):
        if rate[row, best[row]] <= 0:
            break
        if extra[row, best[row]] <= left:
            left -= float(extra[row, best[row]])
            own[row] = best[row]


def _greedy(problem: _Problem, policy: PreferenceRule) -> Chosen:
    """The paper's assignment: in order, the first of the ranking that what is left pays for."""
    chosen, left = np.full(problem.count, UNASSIGNED, np.int32), problem.budget
    least = float(problem.cost.min())
    for rows in problem.chunks():
        quality = np.asarray(problem.quality[rows], dtype=np.float64)
        cost = np.broadcast_to(np.asarray(problem.costs(rows), dtype=np.float64), quality.shape)
        preference = policy(quality, cost)
        for row, (wish, price) in enumerate(zip(preference, cost, strict=True), start=rows.start):
            if left < least:
                return chosen
            affordable = price <= left
            if affordable.any():
                chosen[row] = np.where(affordable, wish, -np.inf).argmax()
                left -= float(price[chosen[row]])
    return chosen
