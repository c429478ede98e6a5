"""What two further routers learnt: who gets the reward (Zooter), and who is good enough (HybridLLM)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.calibration import logistic
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.pair_classifier import LinearMap, load_linear_map
from routoo_core.predictor.pairwise import PairwiseModel, load_scale, mean_win_rates
from routoo_core.predictor.quality_model import Weights


@dataclass(frozen=True)
class RewardDistillation:
    """Zooter's student (arXiv 2311.08692): a softmax over the experts, which are strengths in battles as well.

    Attributes:
        linear: Vector → a logit for each expert.
    """

    linear: LinearMap

    def win_rates(self, vectors: Vectors) -> NDArray[np.float32]:
        """Each expert's mean win rate, itself included at one half, (prompts, experts)."""
        return mean_win_rates(self.linear(vectors))

    def weights(self) -> Weights:
        """The map."""
        return self.linear.weights()


def load_distillation(weights: Weights, config: CheckpointConfig) -> PairwiseModel:
    """Rebuild the student.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: It is of other vectors or experts.
    """
    linear = load_linear_map(weights, config.dim, len(config.experts))
    return PairwiseModel(RewardDistillation(linear), load_scale(weights, config))


@dataclass(frozen=True)
class Sufficiency:
    """HybridLLM's router (arXiv 2404.14618): is an expert as good as the best one, but for a gap?

    It says nothing of how hard a prompt is: where every answer is wrong, each expert suffices. So what counts is how
    far an expert is above the mean of all, as in battles.

    Attributes:
        linear: Vector → log-odds for each expert.
    """

    linear: LinearMap

    def win_rates(self, vectors: Vectors) -> NDArray[np.float32]:
        """Probability that each expert suffices, less its mean over the experts, plus one half; (prompts, experts)."""
        suffices = logistic(self.linear(vectors))
        rates: NDArray[np.float32] = suffices - suffices.mean(axis=1, keepdims=True) + 0.5
        return rates.astype(np.float32)

    def weights(self) -> Weights:
        """The map."""
        return self.linear.weights()


def load_sufficiency(weights: Weights, config: CheckpointConfig) -> PairwiseModel:
    """Rebuild the router.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: It is of other vectors or experts.
    """
    linear = load_linear_map(weights, config.dim, len(config.experts))
    return PairwiseModel(Sufficiency(linear), load_scale(weights, config))
