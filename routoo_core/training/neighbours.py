"""Fit k-NN and cluster profiles (UniRoute's)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.neighbours import Floats, NearestSettings, Neighbours, Profiles, unit
from routoo_core.progress import Update
from routoo_core.training.encoded import EncodedOutcomes

LLOYD_STEPS = 15


class NeighbourSettings(NearestSettings):
    """Settings of ``knn``.

    Attributes:
        clusters: Gather the training prompts in so many clusters; 0 keeps each prompt.
    """

    clusters: Annotated[int, Field(ge=0)] = 0


def fit_neighbours(
    data: EncodedOutcomes, settings: NeighbourSettings, seed: int, progress: Update
) -> Neighbours:
    """Remember the ``train`` rows, each by itself or as clusters."""
    progress("gathering profiles")
    profiles = fit_profiles(data.outcomes, data.vectors, settings.clusters, seed)
    return Neighbours(profiles, settings.neighbours)


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
    train_vectors = vectors[rows]
    scores = outcomes.scores[rows]
    mean = train_vectors.mean(0)
    scale = train_vectors.std(0) + 1e-6

    points = unit((train_vectors - mean) / scale)
    sums = np.nan_to_num(scores).astype(np.float32)
    counts = (~np.isnan(scores)).astype(np.float32)
    if 0 < clusters < len(points):
        points, cluster_of_point = cluster(points, clusters, np.random.default_rng(seed))
        membership = _membership(cluster_of_point, clusters)
        sums = membership @ sums
        counts = membership @ counts
    return Profiles(mean, scale, points, sums, counts)


def cluster(
    points: Floats, clusters: int, random: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Spherical k-means: centres (clusters, dim) and each point's cluster."""
    centres = points[_first_centres(points, clusters, random)]
    for _ in range(LLOYD_STEPS):
        membership = _membership(_nearest_centre(points, centres), clusters)
        sums = membership @ points
        has_points = membership.any(1, keepdims=True)
        centres = unit(np.where(has_points, sums, centres))
    return centres, _nearest_centre(points, centres)


def _nearest_centre(points: Floats, centres: Floats) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = (points @ centres.T).argmax(1)
    return nearest


def _membership(cluster_of_point: NDArray[np.int64], clusters: int) -> Floats:
    """1 where a point belongs to a cluster, clusters × points."""
    belongs = cluster_of_point == np.arange(clusters)[:, None]
    membership: Floats = belongs.astype(np.float32)
    return membership


def _first_centres(points: Floats, clusters: int, random: np.random.Generator) -> list[int]:
    """Rows far apart: each drawn with probability ∝ its squared distance to the nearest before it (k-means++)."""
    centres = [int(random.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    while len(centres) < clusters:
        # Half the squared distance between unit vectors.
        to_last_centre = np.maximum(1 - points @ points[centres[-1]], 0)
        distance = np.minimum(distance, to_last_centre)
        distance[centres] = 0
        share = distance / distance.sum() if distance.any() else None
        centres.append(int(random.choice(len(points), p=share)))
    return centres
