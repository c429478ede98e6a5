"""What a report shows of a replay: the paper's Tables 1 and 2 and Figures 2 to 4, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.solver import assign
from routoo_core.measures.curve import Array, ServedSweep
from routoo_core.measures.figures import Baseline, json_figure
from routoo_core.measures.metrics import arena_score
from routoo_core.measures.subjects import group_by_sub_category
from routoo_core.outcomes import Outcomes
from routoo_core.selector import Lagrangian, Ratio

TIERS = (0.03, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Shares of what the best single expert costs, at which routers are looked at."""
GRID = 200  # costs at which curves are drawn
SIZE_CLASSES = {
    "below 10B": 10.0,
    "10B to 40B": 40.0,
    "40B to 100B": 100.0,
    "100B and more": float("inf"),
}
"""Class → billions of parameters that it ends below; those that do not tell are ``UNTOLD``."""
UNTOLD = "size not told"


def experts_alone(
    table: Outcomes, asked: Outcomes, cost: Array, sizes: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Table 1's rows of single experts: USD per million tokens, quality over prompts (micro) and domains (macro).

    Args:
        table: All prompts that were to be measured; ``observed`` counts those an expert was observed on.
        asked: Those observed with every expert.
        cost: USD per million tokens of each expert.
        sizes: Billions of parameters of those that tell.
    """
    scores, observed = asked.scores.astype(np.float64), (~np.isnan(table.scores)).sum(0)
    columns = zip(
        asked.experts, cost, scores.mean(0), _macro(scores, asked.domains), observed, strict=True
    )
    return [
        {
            "name": name,
            "cost": float(usd),
            "quality": float(micro),
            "macro": float(macro),
            "observed": int(count),
            "size_class": size_class(sizes.get(name)),
        }
        for name, usd, micro, macro, count in columns
    ]


def size_class(billions: float | None) -> str:
    """The class of a size (the paper's Figure 4)."""
    if billions is None:
        return UNTOLD
    return next(name for name, end in SIZE_CLASSES.items() if billions < end)


def optima(scores: Array, cost: Array, anchor: Baseline) -> list[float]:
    """At each tier, a bound of what any assignment of the prompts could score, 0–1 (the LP's optimum)."""
    count = len(scores)
    return [assign(scores, cost, tier * anchor.best_cost * count).bound / count for tier in TIERS]


def at_tiers(
    served: ServedSweep,
    cost: Array,
    anchor: Baseline,
    bounds: Sequence[float],
    domains: Sequence[str],
) -> list[dict[str, Any]]:
    """Where a router stands at each tier, by the λ that spends the tier's budget: what it buys, and whom it asks.

    Args:
        served: Over the sweep; which λ spends how much is known without looking at a score.
        cost: USD per million tokens of each expert.
        anchor: The pool's.
        bounds: See :func:`optima`.
        domains: Of each prompt.

    Returns:
        For each tier ``cost`` in USD per million tokens, ``quality`` and ``macro`` 0–1, ``pgr`` RouteLLM's performance
        gap recovered, ``shares`` of the calls by expert, ``collapse`` that of the dearest one,
        ``regret`` how far below the bound the hull is, ``arena`` RouterArena's score 0–1.
    """
    priced, hull, found = served.of_kind(Lagrangian), served.curve(), []
    for tier, bound in zip(TIERS, bounds, strict=True):
        row = priced.row_within(tier * anchor.best_cost)
        score, spent, chosen = priced.score[row], float(priced.cost[row].mean()), priced.chosen[row]
        quality = float(score.mean())
        shares = np.bincount(chosen, minlength=len(cost)) / len(chosen)
        found.append(
            {
                "tier": tier,
                "cost": spent,
                "quality": quality,
                "macro": float(_macro(score[:, None], domains)[0]),
                "pgr": json_figure(anchor.gap_recovered(quality)),
                "shares": shares.tolist(),
                "collapse": float(shares[cost.argmax()]),
                "regret": bound - float(hull.at(tier * anchor.best_cost)),
                "arena": arena_score(quality, spent),
            }
        )
    return found


def by_domain(
    served: Mapping[str, ServedSweep],
    scores: Array,
    domains: Sequence[str],
    budget: float,
    best: int,
) -> list[dict[str, Any]]:
    """Quality in each domain at a budget, beside the best single expert and the best one there (Figure 3).

    MMLU's subjects are taken together by sub-category, as in the paper.
    """
    priced = {name: replayed.of_kind(Lagrangian) for name, replayed in served.items()}
    gained = {
        name: replayed.score[replayed.row_within(budget)] for name, replayed in priced.items()
    }
    return [
        {
            "domain": name or "(none)",
            "prompts": len(rows),
            "best_single": float(scores[rows, best].mean()),
            "best_here": float(scores[rows].mean(0).max()),
            "routers": {router: float(score[rows].mean()) for router, score in gained.items()},
        }
        for name, rows in _rows(group_by_sub_category(domains)).items()
    ]


def banded(served: ServedSweep, cost: Array, drawn: Sequence[Array]) -> dict[str, list[float]]:
    """The hull on a grid of costs, with a 95 % band by bootstrap over the prompts (Figure 2)."""
    grid = _grid(cost)
    qualities = np.stack([served.curve(weights).at(grid) for weights in drawn])
    low, high = np.quantile(qualities, [0.025, 0.975], axis=0)
    middle = served.curve().at(grid)
    return {
        "cost": grid.tolist(),
        "quality": middle.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def by_rule(served: ServedSweep) -> dict[str, list[dict[str, float]]]:
    """Where each policy of the paper's rule and of the multiplier's stands: the number turned, cost and quality."""
    return {
        "alpha": [
            {"alpha": policy.alpha, **mean}
            for policy, mean in _means(served)
            if isinstance(policy, Ratio)
        ],
        "lambda": [
            {"lambda": policy.lambda_, **mean}
            for policy, mean in _means(served)
            if isinstance(policy, Lagrangian)
        ],
    }


def _means(served: ServedSweep) -> list[tuple[Any, dict[str, float]]]:
    means = zip(served.cost.mean(1).tolist(), served.score.mean(1).tolist(), strict=True)
    return [
        (policy, {"cost": cost, "quality": score})
        for policy, (cost, score) in zip(served.policies, means, strict=True)
    ]


def _grid(cost: Array) -> Array:
    """Costs from the least to the most, evenly on a logarithmic scale; a free expert's before them."""
    positive = cost[cost > 0]
    if not len(positive):
        return np.zeros(1)
    grid = np.geomspace(positive.min(), positive.max(), GRID)
    return grid if len(positive) == len(cost) else np.concatenate([[0.0], grid])


def _macro(scores: Array, domains: Sequence[str]) -> Array:
    """Mean over the domains of the mean in each, for each column."""
    means: Array = np.mean([scores[rows].mean(0) for rows in _rows(domains).values()], axis=0)
    return means


def _rows(domains: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    named = np.asarray(domains)
    return {str(name): np.flatnonzero(named == name) for name in np.unique(named)}
