"""What a prompt reader should say of texts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.prompt_reader import (
    DIFFICULTY_OUTPUT,
    FOREIGN_OUTPUT,
    KIND_OUTPUTS,
    LENGTH_OUTPUT,
    Floats,
)

DIFFICULTY = slice(DIFFICULTY_OUTPUT, DIFFICULTY_OUTPUT + 1)
LENGTH = slice(LENGTH_OUTPUT, LENGTH_OUTPUT + 1)
FOREIGN = slice(FOREIGN_OUTPUT, FOREIGN_OUTPUT + 1)


@dataclass(frozen=True, eq=False)
class Regression:
    """The rows of a linear regression.

    Attributes:
        rows: Which texts, bool, (texts,).
        weights: How much each counts, (rows,).
        mean: Weighted mean of the targets, (outputs,).
        residual: Targets less the mean, (rows, outputs).
    """

    rows: NDArray[np.bool_] = field(repr=False)
    weights: Floats = field(repr=False)
    mean: Floats = field(repr=False)
    residual: Floats = field(repr=False)


@dataclass(frozen=True, eq=False)
class KindTargets:
    """The rows of a regression on kinds.

    Attributes:
        rows: Which texts, bool, (texts,).
        weights: How much each counts, (rows,).
        kinds: Probabilities, (rows, KINDS).
    """

    rows: NDArray[np.bool_] = field(repr=False)
    weights: Floats = field(repr=False)
    kinds: Floats = field(repr=False)


@dataclass(frozen=True, eq=False)
class ReaderTargets:
    """The outputs that a reader should give for each text; NaN where they are unknown.

    Attributes:
        values: float32, (texts, OUTPUTS), in the order of the reader's outputs.
        weights: Weight of each text in the loss of its difficulty, (texts,).
        kind_weights: Weight of each text in the loss of the kinds; 0 leaves it out, (texts,).
        groups: Texts with the same number are about one question and stay in one fold, (texts,).
    """

    values: Floats = field(repr=False)
    weights: Floats = field(repr=False)
    kind_weights: Floats = field(repr=False)
    groups: NDArray[np.intp] = field(repr=False)

    def regression(self, outputs: slice, subset: NDArray[np.bool_]) -> Regression | None:
        """The regression on a subset of the texts whose outputs are known; ``None`` where there is no such text."""
        rows = subset & np.isfinite(self.values[:, outputs]).all(axis=1)
        if not rows.any():
            return None
        weights = np.ones(int(rows.sum()), np.float32)
        if outputs == DIFFICULTY:
            weights = self.weights[rows]
        targets = self.values[rows, outputs]
        mean = (targets * weights[:, None]).sum(axis=0) / weights.sum()
        return Regression(rows, weights, mean, targets - mean)

    def kinds(self, subset: NDArray[np.bool_]) -> KindTargets | None:
        """Chosen texts that count for the kinds; ``None`` where there is none."""
        rows = subset & (self.kind_weights > 0)
        if not rows.any():
            return None
        return KindTargets(rows, self.kind_weights[rows], self.values[rows, KIND_OUTPUTS])
