"""Simple routers for comparison: some ignore the prompt, one only knows its domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.measures.curve import Array, ServedSweep, serve
from routoo_core.outcomes import Outcomes

RANDOM_MIX = "random mix"
ZERO_ROUTER = "zero router"
DOMAIN_LOOKUP = "domain lookup"
KNN = "kNN"
PRINTED_HEAD = "printed head"
ORACLE = "oracle"
SIMPLE_ROUTERS = frozenset({RANDOM_MIX, ZERO_ROUTER, DOMAIN_LOOKUP, KNN, PRINTED_HEAD, ORACLE})
"""Names that no other router has in a report."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Always:
    """A preference rule that chooses one expert for every prompt.

    Attributes:
        column: The column of that expert.
    """

    column: int

    def __call__(
        self, quality: NDArray[np.floating], cost: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Preference of each expert: 1 for the chosen one, 0 for the others."""
        preference = np.zeros_like(quality)
        preference[..., self.column] = 1
        return preference


def best_and_cheapest(scores: Array, cost: Array) -> tuple[int, int]:
    """Columns of the best single expert and of the cheapest one.

    Of equally good experts the cheaper is the best; of equally cheap ones the better is the cheapest.

    Args:
        scores: Observed, prompts × experts, no NaN.
        cost: Cost of each expert.
    """
    mean = scores.mean(axis=0)
    best_first = np.lexsort((cost, -mean))
    cheapest_first = np.lexsort((-mean, cost))
    return int(best_first[0]), int(cheapest_first[0])


def blind_routers(
    scores: Array, cost: Array, call_costs: Array | None = None
) -> dict[str, ServedSweep]:
    """Routers that do not look at the prompt, by name.

    The *random mix* draws between the cheapest and the best single expert: RouteLLM's random router
    (arXiv 2406.18665). The *zero router* draws between any experts: its curve is the hull of the single experts
    (RouterBench, arXiv 2403.12031).

    Args:
        scores: Observed, prompts × experts, no NaN.
        cost: Cost of each expert.
        call_costs: What each call really costs, prompts × experts.
    """
    best, cheapest = best_and_cheapest(scores, cost)
    all_columns = range(len(cost))
    return {
        RANDOM_MIX: _mix_of_experts([cheapest, best], scores, cost, call_costs),
        ZERO_ROUTER: _mix_of_experts(all_columns, scores, cost, call_costs),
    }


def _mix_of_experts(
    columns: Sequence[int], scores: Array, cost: Array, call_costs: Array | None
) -> ServedSweep:
    """Each expert alone; the hull of these points is what drawing between them at random reaches."""
    rules = [Always(column) for column in columns]
    return serve(scores, scores, cost, rules, call_costs)


def domain_lookup(outcomes: Outcomes, rows: Rows) -> Array:
    """Predict each expert's mean score in the prompt's domain, over the ``train`` rows; (rows, experts).

    It is told the domain, which a deployed router does not know. A domain without ``train`` prompts gets the mean
    over all of them.
    """
    train = outcomes.rows("train")
    train_scores = outcomes.scores[train]
    domains = np.asarray(outcomes.domains)
    train_domains = domains[train]

    overall = mean_scores(train_scores)
    by_domain = {}
    for domain in np.unique(train_domains):
        by_domain[domain] = mean_scores(train_scores[train_domains == domain], overall)

    return np.stack([by_domain.get(domain, overall) for domain in domains[rows]])


def mean_scores(scores: NDArray[np.float32], fallback: Array | float = 0.5) -> Array:
    """Each expert's mean score; ``fallback`` for an expert that was not observed."""
    """Each expert's mean score; ``fallback`` for an expert that was not observed."""
    counts = (~np.isnan(scores)).sum(axis=0)
    sums = np.nansum(scores, axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), fallback)
