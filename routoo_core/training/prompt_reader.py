"""Fitting a prompt reader on hashed n-grams: logistic regression for kinds, ridge regression for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from routoo_core.predictor.ngrams import BUCKETS, SHAPES, ngrams, shorten
from routoo_core.predictor.prompt_reader import (
    DIFFICULTY_OUTPUT,
    FOREIGN_OUTPUT,
    FORMS,
    KIND_OUTPUTS,
    KINDS,
    LENGTH_OUTPUT,
    OUTPUTS,
    TASTE_OUTPUTS,
    PromptReader,
    PromptReading,
    bag_of_ngrams,
    split_outputs,
)

Floats = NDArray[np.float32]

FEWEST_TEXTS = 2
"""A bucket that fewer texts fall into says nothing of others."""

_KIND_PENALTY = 0.005
_KIND_ROUNDS = 60
_RIDGES = (
    (slice(DIFFICULTY_OUTPUT, DIFFICULTY_OUTPUT + 1), 3.0),
    (TASTE_OUTPUTS, 3.0),
    (slice(LENGTH_OUTPUT, LENGTH_OUTPUT + 1), 3.0),
    (slice(FOREIGN_OUTPUT, FOREIGN_OUTPUT + 1), 1.0),
)
"""Difficulty, tastes, length and language, each with its penalty."""
_ROUNDS = 30
_SMALLEST = 1e-30
_TOLERANCE = 1e-6
_LARGEST = 127


@dataclass(frozen=True, eq=False)
class ReaderTargets:
    """What a reader should say of each text; NaN where nobody knows.

    Attributes:
        values: float32, (texts, OUTPUTS), in the order of the reader's outputs.
        weights: How much a text counts for its difficulty, (texts,).
        kind_weights: How much it counts for the kinds; 0 leaves it out, (texts,).
        groups: Texts of the same number are about one question and never on both sides of a fold, (texts,).
    """

    values: Floats = field(repr=False)
    weights: Floats = field(repr=False)
    kind_weights: Floats = field(repr=False)
    groups: NDArray[np.intp] = field(repr=False)


@dataclass(frozen=True, eq=False)
class _Entries:
    """The entries of the features of all texts, and each text's forms."""

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    value: Floats
    forms: Floats

    def matrix(self, chosen: NDArray[np.bool_], row_weights: Floats) -> csr_matrix:
        """The features of chosen texts, each row times its weight."""
        number = np.cumsum(chosen) - 1
        is_chosen = chosen[self.row]
        row = self.row[is_chosen]
        value = self.value[is_chosen] * row_weights[row]
        shape = (int(chosen.sum()), BUCKETS + SHAPES)
        return csr_matrix((value, (number[row], self.column[is_chosen])), shape)


@dataclass(frozen=True, eq=False)
class FittedReader:
    """A reader, and what readers that had not seen them say of its own texts."""

    reader: PromptReader
    reading: PromptReading


def fit_reader(
    texts: Sequence[str],
    targets: ReaderTargets,
    folds: int = 3,
    advance: Callable[[int], None] = lambda steps: None,
) -> FittedReader:
    """Fit a reader.

    Args:
        texts: The prompts.
        targets: What it should say of them.
        folds: In how many parts the texts are read by a reader of the others.
        advance: Called with 1 after each of ``folds + 1`` fits.
    """
    idf = _inverse_frequencies(texts)
    entries = _collect_entries(texts, idf)
    fold = np.random.default_rng(0).permutation(int(targets.groups.max()) + 1) % folds
    fold_of_text = fold[targets.groups]

    outputs = np.empty_like(targets.values)
    everything = np.ones(len(texts), dtype=bool)
    for number in range(folds):
        held_out = fold_of_text == number
        weight, bias = _solve(entries, targets, ~held_out)
        matrix = entries.matrix(held_out, np.ones(len(texts), np.float32))
        outputs[held_out] = matrix @ weight + bias
        advance(1)
    weight, bias = _solve(entries, targets, everything)
    advance(1)
    reader = _quantise(weight, bias, idf)
    return FittedReader(reader, split_outputs(outputs, entries.forms))


def _inverse_frequencies(texts: Sequence[str]) -> NDArray[np.float16]:
    """How rare each bucket is, 0 for those of too few texts."""
    frequency = np.zeros(BUCKETS)
    for text in texts:
        frequency[ngrams(shorten(text)).buckets] += 1
    idf = np.log((1 + len(texts)) / (1 + frequency)) + 1
    return np.where(frequency >= FEWEST_TEXTS, idf, 0).astype(np.float16)


