"""How good predictions are, and how good a router is beside the simple ones, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from routoo_core.measures.curve import Anchor, Array, Figures, Replay, figures
from routoo_core.measures.simple_routers import extremes

RESAMPLES = 200
NEVER = "never"


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


def prediction_metrics(quality: Array, scores: Array) -> dict[str, Any]:
    """Mean AUC and calibration error over the experts; pairs nobody observed are left out.

    An expert that is always right, or never, has no AUC; where none has one it is ``None``.
    """
    seen = ~np.isnan(scores)
    columns = [
        (quality[seen[:, m], m], scores[seen[:, m], m])
        for m in range(scores.shape[1])
        if seen[:, m].any()
    ]
    areas = np.array([auc(q, s) for q, s in columns])
    return {
        "auc": None if np.isnan(areas).all() else float(np.nanmean(areas)),
        "ece": float(np.mean([expected_calibration_error(q, s) for q, s in columns])),
    }


def pool_figures(
    served: Mapping[str, Replay], scores: Array, cost: Array, drawn: Sequence[Array]
) -> dict[str, Any]:
    """Figures of each router in a pool, with 95 % intervals over resampled prompts.

    ``lead`` is how much the area of the first router is above another's, on the same resamples.

    Args:
        served: Router → its replay over ``sweep(cost)``.
        scores: Observed, prompts × experts of the pool, no NaN.
        cost: USD for each expert.
        drawn: See :func:`resamples`.
    """
    weighted = [
        (weights, anchor_of(scores, cost, weights)) for weights in (_evenly(len(scores)), *drawn)
    ]
    result: dict[str, Any] = {
        "prompts": len(scores),
        "best_single": weighted[0][1].quality,
        "routers": {},
    }
    leader: list[Figures] = []
    for name, replayed in served.items():
        point, *others = [
            figures(replayed.curve(weights), held_against) for weights, held_against in weighted
        ]
        leader = leader or others
        lead = np.quantile(
            [a.area - b.area for a, b in zip(leader, others, strict=True)], [0.025, 0.975]
        ).tolist()
        values = {key: plain(value) for key, value in asdict(point).items()}
        result["routers"][name] = {**values, "interval": _intervals(others), "lead": lead}
    return result


def anchor_of(scores: Array, cost: Array, weights: Array | None = None) -> Anchor:
    """What routers are held against in a pool, over all prompts or over a resample given as one weight a prompt.

    Args:
        scores: Observed, prompts × experts of the pool, no NaN.
        cost: USD for each expert.
        weights: Summing to 1.
    """
    best, cheapest = extremes(scores, cost)
    mean = (_evenly(len(scores)) if weights is None else weights) @ scores
    return Anchor(
        float(mean[best]),
        float(cost[best]),
        float(cost.min()),
        float(mean[cheapest]),
        float(cost.max()),
    )


def plain(value: float) -> float | str | None:
    """A figure for JSON, which has no infinity: ``never``; ``None`` where it is not defined."""
    if np.isnan(value):
        return None
    return float(value) if np.isfinite(value) else NEVER


def shown(value: float | str | None) -> str:
    """A figure of JSON as people read it."""
    if value is None or isinstance(value, str):
        return value or "–"
    return f"{value:.3f}".replace("-0.000", "0.000")


def _evenly(count: int) -> Array:
    return np.full(count, 1 / count)


def resamples(count: int, seed: int = 0) -> list[Array]:
    """Bootstrap draws of so many prompts, each as one weight a prompt (summing to 1)."""
    random = np.random.default_rng(seed)
    return [
        np.bincount(random.integers(0, count, count), minlength=count) / count
        for _ in range(RESAMPLES)
    ]


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


def _intervals(drawn: list[Figures]) -> dict[str, list[float | str | None]]:
    return {
        field.name: _interval(np.array([getattr(one, field.name) for one in drawn]))
        for field in fields(Figures)
    }


def _interval(values: Array) -> list[float | str | None]:
    """The middle 95 % of the resamples where the figure is defined."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return [None, None]
    return [plain(end) for end in np.quantile(defined, [0.025, 0.975], method="nearest")]
