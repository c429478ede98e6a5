"""Beyond the paper: experts chosen by what a router gains from them, rather than an oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.measures.curve import Array, Curve
from routoo_core.outcomes import Outcomes
from routoo_core.progress import SILENT, Progress
from routoo_core.universe.selection import must_have_rows

FOLDS = 5
PRIOR_PROMPTS = 20.0
"""The mean over all domains counts as much as so many prompts in each domain."""
LAMBDAS: tuple[float, ...] = (0.0, *np.geomspace(1e-2, 1e3, 48).tolist())
"""Values of λ on a curve, in units of 1 / the dearest cost."""

_SMALLEST_GAIN = 1e-12  # of area; below it, rounding


@dataclass(frozen=True)
class RoutedUniverse:
    """Experts chosen for what routing among them gains.

    Attributes:
        experts: In the order chosen.
        areas: Area under the quality–cost curve after each, 0–1.
    """

    experts: tuple[str, ...]
    areas: tuple[float, ...]

    @property
    def area(self) -> float:
        """The area with all of them; 0 without any."""
        if not self.areas:
            return 0.0
        return self.areas[-1]


class RoutedCurve:
    """Cost and score of routing among some experts at each λ; it grows by one expert at a time.

    A prompt goes to the expert with the largest ``quality - λ cost``, or to none, for nothing, where that is negative.
    A pair that was not observed is no candidate: nothing is imputed.

    Args:
        quality: Predicted, prompts × experts, 0–1; NaN is no candidate.
        scores: Observed, prompts × experts, 0–1; NaN is no candidate.
        cost: Of a call to each expert, (experts,).
    """

    def __init__(self, quality: Array, scores: NDArray[np.floating], cost: Array) -> None:
        is_absent = np.isnan(quality) | np.isnan(scores)
        candidate_quality = np.where(is_absent, -np.inf, quality)
        self._quality = candidate_quality.T
        self._scores = np.nan_to_num(scores).T
        self._expert_cost = cost
        lambda_column = np.array(LAMBDAS)[:, None]
        self._lambdas = lambda_column / cost.max()

        candidate_scores = np.where(is_absent, np.nan, scores)
        best_single = np.nanargmax(np.nanmean(candidate_scores, axis=0))
        self._best_single_cost = float(cost[best_single])
        self._cheapest_cost = float(cost.min())

        shape = (len(LAMBDAS), len(scores))  # of the best choice so far, for each λ and prompt
        self._value = np.zeros(shape)
        self._cost = np.zeros(shape)
        self._score = np.zeros(shape)

    def add(self, expert: int) -> None:
        """Route among one more expert."""
        value = self._value_of(expert)
        is_better = value > self._value
        self._cost = self._cost_with(expert, is_better)
        self._score = self._score_with(expert, is_better)
        self._value = np.where(is_better, value, self._value)

    def area(self) -> float:
        """Area under the curve, from the pool's cheapest cost to that of its best single expert, 0–1."""
        return self._area_of(self._cost, self._score)

    def area_with(self, expert: int) -> float:
        """:meth:`area` with one more expert."""
        is_better = self._value_of(expert) > self._value
        cost = self._cost_with(expert, is_better)
        score = self._score_with(expert, is_better)
        return self._area_of(cost, score)

    def _value_of(self, expert: int) -> Array:
        """``quality - λ cost`` of an expert, λ × prompts."""
        weighted_cost = self._lambdas * self._expert_cost[expert]
        value: Array = self._quality[expert] - weighted_cost
        return value

    def _cost_with(self, expert: int, is_better: NDArray[np.bool_]) -> Array:
        expert_cost = self._expert_cost[expert]
        return np.where(is_better, expert_cost, self._cost)

    def _score_with(self, expert: int, is_better: NDArray[np.bool_]) -> Array:
        expert_scores = self._scores[expert]
        return np.where(is_better, expert_scores, self._score)

    def _area_of(self, cost: Array, score: Array) -> float:
        """Area under the curve of mean cost and mean score at each λ; it starts where nothing is served."""
        mean_cost = np.append(cost.mean(axis=1), 0.0)
        mean_score = np.append(score.mean(axis=1), 0.0)
        curve = Curve(mean_cost, mean_score)
        return curve.area(self._cheapest_cost, self._best_single_cost)


