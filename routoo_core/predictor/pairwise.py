"""Strengths of experts in battles → quality: win rates on one scale with the scores that were observed.

A pairwise router says who wins, ``P(a beats b | q) = σ(s_a - s_b)``, and nothing of how hard a prompt is. A policy
needs a quality, so that gains of different prompts can be weighed against their costs::

    quality = level(q) + spread · (2 r - 1)

``r`` is an expert's mean win rate over all experts, itself included at one half. ``level`` is what the experts score on
such a prompt on average, a linear function of its vector. ``spread`` is one number, fitted on held-out prompts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from routoo_core.bradley_terry import win_probability
from routoo_core.predictor.base import Quality, Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.quality_model import Weights, read_array

Strengths = NDArray[np.floating]
"""Log-odds, prompts × experts; only differences within a prompt matter."""

_LEVEL_WEIGHT = "level.weight"
_LEVEL_FIGURES = "level.figures"


class WinRateModel(Protocol):
    """What a pairwise router learnt."""

    def win_rates(self, vectors: Vectors) -> NDArray[np.float32]:
        """Each expert's mean win rate, itself included at one half, (prompts, experts), for vectors (prompts, dim)."""
        ...

    def weights(self) -> Weights:
        """Everything that was fitted."""
        ...


@dataclass(frozen=True)
class QualityScale:
    """How win rates become quality.

    Attributes:
        weight: Of each number of a vector in the level, (dim,).
        bias: The level where all numbers are zero.
        spread: Quality between an expert that wins always and one that wins half the time.
        penalty: With which the weight was fitted.
    """

    weight: NDArray[np.float32] = field(repr=False)
    bias: float
    spread: float
    penalty: float

    def quality(self, vectors: Vectors, win_rates: NDArray[np.floating]) -> Quality:
        """Quality 0–1, (prompts, experts), from mean win rates of the same shape."""
        level = self.level(vectors)
        quality = level[:, None] + self.spread * (2 * win_rates - 1)
        score: Quality = np.clip(quality, 0, 1).astype(np.float32)
        return score

    def level(self, vectors: Vectors) -> NDArray[np.float32]:
        """What the experts score on average, (prompts,)."""
        level: NDArray[np.float32] = vectors @ self.weight + np.float32(self.bias)
        return level


@dataclass(frozen=True)
class PairwiseModel:
    """The quality model of routers that learn from battles.

    Attributes:
        strength: Vector → win rates.
        scale: Win rates → quality.
    """

    strength: WinRateModel
    scale: QualityScale

    def quality(self, vectors: Vectors) -> Quality:
        """Quality 0–1, (prompts, experts)."""
        return self.scale.quality(vectors, self.strength.win_rates(vectors))

    def weights(self) -> Weights:
        """The weights of the strengths and of the scale."""
        scale = self.scale
        figures = torch.tensor([scale.bias, scale.spread, scale.penalty], dtype=torch.float32)
        return {
            **self.strength.weights(),
            _LEVEL_WEIGHT: torch.from_numpy(scale.weight),
            _LEVEL_FIGURES: figures,
        }


def load_scale(weights: Weights, config: CheckpointConfig) -> QualityScale:
    """Rebuild the scale.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: It is of other vectors.
    """
    weight = read_array(weights, _LEVEL_WEIGHT, config.dim)
    bias, spread, penalty = read_array(weights, _LEVEL_FIGURES, 3).tolist()
    return QualityScale(weight, bias, spread, penalty)


def mean_win_rates(strengths: Strengths) -> NDArray[np.float32]:
    """Each expert's probability to win, averaged over all experts, itself included at one half; (prompts, experts)."""
    rates: NDArray[np.float32] = win_probability(strengths.astype(np.float32)).mean(axis=2)
    return rates
