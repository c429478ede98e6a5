"""Multinomial logistic regression for the kinds of prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from routoo_core.predictor.prompt_reader import KINDS, Floats

_ROUNDS = 60
_SMALLEST = 1e-30


def fit_kinds(
    matrix: csr_matrix | Floats, targets: Floats, weights: Floats, penalty: float
) -> Floats:
    """Fit the weights by maximum a posteriori.

    Args:
        matrix: (texts, features).
        targets: The kinds, (texts, KINDS).
        weights: How much each text counts, (texts,).
        penalty: On the squares of the weights.

    Returns:
        Weights, (features + 1, KINDS), the bias last.
    """
    transpose = matrix.T.tocsr() if isinstance(matrix, csr_matrix) else matrix.T
    features = matrix.shape[1]
    share = weights * (len(weights) / weights.sum())

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = flat.reshape(features + 1, KINDS)
        logits = matrix @ parameters[:-1] + parameters[-1]
        logits -= logits.max(axis=1, keepdims=True)
        probability = np.exp(logits)
        probability /= probability.sum(axis=1, keepdims=True)
        likelihood = np.log((probability * targets).sum(axis=1) + _SMALLEST)
        size = penalty / 2 * np.square(parameters[:-1]).sum()
        error = share[:, None] * (probability - targets)
        gradient = np.vstack([transpose @ error + penalty * parameters[:-1], error.sum(axis=0)])
        return size - float((share * likelihood).sum()), gradient.ravel()

    start = np.zeros((features + 1) * KINDS)
    result = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ROUNDS})
    coefficients: Floats = result.x.reshape(features + 1, KINDS).astype(np.float32)
    return coefficients
