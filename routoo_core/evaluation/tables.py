"""The rows of a report, computed from what routers were served: the paper's Tables 1 and 2, Figures 2 to 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.solver import assign
from routoo_core.evaluation.report import (
    CurveBand,
    DomainRow,
    ExpertRow,
    OracleShares,
    RulePoint,
    RulePoints,
    TierRow,
)
from routoo_core.measures.curve import Array, ServedSweep
from routoo_core.measures.figures import Baseline
from routoo_core.measures.metrics import arena_score, oracle_shares
from routoo_core.measures.subjects import group_by_sub_category
from routoo_core.outcomes import Outcomes
from routoo_core.selector import Lagrangian, Ratio

TIERS = (0.03, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Budgets at which routers are shown, as shares of what the best single expert costs."""

GRID_SIZE = 200
"""How many costs a drawn curve has."""

SIZE_CLASSES: dict[str, float] = {
    "below 10B": 10.0,
    "10B to 40B": 40.0,
    "40B to 100B": 100.0,
    "100B and more": float("inf"),
}
"""Class of the paper's Figure 4 → billions of parameters that its models stay below."""

SIZE_UNKNOWN = "size unknown"


# Table 1


def expert_rows(
    split: Outcomes, sample: Outcomes, cost: Array, sizes: Mapping[str, float]
) -> tuple[ExpertRow, ...]:
    """Each expert alone.

    Args:
        split: All prompts of the split.
        sample: Those observed with every expert.
        cost: Of each expert, in the unit of the report.
        sizes: Expert → billions of parameters, where they are known.
    """
    scores = sample.scores.astype(np.float64)
    quality = scores.mean(axis=0)
    macro = _macro_average(scores, sample.domains)
    observed = (~np.isnan(split.scores)).sum(axis=0)

    rows = []
    for column, name in enumerate(sample.experts):
        row = ExpertRow(
            name=name,
            cost=float(cost[column]),
            quality=float(quality[column]),
            macro=float(macro[column]),
            observed=int(observed[column]),
            size_class=size_class(sizes.get(name)),
        )
        rows.append(row)
    return tuple(rows)


def size_class(billions: float | None) -> str:
    """The size class of a model.

    Args:
        billions: Its parameters in billions; ``None`` where they are not known.
    """
    if billions is None:
        return SIZE_UNKNOWN
    return next(name for name, end in SIZE_CLASSES.items() if billions < end)


def tier_bounds(scores: Array, costs: Array, baseline: Baseline) -> list[float]:
    """At each tier, the mean score that no assignment of the prompts can exceed: the optimum of the LP relaxation.

    Args:
        scores: Observed, prompts × experts, no NaN.
        costs: What each call costs, prompts × experts.
        baseline: The pool's.
    """
    count = len(scores)
    bounds = []
    for tier in TIERS:
        assignment = assign(scores, costs, tier * baseline.best_cost * count)
        bounds.append(assignment.bound / count)
    return bounds


def tier_rows(
    sweep: ServedSweep,
    cost: Array,
    baseline: Baseline,
    bounds: Sequence[float],
    domains: Sequence[str],
) -> tuple[TierRow, ...]:
    """Where a router stands at each tier, by the λ that spends the tier's budget.

    Args:
        sweep: The router's; how much a λ spends is known without looking at a score.
        cost: Of each expert, in the unit of the report.
        baseline: The pool's.
        bounds: See :func:`tier_bounds`.
        domains: The domain of each prompt.
    """
    lagrangian = sweep.of_kind(Lagrangian)
    hull = sweep.curve()
    dearest = int(cost.argmax())

    rows = []
    for tier, bound in zip(TIERS, bounds, strict=True):
        budget = tier * baseline.best_cost
        rule = lagrangian.row_within(budget)
        scores = lagrangian.score[rule]
        spending = float(lagrangian.cost[rule].mean())
        quality = float(scores.mean())
        shares = _shares_of_calls(lagrangian.choices[rule], len(cost))

        row = TierRow(
            tier=tier,
            cost=spending,
            quality=quality,
            macro=float(_macro_average(scores[:, None], domains)[0]),
            pgr=baseline.gap_recovered(quality),
            shares=tuple(shares),
            collapse=shares[dearest],
            regret=bound - float(hull.at(budget)),
            arena=arena_score(quality, spending),
        )
        rows.append(row)
    return tuple(rows)


