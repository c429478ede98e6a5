"""Which prompts to label for a new expert."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.neighbours import unit
from routoo_core.training.neighbours import cluster


def check_count(count: int, prompts: int) -> None:
    """Refuse to suggest no prompt, or more than there are.

    Raises:
        ConfigurationError: ``count`` is not between 1 and ``prompts``.
    """
    if not 1 <= count <= prompts:
        raise ConfigurationError(
            f"count: {count} of {prompts} prompts; ask for 1 to {prompts}, or give more"
        )


def suggest_prompts(vectors: Vectors, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Rows of the prompts to label: one near the centre of each of ``count`` clusters, so that no region is left out.

    Args:
        vectors: The router's encoder on the candidates, (N, dim).
        count: How many labels there will be, 1 … N.
        seed: Of the clusters' first centres; the same seed gives the same rows.

    Returns:
        Distinct rows in ascending order, (count,).

    Raises:
        ConfigurationError: ``count`` is not 1 … N.
    """
    check_count(count, len(vectors))
    points = unit((vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6))
    centres, _ = cluster(points, count, np.random.default_rng(seed))
    similarity = points @ centres.T

    rows: list[int] = []
    for to_centre in similarity.T:
        to_centre[rows] = -np.inf
        rows.append(int(to_centre.argmax()))
    return np.array(sorted(rows), dtype=np.int64)
