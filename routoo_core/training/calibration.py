"""Fit the calibration of predicted quality (Platt scaling with a prior)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Quality
from routoo_core.predictor.calibration import Calibration, calibrated, log_odds, logistic

PRIOR = 100.0
"""Weight of the prior (1, 0) in prompts: a few hundred dev prompts must not reorder near-equal experts."""

_NEWTON_STEPS = 15


def fit_calibration(quality: Quality, scores: NDArray[np.float32]) -> Calibration:
    """Fit by penalised maximum likelihood (Newton's method), all experts at once.

    Args:
        quality: Predicted, prompts × experts, 0–1.
        scores: Observed, prompts × experts, 0–1 or NaN.
    """
    odds = log_odds(quality.astype(np.float64))
    observed = ~np.isnan(scores)
    score = np.nan_to_num(scores)

    prior = np.tile([1.0, 0.0], (quality.shape[1], 1))
    estimate = prior.copy()
    for _ in range(_NEWTON_STEPS):
        predicted = logistic(estimate[:, 0] * odds + estimate[:, 1])
        residual = (score - predicted) * observed
        weight = predicted * (1 - predicted) * observed

        likelihood_gradient = np.stack([(residual * odds).sum(0), residual.sum(0)], axis=1)
        gradient = likelihood_gradient - PRIOR * (estimate - prior)
        hessian = _negative_hessian(weight, odds)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        estimate = estimate + step
    return estimate.astype(np.float32)


def _negative_hessian(
    weight: NDArray[np.floating], odds: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Of the penalised log-likelihood in scale and shift, experts × 2 × 2."""
    scale_scale = (weight * odds**2).sum(0) + PRIOR
    scale_shift = (weight * odds).sum(0)
    shift_shift = weight.sum(0) + PRIOR
    rows = np.array([[scale_scale, scale_shift], [scale_shift, shift_shift]])
    return rows.transpose(2, 0, 1)


def cross_calibrated(
    quality: Quality, scores: NDArray[np.float32], fingerprints: NDArray[np.uint64]
) -> Quality:
    """Calibrate each half of the held-out prompts by the other half, so that figures are not flattered.

    Args:
        quality: Predicted, prompts × experts, 0–1.
        scores: Observed, prompts × experts, 0–1 or NaN.
        fingerprints: One for each prompt; a question asked twice has one, and is in one half.
    """
    even = fingerprints % 2 == 0
    result = quality.copy()
    for half in (even, ~even):
        calibration = fit_calibration(quality[~half], scores[~half])
        result[half] = calibrated(quality[half], calibration)
    return result
