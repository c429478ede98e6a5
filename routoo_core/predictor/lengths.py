"""How long each expert's answer will be, so that a price per token becomes a prompt's own cost (as in CARROT)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Lengths, Vectors


@dataclass(frozen=True)
class LengthModel:
    """For each expert a linear model of the answer's log-length on the prompt's vector.

    Attributes:
        weight: float32, dim × experts.
        bias: float32, experts; includes the smearing correction, which makes the mean right in tokens, not in logs.
        bounds: Shortest and longest prediction in tokens, float32, 2 × experts: the 2nd and 98th percentile of the
            training lengths. Far from the training prompts a regression would predict anything.
    """

    weight: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)
    bounds: NDArray[np.float32] = field(repr=False)

    def lengths(self, vectors: Vectors) -> Lengths:
        """Expected tokens of each expert's answer, for vectors of shape (prompts, dim)."""
        shortest, longest = np.log(self.bounds)
        log_lengths: Lengths = np.clip(vectors @ self.weight + self.bias, shortest, longest)
        return np.exp(log_lengths)
