"""Fit the lengths of answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Lengths
from routoo_core.predictor.encoder import Vectors
from routoo_core.predictor.lengths import LengthModel

PENALTY = 0.3  # of the ridge, for each training prompt and standardised dimension


_SEEN = (0.02, 0.98)


def fit_lengths(vectors: Vectors, lengths: Lengths) -> LengthModel | None:
    """Fit every expert on the prompts whose answers' lengths are known.

    Args:
        vectors: (prompts, dim).
        lengths: Tokens, prompts × experts, NaN where unknown.

    Returns:
        The model; an expert without any length gets the others' mean. ``None`` when there are no lengths at all.
    """
    known = ~np.isnan(lengths)
    if not known.any():
        return None
    mean, scale = (
        vectors.mean(0, dtype=np.float64),
        np.maximum(vectors.std(0, dtype=np.float64), 1e-6),
    )
    inputs = (vectors - mean) / scale
    logs = np.log(np.maximum(np.nan_to_num(lengths.astype(np.float64)), 1))
    weight, bias = np.zeros((vectors.shape[1], lengths.shape[1])), np.zeros(lengths.shape[1])
    bounds = np.ones((2, lengths.shape[1]))
    patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
    for number, rows in enumerate(
        patterns.T
    ):  # experts seen on the same prompts share one factorisation
        experts = np.flatnonzero(pattern_of == number)
        if rows.any():
            weight[:, experts], bias[experts] = _ridge(inputs[rows], logs[np.ix_(rows, experts)])
            bounds[:, experts] = np.exp(np.quantile(logs[np.ix_(rows, experts)], _SEEN, axis=0))
    fitted = known.any(axis=0)
    weight[:, ~fitted], bias[~fitted] = (
        weight[:, fitted].mean(1, keepdims=True),
        bias[fitted].mean(),
    )
    bounds[:, ~fitted] = np.exp(np.log(bounds[:, fitted]).mean(1, keepdims=True))
    weight /= scale[:, None]
    return LengthModel(
        *(part.astype(np.float32) for part in (weight, bias - mean @ weight, bounds))
    )


def length_error(predicted: Lengths, observed: Lengths) -> float:
    """Mean |predicted - observed| over the mean of the observed, averaged over the experts whose lengths are known."""
    known = ~np.isnan(observed)
    errors = [
        float(
            np.abs(predicted[rows, m] - observed[rows, m]).mean()
            / max(observed[rows, m].mean(), 1e-9)
        )
        for m, rows in enumerate(known.T)
        if rows.any()
    ]
    return float(np.mean(errors)) if errors else float("nan")


def _ridge(
    inputs: NDArray[np.float64], logs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centre = inputs.mean(0)
    middle = logs.mean(0)
    gram = (inputs - centre).T @ (inputs - centre) + PENALTY * len(inputs) * np.eye(inputs.shape[1])
    weight = np.linalg.solve(gram, (inputs - centre).T @ (logs - middle))
    fitted = (inputs - centre) @ weight + middle
    smear = np.log(np.exp(logs).mean(0) / np.exp(fitted).mean(0))
    return weight, middle + smear - centre @ weight