def predict_by_domain(observed: Outcomes, domains: Sequence[str]) -> Array:
    """The simplest predictor: each expert's mean score in a domain, pulled towards its mean over all domains.

    Args:
        observed: What to learn from.
        domains: The domain of each prompt to predict.

    Returns:
        Prompts × experts, 0–1; NaN for an expert that was never observed.
    """
    is_observed = ~np.isnan(observed.scores)
    scores = np.nan_to_num(observed.scores).astype(np.float64)
    counts = is_observed.sum(axis=0)
    mean = scores.sum(axis=0) / np.maximum(counts, 1)
    overall_mean = np.where(counts > 0, mean, np.nan)

    domain_of_row = np.asarray(observed.domains)
    quality_by_domain = {}
    for domain in set(domains):
        rows = domain_of_row == domain
        domain_sum = scores[rows].sum(axis=0)
        domain_count = is_observed[rows].sum(axis=0)
        weighted_sum = domain_sum + PRIOR_PROMPTS * overall_mean
        quality_by_domain[domain] = weighted_sum / (domain_count + PRIOR_PROMPTS)
    return np.stack([quality_by_domain[domain] for domain in domains])


def cross_validate(outcomes: Outcomes, seed: int = 0) -> Array:
    """What :func:`predict_by_domain` predicts for each prompt from the other folds, prompts × experts."""
    random = np.random.default_rng(seed)
    rows = random.permutation(len(outcomes.prompts))
    quality = np.empty(outcomes.scores.shape)
    for fold in np.array_split(rows, FOLDS):
        other_rows = np.setdiff1d(rows, fold)
        other_folds = outcomes.take(other_rows)
        domains = [outcomes.domains[row] for row in fold]
        quality[fold] = predict_by_domain(other_folds, domains)
    return quality


def select_routed(
    outcomes: Outcomes,
    prices: Mapping[str, float],
    size: int,
    must_have: Sequence[str] = (),
    progress: Progress = SILENT,
) -> RoutedUniverse:
    """Add the expert that lets a cross-validated router gain the most over the range of costs.

    Greedy with an early stop, like Algorithm 1. But the objective is not submodular, so there is no bound on the
    distance from the best set. Equal gains go to the cheaper expert.

    Args:
        outcomes: With domains; the choice is good for prompts like these.
        prices: USD of every expert of the outcomes, in any unit.
        size: The most experts to choose, must-haves included.
        must_have: Chosen first, whatever they add.
        progress: Where progress goes.

    Raises:
        ConfigurationError: There are no domains, an expert has no price, or see
            :func:`~routoo_core.universe.selection.must_have_rows`.
    """
    if not any(outcomes.domains):
        raise ConfigurationError(
            "objective: 'routed' needs domains, but the prompts have no 'domain' column"
        )
    cost = _cost_of_experts(outcomes.experts, prices)
    curve = RoutedCurve(cross_validate(outcomes), outcomes.scores, cost)
    selection: list[int] = []
    areas: list[float] = []
    first_rows = must_have_rows(outcomes.experts, size, must_have)
    with progress.bar("Choosing", size) as advance:
        for expert in first_rows:
            curve.add(expert)
            selection.append(expert)
            areas.append(curve.area())
            advance(1)

        candidates = _cheapest_candidates_first(cost, first_rows)
        while len(selection) < size and candidates:
            expert = max(candidates, key=curve.area_with)
            curve.add(expert)
            area = curve.area()
            area_before = areas[-1] if areas else 0.0
            if area <= area_before + _SMALLEST_GAIN:
                break
            candidates.remove(expert)
            selection.append(expert)
            areas.append(area)
            advance(1)

    names = tuple(outcomes.experts[expert] for expert in selection)
    return RoutedUniverse(names, tuple(areas))


def held_out_area(
    train: Outcomes, dev: Outcomes, prices: Mapping[str, float], names: Sequence[str]
) -> float:
    """Area on ``dev`` when a predictor by domain, fitted on ``train``, routes among ``names``, 0–1.

    The range of costs is that of the whole pool, so that sets can be compared.
    """
    cost = _cost_of_experts(dev.experts, prices)
    quality = predict_by_domain(train, dev.domains)
    curve = RoutedCurve(quality, dev.scores, cost)
    for name in names:
        curve.add(dev.experts.index(name))
    return curve.area()


def _cost_of_experts(experts: Sequence[str], prices: Mapping[str, float]) -> Array:
    for name in experts:
        if name not in prices:
            raise ConfigurationError(
                f"prices: no price of {name!r}; the objective 'routed' needs one for each expert"
            )
    return np.array([prices[name] for name in experts])


def _cheapest_candidates_first(cost: Array, first_rows: Sequence[int]) -> list[int]:
    """The experts that are not chosen yet; equals go to the first."""
    by_cost = np.argsort(cost, kind="stable")
    return [expert for expert in by_cost.tolist() if expert not in first_rows]
