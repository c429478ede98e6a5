"""k-NN and cluster profiles: an expert is as good on a prompt as it was on the ones nearest to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Quality
from routoo_core.predictor.encoder import Vectors

Floats = NDArray[np.float32]

PRIOR = 5.0  # observations' worth of belief in an expert's own mean


@dataclass(frozen=True)
class Profiles:
    """Places in the space of prompts, and how each expert did there.

    Attributes:
        mean: Subtracted from a vector, (dim,).
        scale: Then divides it, (dim,).
        places: Unit vectors, (P, dim): training prompts, or centres of clusters of them.
        sums: Sum of the scores observed at a place, (P, M).
        counts: Number of them, (P, M).
    """

    mean: Floats = field(repr=False)
    scale: Floats = field(repr=False)
    places: Floats = field(repr=False)
    sums: Floats = field(repr=False)
    counts: Floats = field(repr=False)

    def quality(self, vectors: Vectors, neighbours: int) -> Quality:
        """Mean score at the nearest places, shrunk to the expert's own mean; (prompts, experts), 0–1."""
        near = self.near(vectors, neighbours)
        sums, counts = self.sums[near].sum(1), self.counts[near].sum(1)
        own = (self.sums.sum(0) + 0.5) / (self.counts.sum(0) + 1)
        shrunk: Quality = ((sums + PRIOR * own) / (counts + PRIOR)).astype(np.float32)
        return shrunk

    def near(self, vectors: Vectors, count: int) -> NDArray[np.int64]:
        """The ``count`` places nearest to each vector, in no order; all of them if there are fewer."""
        count = min(count, len(self.places))
        similarity = unit((vectors - self.mean) / self.scale) @ self.places.T
        return np.argpartition(-similarity, count - 1, axis=1)[:, :count]


def unit(vectors: Floats) -> Floats:
    """Vectors of length 1 in the same directions."""
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled.astype(np.float32)
