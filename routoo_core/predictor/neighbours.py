"""k-NN and cluster profiles: an expert is as good on a prompt as it was on the ones nearest to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Quality
from routoo_core.predictor.encoder import Vectors

Floats = NDArray[np.float32]

PRIOR = 5.0  # observations' worth of belief in an expert's own mean
_LLOYD_STEPS = 15


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


def fit_profiles(
    outcomes: Outcomes, vectors: Vectors, clusters: int = 0, seed: int = 0
) -> Profiles:
    """Remember the ``train`` rows, each by itself or gathered in ``clusters`` (UniRoute's profiles).

    Args:
        outcomes: N prompts × M experts; missing pairs are left out.
        vectors: The encoder's, (N, dim).
        clusters: 0 keeps every prompt; more saves memory and time.
        seed: Of the clustering.
    """
    rows = outcomes.rows("train")
    known, scores = vectors[rows], outcomes.scores[rows]
    mean, scale = known.mean(0), known.std(0) + 1e-6
    places, seen = unit((known - mean) / scale), (~np.isnan(scores)).astype(np.float32)
    sums = np.nan_to_num(scores).astype(np.float32)
    if 0 < clusters < len(places):
        places, member = cluster(places, clusters, np.random.default_rng(seed))
        gather = (member == np.arange(clusters)[:, None]).astype(np.float32)
        sums, seen = gather @ sums, gather @ seen
    return Profiles(mean, scale, places, sums, seen)


def cluster(
    points: Floats, clusters: int, random: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Spherical k-means: centres (clusters, dim) and each point's cluster."""
    centres = points[_first_centres(points, clusters, random)]
    for _ in range(_LLOYD_STEPS):
        member = (points @ centres.T).argmax(1)
        gather = (member == np.arange(clusters)[:, None]).astype(np.float32)
        moved = gather @ points
        centres = unit(np.where(gather.any(1, keepdims=True), moved, centres))
    return centres, (points @ centres.T).argmax(1)


def _first_centres(points: Floats, clusters: int, random: np.random.Generator) -> list[int]:
    """Rows far apart: each drawn with probability ∝ its squared distance to the nearest before it (k-means++)."""
    chosen = [int(random.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < clusters:
        half_square = np.maximum(
            1 - points @ points[chosen[-1]], 0
        )  # of the distance between unit vectors
        distance = np.minimum(distance, half_square)
        distance[chosen] = 0
        even = not distance.any()
        chosen.append(
            int(random.choice(len(points), p=None if even else distance / distance.sum()))
        )
    return chosen


def unit(vectors: Floats) -> Floats:
    """Vectors of length 1 in the same directions."""
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled.astype(np.float32)
