"""The offline assignment: every prompt is known, and so is how far from the optimum it can be (paper §3.3, Eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.selector import Array, PreferenceRule

UNASSIGNED = -1
"""Stands for a column where a prompt gets no expert."""

_CHUNK = 1 << 17  # pairs that are looked at together, so that they stay in the cache
_SAMPLE = 8_000  # prompts on which λ is bracketed before all are looked at
_WIDENING = 4.0  # factor by which a bracket that missed is widened
_MAX_HALVINGS = 100  # of a bracket; fewer are needed before floating point cannot halve it
_MAX_UPGRADED = 2_000  # prompts that the rest of the budget may upgrade
_FREE = 1e-300  # USD; stands in for an extra cost of zero where a gain is divided by it

Columns = NDArray[np.int32]
Choices = NDArray[np.intp]
Floats = NDArray[np.float64]
Rows = slice | NDArray[np.intp]


@dataclass(frozen=True)
class Assignment:
    """An expert for each prompt, and the certificate of how good that is.

    Attributes:
        choices: Column of the expert, or ``UNASSIGNED``, int32, (prompts,).
        quality: Predicted quality of all prompts together.
        cost: USD of all prompts together; at most the budget.
        budget: USD.
        bound: No assignment within the budget has more quality: the optimum of the LP relaxation.
        lambda_: λ of that bound, quality per USD.
    """

    choices: Columns = field(repr=False)
    quality: float
    cost: float
    budget: float
    bound: float
    lambda_: float

    @property
    def gap(self) -> float:
        """Share of the bound that is missing; the optimum is no further away."""
        if self.bound <= 0:
            return 0.0
        return max(0.0, 1 - self.quality / self.bound)


def assign(
    quality: Array,
    cost: Array,
    budget: float,
    policy: PreferenceRule | None = None,
    *,
    serve_all: bool = True,
) -> Assignment:
    """Assign every prompt to an expert within a budget for all of them together.

    Without a policy, the LP relaxation is solved by its multiplier λ. Each prompt gets ``argmax(quality - λ cost)``,
    and the rest of the budget upgrades prompts that are nearly indifferent at λ. The LP splits at most one prompt, so
    the gap is below one prompt's quality.

    With a policy, this is the paper's greedy: prompts in the order given, each to the first expert of the policy's
    ranking that the budget still allows.

    When the budget does not pay the cheapest expert for every prompt, some prompts get no expert.

    Args:
        quality: Predicted, prompts × experts, 0–1; an array on disk (``np.memmap``) will do.
        cost: USD of a call to each expert, (experts,), or of each pair, prompts × experts.
        budget: USD, at least 0.
        policy: ``Ratio(alpha)`` is the paper's; ``None`` solves the LP.
        serve_all: ``False`` may leave prompts without an expert even when the budget pays for all, where the money
            buys more elsewhere.

    Raises:
        ConfigurationError: The arrays do not fit or hold a number that is not finite, or a cost or the budget is
            negative.
    """
    problem = _Problem(quality, cost, budget)
    if not serve_all:
        problem.may_skip = True
    if policy is None:
        return _solve_lp(problem)

    choices = _assign_greedily(problem, policy)
    total = problem.total(np.arange(problem.count), choices)
    if (choices == UNASSIGNED).any():
        problem.may_skip = True  # the bound is over assignments that may skip prompts too
    optimum = _solve_lp(problem)
    return replace(optimum, choices=choices, quality=total.quality, cost=total.cost)


@dataclass(frozen=True)
class _Total:
    """Quality and USD of some prompts together."""

    quality: float
    cost: float


@dataclass(frozen=True)
class _Pairs:
    """Quality and cost of some prompts, (prompts, choices).

    The last choice is to skip the prompt, for quality 0 and cost 0, where the problem allows that.
    """

    quality: Floats
    cost: Floats

    def best(self, lambda_: float, rows: NDArray[np.intp]) -> Choices:
        """The choice of these prompts at λ."""
        choices = np.empty(len(rows), np.intp)
        for chunk in _row_chunks(len(rows), self.quality.shape[1]):
            chunk_rows = rows[chunk]
            value = self.quality[chunk_rows] - lambda_ * self.cost[chunk_rows]
            choices[chunk] = value.argmax(axis=1)
        return choices

    def quality_of(self, choices: Choices) -> Floats:
        """Quality of a choice for every prompt."""
        rows = np.arange(len(choices))
        return self.quality[rows, choices]

    def cost_of(self, choices: Choices) -> Floats:
        """USD of a choice for every prompt."""
        rows = np.arange(len(choices))
        return self.cost_in(rows, choices)

    def cost_in(self, rows: NDArray[np.intp], choices: Choices) -> Floats:
        """USD of these prompts under a choice for every prompt."""
        columns = choices[rows]
        return self.cost[rows, columns]


class _Problem:
    """The checked input of an assignment.

    Attributes:
        quality: Prompts × experts.
        cost: USD, (experts,) or prompts × experts.
        budget: USD.
        count: Number of prompts.
        experts: Number of experts.
        may_skip: Whether a prompt may get no expert, for quality 0 and cost 0.
    """

    def __init__(self, quality: Array, cost: Array, budget: float) -> None:
        _check_shapes(quality, cost)
        if not (np.isfinite(budget) and budget >= 0):
            raise ConfigurationError(f"budget: {budget} is not a finite amount of at least 0 USD")
        self.quality = quality
        self.cost = cost
        self.budget = float(budget)
        self.count, self.experts = quality.shape
        self._check_numbers()
        self.may_skip = self._cheapest_total() > self.budget

    def chunks(self) -> Iterator[slice]:
        """Slices over all prompts, small enough to stay in the cache."""
        return _row_chunks(self.count, self.experts)

    def costs(self, rows: Rows) -> Array:
        """USD of these prompts: (experts,), or (prompts, experts)."""
        if self.cost.ndim == 1:
            return self.cost
        return self.cost[rows]

    def pairs(self, rows: Rows) -> _Pairs:
        """Quality and cost of these prompts."""
        quality = np.asarray(self.quality[rows], dtype=np.float64)
        cost = np.asarray(self.costs(rows), dtype=np.float64)
        cost = np.ascontiguousarray(np.broadcast_to(cost, quality.shape))  # fast to index
        if self.may_skip:
            zeros = np.zeros((len(quality), 1))
            quality = np.concatenate([quality, zeros], axis=1)
            cost = np.concatenate([cost, zeros], axis=1)
        return _Pairs(quality, cost)

    def best(self, rows: slice, lambda_: float) -> Columns:
        """The column of each prompt at λ."""
        weighted_cost = lambda_ * self.costs(rows)
        value = self.quality[rows] - weighted_cost.astype(self.quality.dtype)
        choices: Columns = value.argmax(axis=1).astype(np.int32)
        if self.may_skip:
            best_value = value[np.arange(len(choices)), choices]
            choices[best_value < 0] = UNASSIGNED
        return choices

    def total(self, rows: NDArray[np.intp], choices: Columns) -> _Total:
        """Quality and USD of these prompts together."""
        is_served = choices != UNASSIGNED
        served_rows = rows[is_served]
        columns = choices[is_served]
        quality = self.quality[served_rows, columns]
        cost_index = columns if self.cost.ndim == 1 else (served_rows, columns)
        cost = self.cost[cost_index]
        return _Total(
            quality=float(quality.sum(dtype=np.float64)),
            cost=float(cost.sum(dtype=np.float64)),
        )

    def _check_numbers(self) -> None:
        is_valid = np.isfinite(self.cost) & (self.cost >= 0)
        if not is_valid.all():
            raise ConfigurationError("cost: every cost must be a finite number of at least 0")
        for rows in self.chunks():
            if not np.isfinite(self.quality[rows].sum()):
                raise ConfigurationError("quality: every quality must be a finite number")

    def _cheapest_total(self) -> float:
        """USD of the cheapest expert for every prompt."""
        if self.cost.ndim == 1:
            return float(self.cost.min() * self.count)
        totals = []
        for rows in self.chunks():
            cheapest = self.cost[rows].min(axis=1)
            totals.append(cheapest.sum(dtype=np.float64))
        return float(np.sum(totals))


def _row_chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices over the rows of a matrix, each of at most ``_CHUNK`` pairs."""
    step = max(1, _CHUNK // columns)
    for start in range(0, rows, step):
        end = min(start + step, rows)
        yield slice(start, end)


def _check_shapes(quality: Array, cost: Array) -> None:
    is_matrix = quality.ndim == 2 and quality.size > 0
    if not is_matrix or cost.shape not in {quality.shape, quality.shape[1:]}:
        raise ConfigurationError(
            f"cost: shape {cost.shape} does not fit quality {quality.shape}; "
            "give one cost for each expert or pair"
        )


@dataclass(frozen=True)
class _Partial:
    """An assignment of which some prompts are still undecided.

    Attributes:
        choices: Columns, provisional for the undecided prompts.
        open_rows: Rows.
        total: Quality and USD of all other prompts together.
    """

    choices: Columns
    open_rows: NDArray[np.intp]
    total: _Total


@dataclass(frozen=True)
class _Bracket:
    """Two values of λ with the least sufficient one between them.

    Attributes:
        low: Here the budget does not suffice, unless it equals ``high``.
        high: Here the budget suffices.
        choices: The choices at ``high``.
    """

    low: float
    high: float
    choices: Choices


def _solve_lp(problem: _Problem) -> Assignment:
    """Find the least λ at which the budget suffices.

    λ is bracketed on a sample. A prompt with the same best choice at both ends of the bracket has it in between too, so
    only the others, a few per cent, are looked at again.
    """
    if problem.count <= _SAMPLE:
        open_rows = np.arange(problem.count)
        choices = np.zeros(problem.count, np.int32)
        partial = _Partial(choices, open_rows, _Total(0.0, 0.0))
        return _decide(problem, partial, 0.0, _highest_lambda(problem, open_rows))

    brackets = _sampled_brackets(problem)
    result = None
    while result is None:
        low, high = next(brackets)
        result = _settle(problem, low, high)
    return _decide(problem, result, low, high)


def _sampled_brackets(problem: _Problem) -> Iterator[tuple[float, float]]:
    """Brackets of λ from a sample of the prompts, each wider than the one before."""
    rows = np.linspace(0, problem.count - 1, _SAMPLE).astype(np.intp)
    sample = problem.pairs(rows)
    budget = problem.budget * _SAMPLE / problem.count
    highest = _highest_lambda(problem, rows)

    estimate = _bracket(sample, budget, 0.0, highest)
    deviation = sample.cost_of(estimate.choices).std() + sample.cost.mean() / 1000
    margin = _WIDENING * float(deviation) * _SAMPLE**0.5
    while True:
        low = _bracket(sample, budget + margin, 0.0, highest).low
        high = highest
        if margin < budget:
            high = _bracket(sample, budget - margin, 0.0, highest).high
        yield low, high
        margin *= _WIDENING
        highest *= _WIDENING


def _highest_lambda(problem: _Problem, rows: NDArray[np.intp]) -> float:
    """A λ at which no quality is worth a dearer expert."""
    cost = np.sort(problem.pairs(rows).cost, axis=1)
    steps = np.diff(cost, axis=1)
    smallest_step = steps[steps > 0].min(initial=np.inf)
    if not np.isfinite(smallest_step):
        return 1.0
    highest_quality = max(1.0, problem.quality.max())
    return float(2 * highest_quality / smallest_step)


def _settle(problem: _Problem, low: float, high: float) -> _Partial | None:
    """Decide the prompts that choose alike at both λ; ``None`` if the least λ is not between them."""
    choices = np.empty(problem.count, np.int32)
    is_decided = np.empty(problem.count, bool)
    quality = 0.0
    cost = 0.0
    undecided_cost_low = 0.0
    undecided_cost_high = 0.0
    for rows in problem.chunks():
        chosen_low = problem.best(rows, low)
        chosen_high = problem.best(rows, high)
        is_same = chosen_low == chosen_high
        choices[rows] = chosen_high
        is_decided[rows] = is_same

        numbers = np.arange(rows.start, rows.stop)
        common_total = problem.total(numbers[is_same], chosen_high[is_same])
        quality += common_total.quality
        cost += common_total.cost
        open_rows = numbers[~is_same]
        total_low = problem.total(open_rows, chosen_low[~is_same])
        total_high = problem.total(open_rows, chosen_high[~is_same])
        undecided_cost_low += total_low.cost
        undecided_cost_high += total_high.cost

    is_above = cost + undecided_cost_high > problem.budget
    is_below = cost + undecided_cost_low < problem.budget and low > 0
    if is_above or is_below:
        return None
    return _Partial(choices, np.flatnonzero(~is_decided), _Total(quality, cost))


def _bracket(pairs: _Pairs, budget: float, low: float, high: float) -> _Bracket:
    """Halve a bracket of the least λ at which a budget suffices, until floating point cannot halve it.

    Prompts that choose alike at both ends are left alone from then on.
    """
    all_rows = np.arange(len(pairs.quality))
    chosen_low = pairs.best(low, all_rows)
    if float(pairs.cost_of(chosen_low).sum()) <= budget:
        return _Bracket(low, low, chosen_low)

    choices = pairs.best(high, all_rows)
    active = np.flatnonzero(chosen_low != choices)
    active_cost = pairs.cost_in(active, choices)
    total_cost = pairs.cost_of(choices).sum()
    fixed_cost = float(total_cost - active_cost.sum())
    for _ in range(_MAX_HALVINGS):
        middle = (low + high) / 2
        if not len(active) or not low < middle < high:
            break

        chosen_middle = pairs.best(middle, active)
        middle_costs = pairs.cost[active, chosen_middle]
        middle_cost = float(middle_costs.sum())
        if fixed_cost + middle_cost <= budget:
            high = middle
            choices[active] = chosen_middle
        else:
            low = middle
            chosen_low[active] = chosen_middle

        is_changing = chosen_low[active] != choices[active]
        active_cost = pairs.cost_in(active, choices)
        fixed_cost += float(active_cost[~is_changing].sum())
        active = active[is_changing]
    return _Bracket(low, high, choices)


def _decide(problem: _Problem, partial: _Partial, low: float, high: float) -> Assignment:
    """Decide the undecided prompts, with the least λ between ``low`` and ``high``."""
    total = partial.total
    budget = problem.budget - total.cost
    pairs = problem.pairs(partial.open_rows)
    bracket = _bracket(pairs, budget, low, high)
    lambda_ = bracket.high

    bracket_quality = pairs.quality_of(bracket.choices)
    bracket_cost = pairs.cost_of(bracket.choices)
    value = bracket_quality - lambda_ * bracket_cost
    bound = total.quality + float(value.sum()) + lambda_ * budget
    rounding = float(np.finfo(problem.quality.dtype).eps)  # of the comparisons with λ
    bound += problem.count * rounding

    choices = _upgrade(pairs, bracket.choices, budget)
    quality = total.quality + float(pairs.quality_of(choices).sum())
    cost = total.cost + float(pairs.cost_of(choices).sum())
    is_served = choices < problem.experts
    partial.choices[partial.open_rows] = np.where(is_served, choices, UNASSIGNED)
    return Assignment(
        choices=partial.choices,
        quality=quality,
        cost=cost,
        budget=problem.budget,
        bound=max(bound, quality),
        lambda_=lambda_,
    )


def _upgrade(pairs: _Pairs, choices: Choices, budget: float) -> Choices:
    """Upgrade prompts while the budget lasts, where a dollar buys the most first."""
    better_choices = choices.copy()
    rest = budget - float(pairs.cost_of(choices).sum())
    rows = np.arange(min(len(choices), _MAX_UPGRADED))
    chosen_quality = pairs.quality[rows, choices[rows]]
    chosen_cost = pairs.cost[rows, choices[rows]]
    gain = pairs.quality[rows] - chosen_quality[:, None]
    extra_cost = pairs.cost[rows] - chosen_cost[:, None]

    is_useful = (gain > 0) & (extra_cost <= rest)
    rate = gain / np.maximum(extra_cost, _FREE)
    gain_per_usd = np.where(is_useful, rate, 0.0)
    best_choice = gain_per_usd.argmax(axis=1)
    best_rate = gain_per_usd[rows, best_choice]
    for row in np.argsort(-best_rate, kind="stable"):
        if best_rate[row] <= 0:
            break
        choice = best_choice[row]
        extra = float(extra_cost[row, choice])
        if extra <= rest:
            rest -= extra
            better_choices[row] = choice
    return better_choices


def _assign_greedily(problem: _Problem, policy: PreferenceRule) -> Columns:
    """The paper's assignment: prompts in order, each to the first expert of the ranking that is affordable."""
    choices = np.full(problem.count, UNASSIGNED, np.int32)
    rest = problem.budget
    cheapest = float(problem.cost.min())
    for rows in problem.chunks():
        quality = np.asarray(problem.quality[rows], dtype=np.float64)
        cost = np.asarray(problem.costs(rows), dtype=np.float64)
        cost = np.broadcast_to(cost, quality.shape)
        preferences = policy(quality, cost)
        prompts = zip(preferences, cost, strict=True)
        for row, (preference, prompt_cost) in enumerate(prompts, start=rows.start):
            if rest < cheapest:
                return choices
            is_affordable = prompt_cost <= rest
            if is_affordable.any():
                column = np.where(is_affordable, preference, -np.inf).argmax()
                choices[row] = column
                rest -= float(prompt_cost[column])
    return choices
