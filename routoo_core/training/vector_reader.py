"""Fitting a prompt reader on an encoder's vectors: the same regressions as on n-grams, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.prompt_reader import KIND_OUTPUTS, OUTPUTS, TASTE_OUTPUTS, Floats
from routoo_core.predictor.vector_reader import VectorWeights
from routoo_core.training.kind_regression import fit_kinds
from routoo_core.training.reader_targets import (
    DIFFICULTY,
    FOREIGN,
    LENGTH,
    ReaderTargets,
    Regression,
)

_REGRESSIONS = (DIFFICULTY, TASTE_OUTPUTS, LENGTH, FOREIGN)
_RIDGE = 1.0
_KIND_PENALTY = 0.6
_NORM = 2.0
"""About the length of a vector once it is centred and divided by its unit."""
_SMALLEST = 1e-6


def fit_vector_weights(
    vectors: Vectors, targets: ReaderTargets, subset: NDArray[np.bool_]
) -> VectorWeights:
    """Fit the weights on the vectors of chosen texts.

    Args:
        vectors: Of all texts, (texts, dim).
        targets: What a reader should say of all texts.
        subset: Which texts to learn from, (texts,).
    """
    dim = vectors.shape[1]
    centre = vectors[subset].mean(axis=0)
    deviation = vectors[subset].std(axis=0) + _SMALLEST
    unit = (deviation * np.sqrt(dim) / _NORM).astype(np.float32)
    features = (vectors - centre) / unit

    weight = np.zeros((dim, OUTPUTS), np.float32)
    bias = np.zeros(OUTPUTS, np.float32)
    for outputs in _REGRESSIONS:
        regression = targets.regression(outputs, subset)
        if regression is not None:
            weight[:, outputs] = _ridge(features[regression.rows], regression)
            bias[outputs] = regression.mean
    kinds = targets.kinds(subset)
    if kinds is not None:
        coefficients = fit_kinds(features[kinds.rows], kinds.kinds, kinds.weights, _KIND_PENALTY)
        weight[:, KIND_OUTPUTS] = coefficients[:-1]
        bias[KIND_OUTPUTS] = coefficients[-1]
    return VectorWeights(centre, unit, weight.astype(np.float16), bias)


def _ridge(features: Floats, regression: Regression) -> Floats:
    """Ridge regression by its normal equations, (dim, outputs)."""
    weighted_features = features * regression.weights[:, None]
    squares = (weighted_features.T @ features).astype(np.float64) + _RIDGE * np.eye(
        features.shape[1]
    )
    coefficients: Floats = np.linalg.solve(
        squares, weighted_features.T @ regression.residual
    ).astype(np.float32)
    return coefficients
