"""How alike two questions are: the cosine of their vectors, of hashed n-grams or of the predictor's encoder."""

from __future__ import annotations

import base64
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Encoder, Predictor
from routoo_core.predictor.batching import without_batching
from routoo_core.predictor.ngrams import ngrams

NGRAM_DIM = 512
"""Numbers of a vector of n-grams: more tell no more pairs apart."""

Vector = NDArray[np.float32]
"""Of length 1, (dim,)."""


class QuestionVectors(Protocol):
    """Makes the vectors that questions are compared by."""

    @property
    def name(self) -> str:
        """Changes whenever the vectors do: those of different names are not compared."""
        ...

    def of(self, question: str) -> Vector:
        """The vector of a question; thread-safe."""
        ...


class NGramVectors:
    """Vectors of hashed words, pairs of words and sequences of characters; they take a fraction of a millisecond."""

    name = f"ngrams-{NGRAM_DIM}"

    def of(self, question: str) -> Vector:
        """See :meth:`QuestionVectors.of`."""
        parts = ngrams(question.lower())
        vector = np.zeros(NGRAM_DIM, np.float32)
        signs = np.where(parts.buckets // NGRAM_DIM % 2, 1.0, -1.0)
        np.add.at(vector, parts.buckets % NGRAM_DIM, signs * np.sqrt(parts.counts))
        return _of_length_one(vector)


class EncoderVectors:
    """The vectors that a predictor's encoder makes of prompts.

    Args:
        encoder: The predictor's.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def name(self) -> str:
        """See :attr:`QuestionVectors.name`."""
        return self._encoder.fingerprint

    def of(self, question: str) -> Vector:
        """See :meth:`QuestionVectors.of`."""
        return _of_length_one(self._encoder.encode([question])[0])


def find_encoder(predictor: Predictor) -> Encoder | None:
    """The encoder that a predictor reads prompts with; ``None`` where it has none."""
    own = without_batching(predictor)
    encoder: Encoder | None = getattr(own, "encoder", None)
    if encoder is None:
        reader = getattr(getattr(own, "model", None), "reader", None)
        encoder = getattr(reader, "encoder", None)
    return encoder


def pack(vector: Vector) -> str:
    """A vector as a text, in half precision."""
    return base64.b64encode(vector.astype(np.float16).tobytes()).decode()


def unpack(text: str) -> Vector:
    """Read what :func:`pack` wrote."""
    return np.frombuffer(base64.b64decode(text), np.float16).astype(np.float32)


def _of_length_one(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    unit: Vector = (vector / length if length > 0 else vector).astype(np.float32)
    return unit
