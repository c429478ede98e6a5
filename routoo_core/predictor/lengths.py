"""How long each expert's answer will be, so that a price per token becomes a prompt's own cost (as in CARROT)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Lengths
from routoo_core.predictor.encoder import Vectors


@dataclass(frozen=True)
class LengthModel:
    """For each expert a ridge regression of the answer's log-length on the prompt's vector.

    Attributes:
        weight: float32, dim × experts.
        bias: float32, experts. Includes what the mean of the lengths lies above the exponential of the mean log.
        bounds: Shortest and longest prediction in tokens, float32, 2 × experts: the 2nd and 98th per cent of what was
            seen, since far from it a regression says anything.
    """

    weight: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)
    bounds: NDArray[np.float32] = field(repr=False)

    def lengths(self, vectors: Vectors) -> Lengths:
        """Expected tokens of each expert's answer, for vectors of shape (prompts, dim)."""
        logs: Lengths = np.clip(vectors @ self.weight + self.bias, *np.log(self.bounds))
        return np.exp(logs)

    def with_expert(self, vectors: Vectors, lengths: NDArray[np.float32]) -> LengthModel:
        """One more expert, the last: the others' mean shape, scaled to the lengths seen of it, (prompts,) or none."""
        shape, bias = self.weight.mean(1, keepdims=True), np.float32(self.bias.mean())
        bounds, seen = np.exp(np.log(self.bounds).mean(1, keepdims=True)), ~np.isnan(lengths)
        if seen.any():
            alone = LengthModel(shape, np.array([bias]), bounds)
            factor = np.maximum(lengths[seen].mean(), 1) / alone.lengths(vectors[seen]).mean()
            bias, bounds = bias + np.log(factor), np.maximum(bounds * factor, 1)
        return LengthModel(
            np.concatenate([self.weight, shape], axis=1),
            np.append(self.bias, bias).astype(np.float32),
            np.concatenate([self.bounds, bounds], axis=1).astype(np.float32),
        )
