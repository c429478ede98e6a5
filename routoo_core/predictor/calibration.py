"""Predicted quality → calibrated quality: for each expert a scale and a shift of the log-odds (Platt)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Calibration = NDArray[np.float32]
"""Scale and shift of the log-odds, experts × 2; (1, 0) leaves a quality as it is."""

_EDGE = 1e-4
"""Qualities nearer to 0 or 1 than this are moved to this distance, so that their log-odds are finite."""


def calibrated(quality: NDArray[np.float32], calibration: Calibration) -> NDArray[np.float32]:
    """Apply a calibration; the order of prompts for one expert is kept where the scale is positive."""
    scale = calibration[:, 0]
    shift = calibration[:, 1]
    return logistic(scale * log_odds(quality) + shift).astype(np.float32)


def log_odds(quality: NDArray[np.floating]) -> NDArray[np.floating]:
    """log(q / (1 - q)), finite."""
    inside = np.clip(quality, _EDGE, 1 - _EDGE)
    odds: NDArray[np.floating] = np.log(inside / (1 - inside))
    return odds


def logistic(odds: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 / (1 + exp(-x)), the inverse of :func:`log_odds`."""
    quality: NDArray[np.floating] = 1 / (1 + np.exp(-odds))
    return quality
