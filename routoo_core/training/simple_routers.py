"""Simple routers that learn from the encoder's vectors: k-NN and the paper's printed head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routoo_core.measures.curve import Array
from routoo_core.measures.simple_routers import KNN, PRINTED_HEAD, mean_scores
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Vectors
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.head_ensemble import HeadTrainingSettings, fit_head_ensemble
from routoo_core.training.neighbours import fit_profiles

NEIGHBOURS = 40

Rows = NDArray[np.int64]


def predict_simple_routers(outcomes: Outcomes, vectors: Vectors, rows: Rows) -> dict[str, Array]:
    """Predictions of simple routers that learn from the ``train`` rows.

    ``kNN`` predicts each expert's mean score over the nearest prompts. ``printed head`` is the paper's
    ``Linear(h_q - h_m)``.

    Args:
        outcomes: N prompts.
        vectors: The encoder's, (N, dim).
        rows: Prompts to predict.

    Returns:
        Name → predicted quality, (rows, experts).
    """
    settings = HeadTrainingSettings(head="difference", members=1)
    printed_head = fit_head_ensemble(EncodedOutcomes(outcomes, vectors), settings)
    return {
        KNN: _predict_knn(outcomes, vectors, rows),
        PRINTED_HEAD: printed_head.quality(vectors[rows]).astype(np.float64),
    }


def _predict_knn(outcomes: Outcomes, vectors: Vectors, rows: Rows) -> Array:
    scores = outcomes.scores[outcomes.rows("train")]
    overall = mean_scores(scores)
    nearest = fit_profiles(outcomes, vectors).nearest(vectors[rows], NEIGHBOURS)
    return np.stack([mean_scores(scores[neighbours], overall) for neighbours in nearest])
