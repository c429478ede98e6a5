"""How far prompts are from what a router learnt: RouteLLM's similarity of a benchmark to the training data."""

from __future__ import annotations

import numpy as np

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.neighbours import unit

_BATCH = 512


def closeness(vectors: Vectors, trained: Vectors) -> float:
    """Mean over prompts of the largest cosine with a training prompt, -1 to 1 (arXiv 2406.18665, section 5).

    Args:
        vectors: Of the prompts to measure, (n, dim).
        trained: Of those that were learnt from, (m, dim).
    """
    known = unit(trained)
    largest = []
    for start in range(0, len(vectors), _BATCH):
        batch = unit(vectors[start : start + _BATCH])
        largest.append((batch @ known.T).max(axis=1))
    return float(np.concatenate(largest).mean())
