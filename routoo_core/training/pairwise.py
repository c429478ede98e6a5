"""What the pairwise routers have in common: win rates are put on the scale of the observed scores."""

from __future__ import annotations

from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routoo_core.measures.simple_routers import mean_scores
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.pairwise import (
    PairwiseModel,
    QualityScale,
    WinRateModel,
)
from routoo_core.settings import Settings
from routoo_core.training.encoded import EncodedOutcomes

PENALTIES = (1e1, 1e2, 1e3, 1e4, 1e5)
"""Tried on the ``dev`` prompts."""

Array = NDArray[np.float64]
P = TypeVar("P", bound="PairwiseSettings")


class PairwiseSettings(Settings):
    """Settings of routers that learn from battles.

    Attributes:
        spread: Quality between an expert that always wins and one that wins half the time; by default fitted on the
            ``dev`` prompts.
        level_penalty: Of the ridge regression of a prompt's level; by default the best on the ``dev`` prompts.
    """

    spread: Annotated[float, Field(ge=0)] | None = None
    level_penalty: Annotated[float, Field(gt=0)] | None = None


def fit_scale(
    data: EncodedOutcomes, strength: WinRateModel, settings: PairwiseSettings
) -> PairwiseModel:
    """Fit the level on the ``train`` rows and, unless they are set, its penalty and the spread on the ``dev`` rows.

    Without ``dev`` rows both are fitted on the ``train`` rows.
    """
    train = data.outcomes.rows("train")
    dev = data.outcomes.rows("dev")
    held_out = dev if len(dev) else train
    expert_means = mean_scores(data.outcomes.scores[train], fallback=0.0)

    solver = _LevelRegression(
        data.vectors[train], _levels(data.outcomes.scores[train], expert_means)
    )
    vectors = data.vectors[held_out]
    scores = data.outcomes.scores[held_out]
    levels = _levels(scores, expert_means)
    penalties = PENALTIES if settings.level_penalty is None else (settings.level_penalty,)
    candidates = [solver.fit(penalty) for penalty in penalties]
    errors = [float(np.square(scale.level(vectors) - levels).mean()) for scale in candidates]
    scale = candidates[int(np.argmin(errors))]

    spread = settings.spread
    if spread is None:
        rates = strength.win_rates(vectors)
        spread = _fit_spread(scores - scale.level(vectors)[:, None], rates)
    return PairwiseModel(strength, QualityScale(scale.weight, scale.bias, spread, scale.penalty))


def with_scale_of(settings: P, model: PairwiseModel) -> P:
    """The settings with the spread and the penalty that were fitted, for fitting all rows."""
    scale = model.scale
    return settings.model_copy(update={"spread": scale.spread, "level_penalty": scale.penalty})


class _LevelRegression:
    """Ridge regression on standardised vectors, for any penalty from one decomposition."""

    def __init__(self, vectors: Vectors, levels: Array) -> None:
        self.mean = vectors.mean(0).astype(np.float64)
        self.scale = vectors.std(0).astype(np.float64) + 1e-6
        self.level = float(levels.mean())
        features = (vectors - self.mean) / self.scale
        self.values, self.directions = np.linalg.eigh(features.T @ features)
        self.projection = self.directions.T @ (features.T @ (levels - self.level))

    def fit(self, penalty: float) -> QualityScale:
        slope = self.directions @ (self.projection / (np.maximum(self.values, 0) + penalty))
        weight = slope / self.scale
        bias = self.level - float(self.mean @ weight)
        return QualityScale(weight.astype(np.float32), bias, spread=0.0, penalty=penalty)


def _levels(scores: NDArray[np.float32], expert_means: Array) -> Array:
    """What all experts would score on a prompt on average, from those that were observed, (prompts,)."""
    counts = np.maximum((~np.isnan(scores)).sum(1), 1)
    ease = np.nansum(scores - expert_means, axis=1) / counts
    levels: Array = ease + expert_means.mean()
    return levels


def _fit_spread(residuals: NDArray[np.floating], rates: NDArray[np.float32]) -> float:
    """Least squares of what the level leaves on ``2 r - 1``; at least 0."""
    lead = 2 * rates - 1
    observed = ~np.isnan(residuals)
    covariance = float((residuals[observed] * lead[observed]).sum())
    variance = float(np.square(lead[observed]).sum())
    return max(0.0, covariance / max(variance, 1e-9))
