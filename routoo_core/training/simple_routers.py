"""Simple routers that learn from the encoder's vectors: k-NN and the paper's printed head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routoo_core.measures.curve import Array
from routoo_core.measures.simple_routers import KNN, PRINTED_HEAD, mean_scores
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.encoder import EncoderSettings, Vectors
from routoo_core.predictor.quality_model import HeadEnsemble
from routoo_core.training.neighbours import fit_profiles
from routoo_core.training.settings import TrainingConfig

NEIGHBOURS = 40


def predict_simple_routers(
    outcomes: Outcomes, vectors: Vectors, rows: NDArray[np.int64], encoder: EncoderSettings
) -> dict[str, Array]:
    """Predictions of simple routers that learn from the ``train`` rows.

    ``kNN`` predicts each expert's mean score over the nearest prompts. ``printed head`` is the paper's
    ``Linear(h_q - h_m)``.

    Args:
        outcomes: N prompts.
        vectors: The encoder's, (N, dim).
        rows: Prompts to predict.
        encoder: Where the vectors come from.

    Returns:
        Name → predicted quality, (rows, experts).
    """
    train_scores = outcomes.scores[outcomes.rows("train")]
    overall = mean_scores(train_scores)
    nearest = fit_profiles(outcomes, vectors).near(vectors[rows], NEIGHBOURS)
    by_neighbours = np.stack([mean_scores(train_scores[places], overall) for places in nearest])

    config = TrainingConfig(encoder=encoder, head="difference", members=1)
    printed_head = HeadEnsemble.train(outcomes, vectors, config, lambda line: None)
    by_printed_head = printed_head.quality(vectors[rows]).astype(np.float64)

    return {KNN: by_neighbours, PRINTED_HEAD: by_printed_head}
