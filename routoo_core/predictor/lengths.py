"""How long each expert's answer will be, so that a price per token becomes a prompt's own cost (as in CARROT)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Lengths
from routoo_core.predictor.encoder import Vectors

PENALTY = 0.3  # of the ridge, for each training prompt and standardised dimension
_SEEN = (0.02, 0.98)


@dataclass(frozen=True)
class LengthModel:
    """For each expert a ridge regression of the answer's log-length on the prompt's vector.

    Attributes:
        weight: float32, dim × experts.
        bias: float32, experts. Includes what the mean of the lengths lies above the exponential of the mean log.
        bounds: Shortest and longest prediction in tokens, float32, 2 × experts: the 2nd and 98th per cent of what was
            seen, since far from it a regression says anything.
    """

    weight: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)
    bounds: NDArray[np.float32] = field(repr=False)

    def lengths(self, vectors: Vectors) -> Lengths:
        """Expected tokens of each expert's answer, for vectors of shape (prompts, dim)."""
        logs: Lengths = np.clip(vectors @ self.weight + self.bias, *np.log(self.bounds))
        return np.exp(logs)

    def with_expert(self, vectors: Vectors, lengths: NDArray[np.float32]) -> LengthModel:
        """One more expert, the last: the others' mean shape, scaled to the lengths seen of it, (prompts,) or none."""
        shape, bias = self.weight.mean(1, keepdims=True), np.float32(self.bias.mean())
        bounds, seen = np.exp(np.log(self.bounds).mean(1, keepdims=True)), ~np.isnan(lengths)
        if seen.any():
            alone = LengthModel(shape, np.array([bias]), bounds)
            factor = np.maximum(lengths[seen].mean(), 1) / alone.lengths(vectors[seen]).mean()
            bias, bounds = bias + np.log(factor), np.maximum(bounds * factor, 1)
        return LengthModel(
            np.concatenate([self.weight, shape], axis=1),
            np.append(self.bias, bias).astype(np.float32),
            np.concatenate([self.bounds, bounds], axis=1).astype(np.float32),
        )


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
