"""How good predictions are, RouterArena's score, and the shares of an oracle."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.measures.curve import Array
from routoo_core.measures.figures import JsonFigure, json_figure

CORRECT = 0.5
"""From this score on an answer counts as correct."""

ARENA_BETA = 0.1
ARENA_LOWEST_COST = 0.0044
ARENA_HIGHEST_COST = 200.0
"""USD of a thousand calls between which RouterArena rates the cost."""

_SMALLEST_PROBABILITY = 1e-6
_SMALLEST_SHARE = 1e-12


# Predictions of one expert


def auc(quality: Array, scores: Array) -> float:
    """Area under the ROC curve of one expert's predictions; ties count half.

    Returns:
        0–1; NaN where all answers are correct, or none is.
    """
    order = np.argsort(quality, kind="stable")
    correct = scores[order] >= CORRECT
    correct_count = correct.sum()
    wrong_count = (~correct).sum()
    if correct_count == 0 or wrong_count == 0:
        return float("nan")

    # Mann–Whitney: the area is the share of (correct, wrong) pairs that are ranked right.
    _, group, group_sizes = np.unique(quality[order], return_inverse=True, return_counts=True)
    last_rank = np.cumsum(group_sizes)
    mean_rank = last_rank - (group_sizes - 1) / 2
    ranks = mean_rank[group]
    lowest_rank_sum = correct_count * (correct_count + 1) / 2

    pairs_ranked_right = ranks[correct].sum() - lowest_rank_sum
    return float(pairs_ranked_right / (correct_count * wrong_count))


def expected_calibration_error(quality: Array, scores: Array, bins: int = 10) -> float:
    """Mean ``|predicted - observed|`` over bins of equal count, 0–1."""
    total = 0.0
    for rows in _bins_of_equal_count(quality, bins):
        error = abs(quality[rows].mean() - scores[rows].mean())
        total += len(rows) * error
    return float(total / len(quality))


def _bins_of_equal_count(quality: Array, bins: int) -> list[NDArray[np.int64]]:
    """Row numbers by rising predicted quality, in bins; empty bins are left out."""
    parts = np.array_split(np.argsort(quality), bins)
    return [rows for rows in parts if len(rows)]


# Predictions of a router


@dataclass(frozen=True, slots=True)
class PredictionMetrics:
    """How good predictions are, averaged over the experts.

    Attributes:
        auc: Area under the ROC curve, 0–1; NaN where no expert has one.
        ece: Expected calibration error, 0–1.
    """

    auc: float
    ece: float

    def to_dict(self) -> dict[str, JsonFigure]:
        """Plain JSON values."""
        return {"auc": json_figure(self.auc), "ece": self.ece}


def prediction_metrics(quality: Array, scores: Array) -> PredictionMetrics:
    """Mean AUC and calibration error over the experts.

    An expert that is always right, or never, has no AUC and is left out of that mean.

    Args:
        quality: Predicted, prompts × experts, 0–1.
        scores: Observed, prompts × experts; pairs that are NaN are left out.
    """
    observed = ~np.isnan(scores)

    areas = []
    errors = []
    for column in range(scores.shape[1]):
        rows = observed[:, column]
        if not rows.any():
            continue
        expert_quality = quality[rows, column]
        expert_scores = scores[rows, column]
        areas.append(auc(expert_quality, expert_scores))
        errors.append(expected_calibration_error(expert_quality, expert_scores))

    mean_area = float("nan")
    if not np.isnan(areas).all():
        mean_area = float(np.nanmean(areas))
    return PredictionMetrics(mean_area, float(np.mean(errors)))


def log_loss(quality: Array, scores: Array) -> float:
    """Mean negative log-likelihood of the observed scores, in nats.

    Args:
        quality: Predicted, prompts × experts, 0–1.
        scores: Observed, prompts × experts; pairs that are NaN are left out.
    """
    observed = ~np.isnan(scores)
    score = scores[observed]
    predicted = quality[observed]
    predicted = np.clip(predicted, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)

    correct_part = score * np.log(predicted)
    wrong_part = (1 - score) * np.log(1 - predicted)
    return float(-(correct_part + wrong_part).mean())


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One point of a reliability plot: mean predicted and mean observed quality of the pairs in a bin, 0–1."""

    predicted: float
    observed: float

    def to_dict(self) -> dict[str, float]:
        """Plain JSON values."""
        return asdict(self)


def reliability(quality: Array, scores: Array, bins: int = 10) -> list[ReliabilityBin]:
    """The points of a reliability plot, over bins of equal count of all observed pairs.

    Args:
        quality: Predicted, prompts × experts, 0–1.
        scores: Observed, prompts × experts; pairs that are NaN are left out.
        bins: At most so many points.
    """
    observed = ~np.isnan(scores)
    score = scores[observed]
    predicted = quality[observed]

    points = []
    for rows in _bins_of_equal_count(predicted, bins):
        mean_predicted = float(predicted[rows].mean())
        mean_observed = float(score[rows].mean())
        points.append(ReliabilityBin(mean_predicted, mean_observed))
    return points


# Routers


def arena_score(accuracy: float, cost: float) -> float:
    """RouterArena's score: the weighted harmonic mean of accuracy and thrift (arXiv 2510.00202).

    ``S = (1 + β) A C / (β A + C)`` with β = 0.1, where C falls from 1 to 0 with the logarithm of the cost.

    Args:
        accuracy: 0–1.
        cost: USD of a thousand calls.

    Returns:
        0–1.
    """
    log_lowest = np.log2(ARENA_LOWEST_COST)
    log_highest = np.log2(ARENA_HIGHEST_COST)
    log_cost = np.log2(max(cost, ARENA_LOWEST_COST))
    share_of_range = (log_highest - log_cost) / (log_highest - log_lowest)
    thrift = float(np.clip(share_of_range, 0, 1))

    if accuracy + thrift <= 0:
        return 0.0
    weighted_sum = ARENA_BETA * accuracy + thrift
    return (1 + ARENA_BETA) * accuracy * thrift / weighted_sum


def oracle_shares(scores: Array, cost: Array, guess: float = 0.0) -> Array:
    """Share of the answerable prompts for which each expert is the cheapest correct one (the paper's Table 2).

    With a rate of lucky guesses, a correct answer of an expert of accuracy ``a`` counts by the probability that it
    was known, ``(a - g) / (a (1 - g))``. The rest of the prompt passes to the next dearer expert.

    Args:
        scores: Observed, prompts × experts, no NaN.
        cost: Cost of each expert.
        guess: Probability ``g`` that an expert that does not know is correct, 0–1.

    Returns:
        Shape (experts,), summing to 1; all zero where no expert is ever correct.
    """
    correct = scores >= CORRECT
    accuracy = np.maximum(correct.mean(axis=0), _SMALLEST_SHARE)
    share_known = (accuracy - guess) / (accuracy * (1 - guess))
    probability_known = np.clip(share_known, 0, 1) * correct

    remaining = np.ones(len(scores))
    shares = np.zeros(len(cost))
    for expert in np.argsort(cost, kind="stable"):
        answers = remaining * probability_known[:, expert]
        shares[expert] = answers.sum()
        remaining *= 1 - probability_known[:, expert]

    total: Array = shares / max(shares.sum(), _SMALLEST_SHARE)
    return total
