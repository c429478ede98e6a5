"""A small lexical embedding, so that the demo's index needs neither a network nor a second model."""

from __future__ import annotations

import re
import zlib

import numpy as np
from llama_index.core.embeddings import BaseEmbedding

DIM = 2048
STEM = 5  # letters of a word that count, so that "price" and "prices" meet
SHORTEST = 4  # shorter words are mostly function words


class WordEmbedding(BaseEmbedding):
    """Hashes the stems of a text's words into a unit vector, so that texts with common words are close."""

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex knows it by."""
        return "WordEmbedding"

    def _get_text_embedding(self, text: str) -> list[float]:
        counts = np.zeros(DIM)
        for word in re.findall(r"\w+", text.lower()):
            if len(word) >= SHORTEST:
                stem = word[:STEM]
                counts[zlib.crc32(stem.encode()) % DIM] += 1

        vector = np.sqrt(counts)
        length = max(np.linalg.norm(vector), 1e-12)
        unit_vector: list[float] = (vector / length).tolist()
        return unit_vector

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)
