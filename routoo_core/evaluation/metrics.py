"""How good predictions are, and how good a router is beside the simple ones, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.evaluation.curve import Anchor, Array, Figures, figures, replay, sweep
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.knn import fit_profiles

NEIGHBOURS = 40
RESAMPLES = 200


def auc(quality: Array, scores: Array) -> float:
    """Area under the ROC curve of one expert's predicted quality; ties count half, NaN if one class is absent."""
    order = np.argsort(quality, kind="stable")
    _, inverse, counts = np.unique(quality[order], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = scores[order] >= 0.5
    wins, losses = positive.sum(), (~positive).sum()
    return float((ranks[positive].sum() - wins * (wins + 1) / 2) / (wins * losses)) if wins and losses else float("nan")


def expected_calibration_error(quality: Array, scores: Array, bins: int = 10) -> float:
    """Mean |predicted - observed| over bins of equal count, 0–1."""
    parts = np.array_split(np.argsort(quality), bins)
    return float(sum(len(p) * abs(quality[p].mean() - scores[p].mean()) for p in parts if len(p)) / len(quality))


def prediction_metrics(quality: Array, scores: Array) -> dict[str, float]:
    """Mean AUC and calibration error over the experts; pairs nobody observed are left out."""
    seen = ~np.isnan(scores)
    columns = [(quality[seen[:, m], m], scores[seen[:, m], m]) for m in range(scores.shape[1]) if seen[:, m].any()]
    return {
        "auc": float(np.nanmean([auc(q, s) for q, s in columns])),
        "ece": float(np.mean([expected_calibration_error(q, s) for q, s in columns])),
    }


def baselines(outcomes: Outcomes, vectors: NDArray[np.float32], seed: int = 0) -> dict[str, Array]:
    """Qualities the simple routers predict for the ``dev`` rows, from the ``train`` rows.

    ``best single`` the expert's mean · ``domain lookup`` its mean in the prompt's domain (needs the label) ·
    ``kNN`` its mean over the nearest prompts · ``random`` noise · ``oracle`` the observed score.
    """
    train, dev = outcomes.rows("train"), outcomes.rows("dev")
    known, mean = outcomes.scores[train], _mean(outcomes.scores[train])
    domains = np.asarray(outcomes.domains)
    by_domain = {d: _mean(known[domains[train] == d], mean) for d in np.unique(domains[train])}
    near = fit_profiles(outcomes, vectors).near(vectors[dev], NEIGHBOURS)
    return {
        "best single": np.tile(mean, (len(dev), 1)),
        "domain lookup": np.stack([by_domain.get(d, mean) for d in domains[dev]]),
        "kNN": np.stack([_mean(known[rows], mean) for rows in near]),
        "random": np.random.default_rng(seed).random((len(dev), len(mean))),
        "oracle": np.nan_to_num(outcomes.scores[dev]).astype(np.float64),
    }


def _mean(scores: NDArray[np.float32], fallback: Array | float = 0.5) -> Array:
    counts = (~np.isnan(scores)).sum(0)
    return np.where(counts > 0, np.nansum(scores, axis=0) / np.maximum(counts, 1), fallback)


def pool_figures(quality: Mapping[str, Array], scores: Array, cost: Array, seed: int = 0) -> dict[str, Any]:
    """Area, half and match of each router in a pool, with 95 % intervals over resampled prompts.

    Args:
        quality: Router → predicted quality, prompts × experts of the pool.
        scores: Observed, prompts × experts, no NaN.
        cost: USD for each expert.
        seed: Of the resampling.
    """
    policies, count = sweep(cost), len(scores)
    best, cheapest = int(scores.mean(0).argmax()), int(cost.argmin())
    random = np.random.default_rng(seed)
    resamples = [np.bincount(random.integers(0, count, count), minlength=count) / count for _ in range(RESAMPLES)]

    def anchor(weights: Array) -> Anchor:
        mean = weights @ scores
        return Anchor(float(mean[best]), float(cost[best]), float(cost.min()), float(mean[cheapest]))

    whole = np.full(count, 1 / count)
    result: dict[str, Any] = {"prompts": count, "best_single": anchor(whole).quality, "routers": {}}
    for name, predicted in quality.items():
        served = replay(predicted, scores, cost, policies)
        point, *drawn = [figures(served.curve(w), anchor(w)) for w in (whole, *resamples)]
        finite = {key: value if np.isfinite(value) else None for key, value in asdict(point).items()}
        result["routers"][name] = {**finite, "interval": _intervals(drawn)}
    return result


def _intervals(drawn: list[Figures]) -> dict[str, list[float | None]]:
    names = [field.name for field in fields(Figures)]
    ends = {name: np.quantile([getattr(f, name) for f in drawn], [0.025, 0.975], method="nearest") for name in names}
    return {name: [float(end) if np.isfinite(end) else None for end in pair] for name, pair in ends.items()}
