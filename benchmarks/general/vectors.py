"""An encoder's vectors of the training prompts, kept in a file: encoding them takes most of an hour on one core."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.predictor.base import Vectors
from routoo_core.predictor.encoder import EncoderSettings, LocalEncoder, encoder_fingerprint
from routoo_core.predictor.prompt_reader import Reader
from routoo_core.predictor.vector_reader import VectorReader
from routoo_core.training.general import GeneralFit

LAYERS = (12, 16, 20)
"""Of the encoder, as the routers of one table pool them."""

_EVERY = 50
"""Batches between two lines of progress."""


class VectorFile:
    """An encoder that remembers the vectors of texts that were encoded before.

    Args:
        path: A ``.npz`` file; made where there is none.
        settings: Of the encoder.
    """

    def __init__(self, path: Path, settings: EncoderSettings) -> None:
        self.path = path
        self.settings = settings

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._read()[1].shape[1]

    @property
    def fingerprint(self) -> str:
        """Of the encoder."""
        return encoder_fingerprint(self.settings)

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """The vectors of texts, (texts, dim); those that are not in the file yet are added to it."""
        digests = np.array([_digest(text) for text in texts], dtype=np.uint64)
        known, vectors = self._read()
        is_new = ~np.isin(digests, known)
        if is_new.any():
            new_texts = {int(digests[row]): texts[row] for row in np.flatnonzero(is_new)}
            new_vectors = self._encode_now(list(new_texts.values()))
            known = np.concatenate([known, np.array(list(new_texts), dtype=np.uint64)])
            vectors = np.concatenate([vectors, new_vectors]) if len(vectors) else new_vectors
            np.savez(self.path, digests=known, vectors=vectors)
        order = np.argsort(known)
        rows = order[np.searchsorted(known[order], digests)]
        return vectors[rows].astype(np.float32)

    def _read(self) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
        if not self.path.is_file():
            return np.empty(0, np.uint64), np.empty((0, 0), np.float16)
        with np.load(self.path) as stored:
            return stored["digests"], stored["vectors"]

    def _encode_now(self, texts: Sequence[str]) -> NDArray[np.float16]:
        encoder = LocalEncoder.load(self.settings)
        batches = 0

        def advance(count: int) -> None:
            nonlocal batches
            batches += 1
            if batches % _EVERY == 0:
                print(f"{batches} batches of {len(texts)} texts encoded", file=sys.stderr)

        return encoder.encode(texts, progress=advance).astype(np.float16)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def reader_of(fit: GeneralFit, vectors: VectorFile | None) -> Reader:
    """The reader that was fitted."""
    if vectors is None or fit.weights is None:
        return fit.ngrams
    return VectorReader(fit.ngrams, fit.weights, vectors, Path())
