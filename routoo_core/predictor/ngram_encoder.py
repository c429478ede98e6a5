"""An encoder without a language model: hashed n-grams of a text, a fraction of a millisecond and no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.ngrams import BUCKETS, SHAPES, ngrams, shorten, text_shape

NGRAMS = "ngrams"
SMALLEST_DIM = 64
_SEED = 7
"""Of the places that buckets fall on; another seed would make other vectors."""


@dataclass(frozen=True)
class NgramEncoder:
    """Every n-gram adds to one number of the vector, with a sign of its own; ``ngrams:1024`` in ``EncoderSettings``.

    Attributes:
        dim: Length of a vector; the last of its numbers say what form the text has.
    """

    dim: int

    @property
    def fingerprint(self) -> str:
        """The kind and the length say all."""
        return f"{NGRAMS}:{self.dim}"

    def encode(
        self, prompts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """Encode texts; thread-safe, float32, shape (prompts, dim)."""
        hash_dim = self.dim - SHAPES
        place, sign = _places(hash_dim)
        vectors = np.zeros((len(prompts), self.dim), dtype=np.float32)
        for vector, prompt in zip(vectors, prompts, strict=True):
            text = shorten(prompt)
            parts = ngrams(text)
            weight = np.log1p(parts.counts) * sign[parts.buckets]
            sums = np.bincount(place[parts.buckets], weights=weight, minlength=hash_dim)
            vector[:hash_dim] = sums / max(float(np.linalg.norm(sums)), 1e-6)
            vector[hash_dim:] = text_shape(text)
        if progress:
            progress(len(prompts))
        return vectors


@lru_cache(maxsize=8)
def _places(hash_dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The number of the vector that each bucket adds to, and the sign with which it does, (BUCKETS,)."""
    random = np.random.default_rng(_SEED)
    place = random.integers(0, hash_dim, BUCKETS)
    sign = random.choice(np.array([-1, 1], dtype=np.float32), BUCKETS)
    return place, sign


def read_ngram_encoder(model: str) -> NgramEncoder:
    """The encoder that ``ngrams:1024`` names.

    Raises:
        ConfigurationError: No number follows, or a small one.
    """
    _, _, number = model.partition(":")
    if not number.isdecimal() or int(number) < SMALLEST_DIM:
        raise ConfigurationError(
            f"encoder.model: {model!r} needs a length of at least {SMALLEST_DIM}, such as '{NGRAMS}:1024'"
        )
    return NgramEncoder(int(number))
