"""How far prompts are from what a router learnt: RouteLLM's similarity of a benchmark to the training data."""

from __future__ import annotations

import numpy as np

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.neighbours import unit

_BATCH = 512


def closeness(vectors: Vectors, training_vectors: Vectors) -> float:
    """Mean over prompts of the largest cosine with a training prompt, -1 to 1 (arXiv 2406.18665, section 5).

    Args:
        vectors: Of the prompts to measure, (n, dim).
        training_vectors: Of those that were learnt from, (m, dim).
    """
    unit_training = unit(training_vectors)
    largest = []
    for start in range(0, len(vectors), _BATCH):
        batch = unit(vectors[start : start + _BATCH])
        largest.append((batch @ unit_training.T).max(axis=1))
    return float(np.concatenate(largest).mean())
