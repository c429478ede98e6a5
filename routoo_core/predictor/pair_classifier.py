"""A classifier of battles: wins, ties and losses as three classes of one softmax (RouteLLM's BERT router).

The encoder's vector gives a logit for each expert and one for a tie. Of a battle between a and b the classes are
(a wins, tie, b wins) with the logits of a, of the tie and of b; with two experts that is a classifier of three classes.
A tie counts for the weaker expert (arXiv 2406.18665 and its code): P(strong) = 1 - (P(tie) + P(weak)).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.pairwise import PairwiseModel, load_scale
from routoo_core.predictor.quality_model import Weights, read_array

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LinearMap:
    """``(vector - mean) / scale @ weight + bias``.

    Attributes:
        mean: (dim,).
        scale: (dim,).
        weight: (dim, outputs).
        bias: (outputs,).
    """

    mean: Floats = field(repr=False)
    scale: Floats = field(repr=False)
    weight: Floats = field(repr=False)
    bias: Floats = field(repr=False)

    def __call__(self, vectors: Vectors) -> Floats:
        """(prompts, outputs)."""
        outputs = (vectors - self.mean) / self.scale @ self.weight + self.bias
        return outputs.astype(np.float32)

    def weights(self) -> Weights:
        """Its four arrays."""
        return {
            "mean": torch.from_numpy(self.mean),
            "scale": torch.from_numpy(self.scale),
            "weight": torch.from_numpy(self.weight),
            "bias": torch.from_numpy(self.bias),
        }


def load_linear_map(weights: Weights, dim: int, outputs: int) -> LinearMap:
    """Rebuild the map.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: It has other shapes.
    """
    return LinearMap(
        mean=read_array(weights, "mean", dim),
        scale=read_array(weights, "scale", dim),
        weight=read_array(weights, "weight", dim, outputs),
        bias=read_array(weights, "bias", outputs),
    )


@dataclass(frozen=True)
class PairClassifier:
    """What a classifier of battles learnt.

    Attributes:
        linear: Vector → a logit for each expert, and one for a tie.
        ratings: Of the experts over all battles, log-odds, (experts,); a tie counts for the one of the lower rating.
    """

    linear: LinearMap
    ratings: Floats = field(repr=False)

    def win_rates(self, vectors: Vectors) -> Floats:
        """Each expert's mean probability to win, itself included at one half, (prompts, experts)."""
        return classified_win_rates(self.linear(vectors), self.ratings)

    def weights(self) -> Weights:
        """The map and the ratings."""
        return {**self.linear.weights(), "ratings": torch.from_numpy(self.ratings)}


def classified_win_rates(logits: Floats, ratings: Floats) -> Floats:
    """Mean win rates from logits.

    Args:
        logits: Of each expert, and last of a tie, (prompts, experts + 1).
        ratings: Of the experts; a tie counts for the lower one, and half where they are equal.
    """
    experts = len(ratings)
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    win = exponent[:, :experts, None]
    loss = exponent[:, None, :experts]
    tie = exponent[:, experts, None, None]
    tie_share = np.heaviside(ratings[None, :] - ratings[:, None], 0.5)
    rates = (win + tie_share * tie) / (win + tie + loss)
    own = np.arange(experts)
    rates[:, own, own] = 0.5
    mean: Floats = rates.mean(axis=2, dtype=np.float32)
    return mean


def load_pair_classifier(weights: Weights, config: CheckpointConfig) -> PairwiseModel:
    """Rebuild the classifier.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: It is of other vectors or experts.
    """
    experts = len(config.experts)
    linear = load_linear_map(weights, config.dim, experts + 1)
    classifier = PairClassifier(linear, read_array(weights, "ratings", experts))
    return PairwiseModel(classifier, load_scale(weights, config))
