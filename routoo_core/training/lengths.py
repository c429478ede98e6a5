"""Fit how long each expert's answers are: ridge regression of the log-length, with a smearing correction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Lengths, Vectors
from routoo_core.predictor.lengths import LengthModel

PENALTY = 0.3
"""Ridge penalty for each training prompt and standardised dimension."""

BOUND_QUANTILES = (0.02, 0.98)
"""Quantiles of the training lengths that bound a prediction."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class _Regression:
    """Linear models of the log-length on standardised vectors, filled in expert by expert.

    Attributes:
        weight: dim × experts.
        bias: experts.
        bounds: Shortest and longest length, 2 × experts.
    """

    weight: Doubles = field(repr=False)
    bias: Doubles = field(repr=False)
    bounds: Doubles = field(repr=False)

    @classmethod
    def empty(cls, dim: int, experts: int) -> _Regression:
        weight = np.zeros((dim, experts))
        bias = np.zeros(experts)
        bounds = np.ones((2, experts))
        return cls(weight, bias, bounds)

    def fill(self, experts: NDArray[np.int64], inputs: Doubles, log_lengths: Doubles) -> None:
        """Fit some experts on prompts that all of them answered."""
        weight, bias = _fit_ridge(inputs, log_lengths)
        self.weight[:, experts] = weight
        self.bias[experts] = bias
        quantiles = np.quantile(log_lengths, BOUND_QUANTILES, axis=0)
        self.bounds[:, experts] = np.exp(quantiles)

    def fill_others(self, has_fit: NDArray[np.bool_]) -> None:
        """Give every expert that was not fitted the mean of those that were."""
        others = ~has_fit
        mean_weight = self.weight[:, has_fit].mean(1, keepdims=True)
        self.weight[:, others] = mean_weight

        mean_bias = self.bias[has_fit].mean()
        self.bias[others] = mean_bias

        log_bounds = np.log(self.bounds[:, has_fit])
        mean_log_bounds = log_bounds.mean(1, keepdims=True)
        self.bounds[:, others] = np.exp(mean_log_bounds)


def fit_lengths(vectors: Vectors, lengths: Lengths) -> LengthModel | None:
    """Fit every expert on the prompts whose answers' lengths were observed.

    Args:
        vectors: (prompts, dim).
        lengths: Tokens, prompts × experts, NaN where unknown.

    Returns:
        The model; an expert without any length gets the mean of the others. ``None`` when there are no lengths at all.
    """
    observed = ~np.isnan(lengths)
    if not observed.any():
        return None

    mean = vectors.mean(0, dtype=np.float64)
    scale = np.maximum(vectors.std(0, dtype=np.float64), 1e-6)
    inputs = (vectors - mean) / scale
    tokens = np.nan_to_num(lengths.astype(np.float64))
    log_lengths = np.log(np.maximum(tokens, 1))

    regression = _Regression.empty(vectors.shape[1], lengths.shape[1])
    for rows, experts in _experts_by_prompts(observed):
        if rows.any():
            regression.fill(experts, inputs[rows], log_lengths[np.ix_(rows, experts)])
    regression.fill_others(np.asarray(observed.any(axis=0)))

    # Predictions start from raw vectors: w·(v - mean) / scale + b = (w / scale)·v + (b - mean·(w / scale)).
    weight = regression.weight / scale[:, None]
    bias = regression.bias - mean @ weight
    return LengthModel(
        weight.astype(np.float32),
        bias.astype(np.float32),
        regression.bounds.astype(np.float32),
    )


def add_expert_lengths(
    model: LengthModel, vectors: Vectors, lengths: NDArray[np.float32]
) -> LengthModel:
    """One more expert, the last: the mean model of the others, scaled to the lengths observed of it.

    Args:
        model: Of the other experts.
        vectors: (prompts, dim); there may be none.
        lengths: Tokens of the new expert's answers, (prompts,), NaN where unknown.
    """
    weight = model.weight.mean(1, keepdims=True)
    bias = np.float32(model.bias.mean())
    mean_log_bounds = np.log(model.bounds).mean(1, keepdims=True)
    bounds = np.exp(mean_log_bounds)

    observed = ~np.isnan(lengths)
    if observed.any():
        mean_expert = LengthModel(weight, np.array([bias]), bounds)
        predicted = mean_expert.lengths(vectors[observed]).mean()
        factor = np.maximum(lengths[observed].mean(), 1) / predicted
        bias = bias + np.log(factor)
        bounds = np.maximum(bounds * factor, 1)

    return LengthModel(
        np.concatenate([model.weight, weight], axis=1),
        np.append(model.bias, bias).astype(np.float32),
        np.concatenate([model.bounds, bounds], axis=1).astype(np.float32),
    )


def length_error(predicted: Lengths, observed: Lengths) -> float:
    """Mean |predicted - observed| over the mean observed length, averaged over the experts with known lengths."""
    errors = []
    for expert in range(observed.shape[1]):
        rows = ~np.isnan(observed[:, expert])
        if not rows.any():
            continue
        lengths = observed[rows, expert]
        mean_error = np.abs(predicted[rows, expert] - lengths).mean()
        errors.append(float(mean_error / max(lengths.mean(), 1e-9)))
    return float(np.mean(errors)) if errors else float("nan")


def _experts_by_prompts(
    observed: NDArray[np.bool_],
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """Groups of experts observed on the same prompts, which share one factorisation: prompts, experts."""
    patterns, pattern_of_expert = np.unique(observed, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        prompts = patterns[:, number]
        experts = np.flatnonzero(pattern_of_expert == number)
        yield prompts, experts


def _fit_ridge(inputs: Doubles, log_lengths: Doubles) -> tuple[Doubles, Doubles]:
    """Weight and bias of a ridge regression; the bias has Duan's smearing correction, which makes means right."""
    input_mean = inputs.mean(0)
    log_mean = log_lengths.mean(0)
    deviations = inputs - input_mean
    penalty = PENALTY * len(inputs) * np.eye(inputs.shape[1])

    gram = deviations.T @ deviations + penalty
    moment = deviations.T @ (log_lengths - log_mean)
    weight = np.linalg.solve(gram, moment)

    log_estimates = deviations @ weight + log_mean
    mean_length = np.exp(log_lengths).mean(0)
    mean_fitted_length = np.exp(log_estimates).mean(0)
    smearing = np.log(mean_length / mean_fitted_length)
    return weight, log_mean + smearing - input_mean @ weight