def _shares_of_calls(choices: NDArray[np.int64], experts: int) -> list[float]:
    """Share of the calls of each expert, given the column chosen for each prompt."""
    calls = np.bincount(choices, minlength=experts)
    shares: list[float] = (calls / len(choices)).tolist()
    return shares


def _macro_average(scores: Array, domains: Sequence[str]) -> Array:
    """Mean over the domains of the mean in each, for each column."""
    rows_of = _rows_by_domain(domains)
    means_by_domain = [scores[rows].mean(axis=0) for rows in rows_of.values()]
    means: Array = np.mean(means_by_domain, axis=0)
    return means


def _rows_by_domain(domains: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    names = np.asarray(domains)
    rows_of = {}
    for name in np.unique(names):
        rows_of[str(name)] = np.flatnonzero(names == name)
    return rows_of


# Table 2


def oracle_table(scores: Array, cost: Array, guess: float) -> OracleShares:
    """Shares of an oracle, as observed and corrected for lucky guesses.

    Args:
        scores: Observed, prompts × experts, no NaN.
        cost: Of each expert, in the unit of the report.
        guess: Rate of lucky guesses, 0–1.
    """
    raw = oracle_shares(scores, cost)
    correction = oracle_shares(scores, cost, guess)
    return OracleShares(tuple(raw.tolist()), tuple(correction.tolist()), guess)


# Figure 3


def domain_rows(
    sweeps: Mapping[str, ServedSweep],
    scores: Array,
    domains: Sequence[str],
    budget: float,
    best: int,
) -> tuple[DomainRow, ...]:
    """Quality in each domain at a budget; MMLU's subjects are grouped by sub-category, as in the paper.

    Args:
        sweeps: The sweep of each router.
        scores: Observed, prompts × experts, no NaN.
        domains: The domain of each prompt.
        budget: Cost of a call on average, in the unit of the report.
        best: Column of the best single expert.
    """
    scores_of_routers = {}
    for name, sweep in sweeps.items():
        lagrangian = sweep.of_kind(Lagrangian)
        rule = lagrangian.row_within(budget)
        scores_of_routers[name] = lagrangian.score[rule]

    groups = group_by_sub_category(domains)
    result = []
    for domain, rows in _rows_by_domain(groups).items():
        routers = {}
        for name, router_scores in scores_of_routers.items():
            routers[name] = float(router_scores[rows].mean())
        row = DomainRow(
            domain=domain or "(none)",
            prompts=len(rows),
            best_single=float(scores[rows, best].mean()),
            best_here=float(scores[rows].mean(axis=0).max()),
            routers=routers,
        )
        result.append(row)
    return tuple(result)


# Figure 2


def curve_band(sweep: ServedSweep, cost: Array, resamples: Sequence[Array]) -> CurveBand:
    """The hull on a grid of costs, with a 95 % band by bootstrap over the prompts.

    Args:
        sweep: The router's.
        cost: Of each expert, in the unit of the report.
        resamples: See ``bootstrap_weights``.
    """
    grid = _cost_grid(cost)
    curves = np.stack([sweep.curve(weights).at(grid) for weights in resamples])
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    quality = sweep.curve().at(grid)

    return CurveBand(
        cost=tuple(grid.tolist()),
        quality=tuple(quality.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def _cost_grid(cost: Array) -> Array:
    """Costs from the lowest to the highest, evenly on a logarithmic scale; zero comes before them if it occurs."""
    positive = cost[cost > 0]
    if len(positive) == 0:
        return np.zeros(1)

    grid = np.geomspace(positive.min(), positive.max(), GRID_SIZE)
    if len(positive) < len(cost):
        return np.concatenate([[0.0], grid])
    return grid


def rule_points(sweep: ServedSweep) -> RulePoints:
    """Where the paper's ratio rule stands at each α, and the multiplier's rule at each λ."""
    mean_cost = sweep.cost.mean(axis=1).tolist()
    mean_score = sweep.score.mean(axis=1).tolist()

    ratio = []
    lagrangian = []
    for rule, cost, quality in zip(sweep.rules, mean_cost, mean_score, strict=True):
        if isinstance(rule, Ratio):
            ratio.append(RulePoint(rule.alpha, cost, quality))
        elif isinstance(rule, Lagrangian):
            lagrangian.append(RulePoint(rule.lambda_, cost, quality))
    return RulePoints(tuple(ratio), tuple(lagrangian))
