"""Fit the calibration of predicted quality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.calibration import Calibration, _logistic, log_odds

PRIOR = 100.0  # prompts' worth of belief in (1, 0): a few hundred dev prompts must not reorder near-equal experts


_STEPS = 15


def fit_calibration(quality: NDArray[np.float32], scores: NDArray[np.float32]) -> Calibration:
    """Fit by penalised maximum likelihood (Newton's method), all experts at once.

    Args:
        quality: Predicted, prompts × experts, 0–1.
        scores: Observed, prompts × experts, 0–1 or NaN.
    """
    odds, seen, observed = (
        log_odds(quality.astype(np.float64)),
        ~np.isnan(scores),
        np.nan_to_num(scores),
    )
    start = np.tile([1.0, 0.0], (quality.shape[1], 1))
    found = start.copy()
    for _ in range(_STEPS):
        predicted = _logistic(found[:, 0] * odds + found[:, 1])
        residual, weight = (observed - predicted) * seen, predicted * (1 - predicted) * seen
        slope = np.stack([(residual * odds).sum(0), residual.sum(0)], axis=1) - PRIOR * (
            found - start
        )
        cross = (weight * odds).sum(0)
        curvature = np.array(
            [[(weight * odds**2).sum(0) + PRIOR, cross], [cross, weight.sum(0) + PRIOR]]
        )
        found = found + np.linalg.solve(curvature.transpose(2, 0, 1), slope[..., None])[..., 0]
    return found.astype(np.float32)
