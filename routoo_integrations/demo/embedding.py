"""The router's own encoder as a LlamaIndex embedding, so that an index needs no network and no second model."""

from __future__ import annotations

import numpy as np
from llama_index.core.embeddings import BaseEmbedding
from pydantic import Field, PrivateAttr

from routoo_core.predictor.performance import PerformancePredictor


class EncoderEmbedding(BaseEmbedding):
    """Embeds texts as the predictor's heads see them: encoded, standardised, of unit length."""

    model_name: str = Field(default="routoo-encoder")
    _predictor: PerformancePredictor = PrivateAttr()

    def __init__(self, predictor: PerformancePredictor) -> None:
        super().__init__(model_name=predictor.encoder.settings.model, embed_batch_size=16)
        self._predictor = predictor

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex knows it by."""
        return "EncoderEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors = self._predictor.standardised(texts)
        unit: list[list[float]] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tolist()
        return unit

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)
