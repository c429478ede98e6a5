"""Prompt → kind, difficulty and length by a small language model's layers, averaged with what n-grams say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Encoder, Vectors
from routoo_core.predictor.prompt_reader import (
    OUTPUTS,
    Floats,
    PromptReader,
    PromptReading,
    split_outputs,
)


@dataclass(frozen=True, eq=False)
class VectorWeights:
    """Linear weights on an encoder's vectors, as a checkpoint holds them.

    Attributes:
        centre: The mean vector, float32, (dim,).
        unit: What each number of a vector is divided by, float32, (dim,).
        weight: float16, (dim, OUTPUTS).
        bias: float32, (OUTPUTS,).
    """

    centre: Floats = field(repr=False)
    unit: Floats = field(repr=False)
    weight: NDArray[np.float16] = field(repr=False)
    bias: Floats = field(repr=False)

    def outputs(self, vectors: Vectors) -> Floats:
        """What a reader says of prompts with these vectors, (prompts, OUTPUTS)."""
        features = ((vectors - self.centre) / self.unit).astype(np.float32)
        return features @ self._weight + self.bias

    @cached_property
    def _weight(self) -> Floats:
        return self.weight.astype(np.float32)

    def check(self, dim: int) -> None:
        """Refuse weights that do not fit vectors of a length.

        Raises:
            ValueError: A shape is another; the message names it.
        """
        if self.weight.shape != (dim, OUTPUTS) or self.centre.shape != (dim,):
            raise ValueError(
                f"vectors.weight of shape {self.weight.shape} is not {dim} numbers × {OUTPUTS}"
            )


@dataclass(frozen=True, eq=False)
class VectorReader:
    """The mean of what an encoder's vectors say and what n-grams say.

    Attributes:
        ngrams: The reader of n-grams.
        weights: On the vectors.
        encoder: Makes the vectors.
        folder: The checkpoint's; copies in other processes load it again.
    """

    ngrams: PromptReader
    weights: VectorWeights
    encoder: Encoder
    folder: Path

    def read(self, prompts: Sequence[str]) -> PromptReading:
        """Read prompts; thread-safe."""
        by_ngrams = self.ngrams.outputs(prompts)
        by_vectors = self.weights.outputs(self.encoder.encode(prompts))
        return split_outputs(average(by_ngrams.values, by_vectors), by_ngrams.forms)


def average(by_ngrams: Floats, by_vectors: Floats) -> Floats:
    """What two readers say together, (prompts, OUTPUTS)."""
    return (by_ngrams + by_vectors) * np.float32(0.5)
