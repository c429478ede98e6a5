"""Fitting a prompt reader on hashed n-grams: logistic regression for kinds, ridge regression for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.ngrams import BUCKETS, SHAPES, ngrams, shorten
from routoo_core.predictor.prompt_reader import (
    FORMS,
    KIND_OUTPUTS,
    OUTPUTS,
    TASTE_OUTPUTS,
    Floats,
    PromptReader,
    PromptReading,
    bag_of_ngrams,
    split_outputs,
)
from routoo_core.predictor.vector_reader import VectorWeights, average
from routoo_core.training.kind_regression import fit_kinds
from routoo_core.training.reader_targets import DIFFICULTY, FOREIGN, LENGTH, ReaderTargets
from routoo_core.training.vector_reader import fit_vector_weights

FEWEST_TEXTS = 2
"""A bucket that fewer texts fall into says nothing of others."""

_KIND_PENALTY = 0.005
_RIDGES = ((DIFFICULTY, 3.0), (TASTE_OUTPUTS, 3.0), (LENGTH, 3.0), (FOREIGN, 1.0))
"""Outputs that are fitted by ridge regression, each with its penalty."""
_ROUNDS = 30
_SMALLEST = 1e-30
_TOLERANCE = 1e-6
_LARGEST = 127


@dataclass(frozen=True, eq=False)
class _Entries:
    """The entries of the features of all texts, and each text's forms."""

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    value: Floats
    forms: Floats

    def matrix(self, subset: NDArray[np.bool_]) -> csr_matrix:
        """The features of chosen texts, (chosen texts, features)."""
        number = np.cumsum(subset) - 1
        is_in_subset = subset[self.row]
        row = number[self.row[is_in_subset]]
        shape = (int(subset.sum()), BUCKETS + SHAPES)
        return csr_matrix((self.value[is_in_subset], (row, self.column[is_in_subset])), shape)


@dataclass(frozen=True, eq=False)
class FittedReader:
    """A reader, and what readers that had not seen them say of its own texts.

    Attributes:
        ngrams: The reader of n-grams.
        weights: On the vectors, where there were some.
        reading: What was read of the texts.
    """

    ngrams: PromptReader
    weights: VectorWeights | None
    reading: PromptReading


def fit_reader(
    texts: Sequence[str],
    targets: ReaderTargets,
    vectors: Vectors | None = None,
    folds: int = 3,
    advance: Callable[[int], None] = lambda steps: None,
) -> FittedReader:
    """Fit a reader.

    Args:
        texts: The prompts.
        targets: What it should say of them.
        vectors: Of an encoder, (texts, dim); what they say is averaged with what the n-grams say.
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
        outputs[held_out] = entries.matrix(held_out) @ weight + bias
        if vectors is not None:
            by_vectors = fit_vector_weights(vectors, targets, ~held_out).outputs(vectors[held_out])
            outputs[held_out] = average(outputs[held_out], by_vectors)
        advance(1)
    weight, bias = _solve(entries, targets, everything)
    weights = None if vectors is None else fit_vector_weights(vectors, targets, everything)
    advance(1)
    ngrams = _quantise(weight, bias, idf)
    return FittedReader(ngrams, weights, split_outputs(outputs, entries.forms))


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
    entries: _Entries, targets: ReaderTargets, subset: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Weights (features, OUTPUTS) and biases from the chosen texts."""
    weight = np.zeros((BUCKETS + SHAPES, OUTPUTS), np.float32)
    bias = np.zeros(OUTPUTS, np.float32)
    for outputs, penalty in _RIDGES:
        regression = targets.regression(outputs, subset)
        if regression is not None:
            row_weights = np.sqrt(regression.weights)
            matrix = entries.matrix(regression.rows).multiply(row_weights[:, None]).tocsr()
            residual = regression.residual * row_weights[:, None]
            weight[:, outputs] = _ridge(matrix, residual, penalty)
            bias[outputs] = regression.mean

    kinds = targets.kinds(subset)
    if kinds is not None:
        matrix = entries.matrix(kinds.rows)
        coefficients = fit_kinds(matrix, kinds.kinds, kinds.weights, _KIND_PENALTY)
        weight[:, KIND_OUTPUTS] = coefficients[:-1]
        bias[KIND_OUTPUTS] = coefficients[-1]
    return weight, bias


def _ridge(matrix: csr_matrix, targets: Floats, penalty: float) -> Floats:
    """Ridge regression in its dual form, one conjugate-gradient solve for each column at once.

    Rows that count much make the problem uneven, so it is preconditioned by the squares of the rows.
    """
    transpose = matrix.T.tocsr()
    row_squares = np.asarray(matrix.multiply(matrix).sum(axis=1)) + penalty
    residual = targets.astype(np.float64)
    solution = np.zeros_like(residual)
    scaled_residual = residual / row_squares
    direction = scaled_residual.copy()
    product = (residual * scaled_residual).sum(axis=0)
    enough = _TOLERANCE * product
    for _ in range(_ROUNDS):
        image = matrix @ (transpose @ direction) + penalty * direction
        step = product / np.maximum((direction * image).sum(axis=0), _SMALLEST)
        solution += step * direction
        residual -= step * image
        scaled_residual = residual / row_squares
        new_product = (residual * scaled_residual).sum(axis=0)
        if (new_product <= enough).all():
            break
        direction = scaled_residual + new_product / np.maximum(product, _SMALLEST) * direction
        product = new_product
    weights: Floats = (transpose @ solution).astype(np.float32)
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