def _collect_entries(texts: Sequence[str], idf: NDArray[np.float16]) -> _Entries:
    rows = []
    columns = []
    values = []
    forms = np.empty((len(texts), FORMS), np.float32)
    shape_columns = np.arange(BUCKETS, BUCKETS + SHAPES)
    for number, text in enumerate(texts):
        features = bag_of_ngrams(text, idf)
        columns.append(np.concatenate([features.buckets, shape_columns]))
        values.append(np.concatenate([features.values, features.shape]))
        rows.append(np.full(len(columns[-1]), number, dtype=np.intp))
        forms[number] = features.forms
    return _Entries(np.concatenate(rows), np.concatenate(columns), np.concatenate(values), forms)


def _solve(
    entries: _Entries, targets: ReaderTargets, chosen: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Weights (features, OUTPUTS) and biases from the chosen texts."""
    weight = np.zeros((BUCKETS + SHAPES, OUTPUTS), np.float32)
    bias = np.zeros(OUTPUTS, np.float32)
    for outputs, penalty in _RIDGES:
        known = chosen & np.isfinite(targets.values[:, outputs]).all(axis=1)
        if not known.any():
            continue
        is_difficulty = outputs.start == DIFFICULTY_OUTPUT
        share = targets.weights if is_difficulty else np.ones(len(known), np.float32)
        row_weights = np.sqrt(share)
        wanted = targets.values[known, outputs]
        bias[outputs] = (wanted * share[known, None]).sum(axis=0) / share[known].sum()
        residual = (wanted - bias[outputs]) * row_weights[known, None]
        weight[:, outputs] = _ridge(entries.matrix(known, row_weights), residual, penalty)

    known = chosen & (targets.kind_weights > 0)
    if known.any():
        ones = np.ones(len(known), np.float32)
        fitted = _fit_kinds(
            entries.matrix(known, ones),
            targets.values[known, KIND_OUTPUTS],
            targets.kind_weights[known],
        )
        weight[:, KIND_OUTPUTS] = fitted[:-1]
        bias[KIND_OUTPUTS] = fitted[-1]
    return weight, bias


def _fit_kinds(matrix: csr_matrix, wanted: Floats, weights: Floats) -> Floats:
    """Multinomial logistic regression; weights (features + 1, KINDS), the bias last."""
    transposed = matrix.T.tocsr()
    features = matrix.shape[1]
    share = weights * (len(weights) / weights.sum())

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = flat.reshape(features + 1, KINDS)
        logits = matrix @ parameters[:-1] + parameters[-1]
        logits -= logits.max(axis=1, keepdims=True)
        probability = np.exp(logits)
        probability /= probability.sum(axis=1, keepdims=True)
        likelihood = np.log((probability * wanted).sum(axis=1) + _SMALLEST)
        penalty = _KIND_PENALTY / 2 * np.square(parameters[:-1]).sum()
        error = share[:, None] * (probability - wanted)
        gradient = np.vstack(
            [transposed @ error + _KIND_PENALTY * parameters[:-1], error.sum(axis=0)]
        )
        return penalty - float((share * likelihood).sum()), gradient.ravel()

    start = np.zeros((features + 1) * KINDS)
    result = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _KIND_ROUNDS})
    fitted: Floats = result.x.reshape(features + 1, KINDS).astype(np.float32)
    return fitted


def _ridge(matrix: csr_matrix, wanted: Floats, penalty: float) -> Floats:
    """Ridge regression in its dual form, one conjugate-gradient solve for each column at once.

    Rows that count much make the problem uneven, so it is preconditioned by the squares of the rows.
    """
    transposed = matrix.T.tocsr()
    row_squares = np.asarray(matrix.multiply(matrix).sum(axis=1)) + penalty
    residual = wanted.astype(np.float64)
    solution = np.zeros_like(residual)
    scaled = residual / row_squares
    direction = scaled.copy()
    product = (residual * scaled).sum(axis=0)
    enough = _TOLERANCE * product
    for _ in range(_ROUNDS):
        image = matrix @ (transposed @ direction) + penalty * direction
        step = product / np.maximum((direction * image).sum(axis=0), _SMALLEST)
        solution += step * direction
        residual -= step * image
        scaled = residual / row_squares
        new_product = (residual * scaled).sum(axis=0)
        if (new_product <= enough).all():
            break
        direction = scaled + new_product / np.maximum(product, _SMALLEST) * direction
        product = new_product
    weights: Floats = (transposed @ solution).astype(np.float32)
    return weights


def _quantise(weight: Floats, bias: Floats, idf: NDArray[np.float16]) -> PromptReader:
    """Weights of buckets in one byte each, in units of the output and of the bucket."""
    of_buckets = weight[:BUCKETS]
    scale = np.maximum(np.abs(of_buckets).mean(axis=0), _SMALLEST)
    relative = of_buckets / scale
    bucket_scale = np.maximum(np.abs(relative).max(axis=1), _SMALLEST) / _LARGEST
    return PromptReader(
        idf=idf,
        weight=np.round(relative / bucket_scale[:, None]).astype(np.int8),
        bucket_scale=bucket_scale.astype(np.float32),
        scale=scale.astype(np.float32),
        shape_weight=weight[BUCKETS:],
        bias=bias,
    )
