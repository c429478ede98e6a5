"""Fit k-NN and cluster profiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routoo_core.outcomes import Outcomes
from routoo_core.predictor.encoder import Vectors
from routoo_core.predictor.neighbours import Floats, Profiles, unit

_LLOYD_STEPS = 15


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
