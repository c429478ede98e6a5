"""How good predictions are, and what an oracle and RouterArena make of a router."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routoo_core.measures.curve import Array
from routoo_core.measures.figures import JsonFigure, json_figure


def auc(quality: Array, scores: Array) -> float:
    """Area under the ROC curve of one expert's predicted quality; ties count half, NaN if one class is absent."""
    order = np.argsort(quality, kind="stable")
    _, inverse, counts = np.unique(quality[order], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = scores[order] >= 0.5
    wins, losses = positive.sum(), (~positive).sum()
    return (
        float((ranks[positive].sum() - wins * (wins + 1) / 2) / (wins * losses))
        if wins and losses
        else float("nan")
    )


def expected_calibration_error(quality: Array, scores: Array, bins: int = 10) -> float:
    """Mean |predicted - observed| over bins of equal count, 0–1."""
    parts = np.array_split(np.argsort(quality), bins)
    return float(
        sum(len(p) * abs(quality[p].mean() - scores[p].mean()) for p in parts if len(p))
        / len(quality)
    )


@dataclass(frozen=True, slots=True)
class PredictionMetrics:
    """How good predictions are, averaged over the experts.

    Attributes:
        auc: Area under the ROC curve; NaN where no expert has one.
        ece: Expected calibration error, 0–1.
    """

    auc: float
    ece: float

    def to_dict(self) -> dict[str, JsonFigure]:
        """Plain JSON values."""
        return {"auc": json_figure(self.auc), "ece": self.ece}


def prediction_metrics(quality: Array, scores: Array) -> PredictionMetrics:
    """Mean AUC and calibration error over the experts; pairs nobody observed are left out.

    An expert that is always right, or never, has no AUC and is left out of the mean.
    """
    seen = ~np.isnan(scores)
    columns = [
        (quality[seen[:, m], m], scores[seen[:, m], m])
        for m in range(scores.shape[1])
        if seen[:, m].any()
    ]
    areas = np.array([auc(q, s) for q, s in columns])
    mean_area = float("nan")
    if not np.isnan(areas).all():
        mean_area = float(np.nanmean(areas))
    errors = [expected_calibration_error(q, s) for q, s in columns]
    return PredictionMetrics(mean_area, float(np.mean(errors)))


def log_loss(quality: Array, scores: Array) -> float:
    """Mean negative log-likelihood of right and wrong answers, nats; pairs nobody observed are left out."""
    seen = ~np.isnan(scores)
    predicted, observed = np.clip(quality[seen], 1e-6, 1 - 1e-6), scores[seen]
    return float(-(observed * np.log(predicted) + (1 - observed) * np.log(1 - predicted)).mean())


def reliability(quality: Array, scores: Array, bins: int = 10) -> list[dict[str, float]]:
    """Predicted beside observed, over bins of equal count of all observed pairs: what a reliability plot shows."""
    seen = ~np.isnan(scores)
    predicted, observed = quality[seen], scores[seen]
    parts = [part for part in np.array_split(np.argsort(predicted), bins) if len(part)]
    return [
        {"predicted": float(predicted[p].mean()), "observed": float(observed[p].mean())}
        for p in parts
    ]


def arena_score(accuracy: float, cost: float) -> float:
    """RouterArena's score of an accuracy, 0–1, and the USD of a thousand calls (arXiv 2510.00202, β = 0.1)."""
    cheap, dear, beta = 0.0044, 200.0, 0.1
    thrift = float(
        np.clip(
            (np.log2(dear) - np.log2(max(cost, cheap))) / (np.log2(dear) - np.log2(cheap)), 0, 1
        )
    )
    return (
        (1 + beta) * accuracy * thrift / (beta * accuracy + thrift)
        if accuracy + thrift > 0
        else 0.0
    )


def oracle_shares(scores: Array, cost: Array, guess: float = 0.0) -> Array:
    """Share of the answerable prompts that the cheapest right expert answers, (experts,) (the paper's Table 2).

    With a rate of lucky guesses each right answer counts by the probability that it was known,
    ``(a - g) / (a (1 - g))`` for an expert of accuracy ``a``; a prompt passes to the next dearer expert with the rest.

    Args:
        scores: Observed, prompts × experts, no NaN; right from 0.5 on.
        cost: USD for each expert.
        guess: Probability g that an expert who does not know is right, 0–1.
    """
    right, order = scores >= 0.5, np.argsort(cost, kind="stable")
    accuracy = np.maximum(right.mean(0), 1e-12)
    known = np.clip((accuracy - guess) / (accuracy * (1 - guess)), 0, 1) * right
    left, shares = np.ones(len(scores)), np.zeros(len(cost))
    for expert in order:
        shares[expert] = (left * known[:, expert]).sum()
        left *= 1 - known[:, expert]
    total: Array = shares / max(shares.sum(), 1e-12)
    return total
