"""k-NN and cluster profiles: an expert is as good on a prompt as it was on the nearest ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from routoo_core.predictor.base import Quality, Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.quality_model import Weights, read_array
from routoo_core.settings import Settings

Floats = NDArray[np.float32]

PRIOR = 5.0
"""Weight, in observations, of an expert's overall mean against its mean near a prompt."""


class NearestSettings(Settings):
    """How profiles are looked up.

    Attributes:
        neighbours: How many of the nearest points count.
    """

    neighbours: Annotated[int, Field(ge=1)] = 40


@dataclass(frozen=True)
class Profiles:
    """Points in the space of prompts, and how each expert scored there.

    Attributes:
        mean: Subtracted from a vector, (dim,).
        scale: Then divides it, (dim,).
        places: Unit vectors, (P, dim): training prompts, or centres of clusters of them.
        sums: Sum of the scores observed at a point, (P, M).
        counts: Number of them, (P, M).
    """

    mean: Floats = field(repr=False)
    scale: Floats = field(repr=False)
    places: Floats = field(repr=False)
    sums: Floats = field(repr=False)
    counts: Floats = field(repr=False)

    def quality(self, vectors: Vectors, neighbours: int) -> Quality:
        """Mean score at the nearest points, shrunk to the expert's overall mean; (prompts, experts), 0–1."""
        nearest = self.nearest(vectors, neighbours)
        sums = self.sums[nearest].sum(1)
        counts = self.counts[nearest].sum(1)
        total = self.sums.sum(0)
        total_count = self.counts.sum(0)
        overall = (total + 0.5) / (total_count + 1)
        shrunk = (sums + PRIOR * overall) / (counts + PRIOR)
        quality: Quality = shrunk.astype(np.float32)
        return quality

    def nearest(self, vectors: Vectors, count: int) -> NDArray[np.int64]:
        """The ``count`` points nearest to each vector, in no order; all of them if there are fewer."""
        count = min(count, len(self.places))
        z_scores = (vectors - self.mean) / self.scale
        similarity = unit(z_scores) @ self.places.T
        nearest_first = np.argpartition(-similarity, count - 1, axis=1)
        return nearest_first[:, :count]


@dataclass(frozen=True)
class Neighbours:
    """The quality model of ``knn``: k-NN, or cluster profiles if the training prompts were clustered.

    Attributes:
        profiles: The points.
        count: How many of the nearest count.
    """

    profiles: Profiles = field(repr=False)
    count: int

    def quality(self, vectors: Vectors) -> Quality:
        """Mean score at the nearest points."""
        return self.profiles.quality(vectors, self.count)

    def weights(self) -> Weights:
        """The profiles' arrays; only the points in half precision, which counts above 2,048 would not survive."""
        profiles = self.profiles
        return {
            "mean": torch.from_numpy(profiles.mean),
            "scale": torch.from_numpy(profiles.scale),
            "places": torch.from_numpy(profiles.places).half(),
            "sums": torch.from_numpy(profiles.sums),
            "counts": torch.from_numpy(profiles.counts),
        }


def load_neighbours(weights: Weights, config: CheckpointConfig) -> Neighbours:
    """Rebuild the profiles.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: The profiles are of other vectors or experts.
    """
    experts = len(config.experts)
    places = read_array(weights, "places", None, config.dim)
    profiles = Profiles(
        mean=read_array(weights, "mean", config.dim),
        scale=read_array(weights, "scale", config.dim),
        places=places,
        sums=read_array(weights, "sums", len(places), experts),
        counts=read_array(weights, "counts", len(places), experts),
    )
    return Neighbours(profiles, config.training.settings_of(NearestSettings).neighbours)


def unit(vectors: Floats) -> Floats:
    """Vectors of length 1 in the same directions."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: Floats = vectors / np.maximum(lengths, 1e-12)
    return directions.astype(np.float32)
