"""A causal language model that scores experts before they answer: five score tokens for each (RouteLLM's).

The model reads the prompt and an instruction to predict how good an answer will be. At the next token it has five
logits for each expert, scores 1 to 5. An expert suffices with probability ``p₄ + p₅`` (arXiv 2406.18665 and its
code, which score the weak one of two experts). Departure: the score is read at the next token; nothing is generated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Quality, Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.pair_classifier import LinearMap, load_linear_map
from routoo_core.predictor.quality_model import Weights

SCORES = 5
_SUFFICIENT = 3
"""Index of the lowest score that suffices, which is 4."""

INSTRUCTION = (
    "\n\nPredict how good an assistant's answer to this will be, from 1 (it fails) over 3 (it is adequate) "
    "to 5 (it is excellent). Score:"
)
"""What the preset puts after a prompt."""


@dataclass(frozen=True)
class ScoreTokens:
    """The quality model of ``causal``.

    Attributes:
        linear: The state at the last token → logits of the scores of every expert, (dim, experts · 5).
    """

    linear: LinearMap

    def quality(self, vectors: Vectors) -> Quality:
        """Probability that each expert's answer suffices, (prompts, experts)."""
        return sufficient(self.linear(vectors))

    def weights(self) -> Weights:
        """The map."""
        return self.linear.weights()


def sufficient(logits: NDArray[np.float32]) -> Quality:
    """``p₄ + p₅`` of each expert, (prompts, experts), from logits (prompts, experts · 5)."""
    by_score = logits.reshape(len(logits), -1, SCORES)
    exponent = np.exp(by_score - by_score.max(axis=2, keepdims=True))
    quality: Quality = exponent[:, :, _SUFFICIENT:].sum(axis=2) / exponent.sum(axis=2)
    return quality.astype(np.float32)


def load_score_tokens(weights: Weights, config: CheckpointConfig) -> ScoreTokens:
    """Rebuild the score tokens.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: They are of other vectors or experts.
    """
    return ScoreTokens(load_linear_map(weights, config.dim, SCORES * len(config.experts)))
