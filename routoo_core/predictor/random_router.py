"""A router that draws: what every other has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch

from routoo_core.predictor.base import Quality, Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.quality_model import Weights


@dataclass(frozen=True)
class RandomModel:
    """Quality drawn anew for every prompt and expert; the same prompt draws the same.

    Attributes:
        experts: How many there are.
        seed: Another one draws others.
    """

    experts: int
    seed: int = 0

    def quality(self, vectors: Vectors) -> Quality:
        """Uniform over 0–1, (prompts, experts)."""
        quality = np.empty((len(vectors), self.experts), dtype=np.float32)
        for row, vector in zip(quality, vectors, strict=True):
            prompt = crc32(np.ascontiguousarray(vector, dtype=np.float16).tobytes())
            row[:] = np.random.default_rng((self.seed, prompt)).random(self.experts)
        return quality

    def weights(self) -> Weights:
        """The seed."""
        return {"seed": torch.tensor([self.seed])}


def load_random(weights: Weights, config: CheckpointConfig) -> RandomModel:
    """Rebuild the drawing.

    Raises:
        KeyError: The seed is missing.
    """
    return RandomModel(len(config.experts), int(weights["seed"]))
