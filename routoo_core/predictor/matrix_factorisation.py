"""Matrix factorisation: an expert's strength on a prompt is a product of two small vectors.

RouteLLM's (arXiv 2406.18665, section 4.2): ``δ(M, q) = w₂ᵀ (v_M ⊙ (W₁ᵀ v_q + b))`` and
``P(a beats b | q) = σ(δ(a, q) - δ(b, q))``. The experts' vectors have length 1, as in the paper's code. Departure:
prompt vectors are standardised.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.pairwise import PairwiseModel, load_scale, mean_win_rates
from routoo_core.predictor.quality_model import Weights, read_array

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class MatrixFactorisation:
    """The factors.

    Attributes:
        mean: Subtracted from a prompt's vector, (dim,).
        scale: Then divides it, (dim,).
        projection: W₁, (dim, factors).
        bias: b, (factors,).
        experts: v_M, unit vectors, (experts, factors).
        output: w₂, (factors,).
        epochs: How many it was trained.
    """

    mean: Floats = field(repr=False)
    scale: Floats = field(repr=False)
    projection: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    experts: Floats = field(repr=False)
    output: Floats = field(repr=False)
    epochs: int = 0

    def win_rates(self, vectors: Vectors) -> Floats:
        """Each expert's mean win rate, itself included at one half, (prompts, experts)."""
        return mean_win_rates(self.strengths(vectors))

    def strengths(self, vectors: Vectors) -> Floats:
        """δ of each expert and prompt, (prompts, experts)."""
        z_scores = (vectors - self.mean) / self.scale
        projection = z_scores @ self.projection + self.bias
        delta: Floats = projection @ (self.experts * self.output).T
        return delta

    def weights(self) -> Weights:
        """The factors; the projection in half precision."""
        return {
            "mean": torch.from_numpy(self.mean),
            "scale": torch.from_numpy(self.scale),
            "projection": torch.from_numpy(self.projection).half(),
            "bias": torch.from_numpy(self.bias),
            "experts": torch.from_numpy(self.experts),
            "output": torch.from_numpy(self.output),
        }


def load_matrix_factorisation(weights: Weights, config: CheckpointConfig) -> PairwiseModel:
    """Rebuild the factors.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: They are of other vectors or experts.
    """
    output = read_array(weights, "output", None)
    factors = MatrixFactorisation(
        mean=read_array(weights, "mean", config.dim),
        scale=read_array(weights, "scale", config.dim),
        projection=read_array(weights, "projection", config.dim, len(output)),
        bias=read_array(weights, "bias", len(output)),
        experts=read_array(weights, "experts", len(config.experts), len(output)),
        output=output,
    )
    return PairwiseModel(factors, load_scale(weights, config))
