"""The paper's performance predictor: query encoder, expert embeddings, head (§3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from routoo_core.predictor.base import Quality
from routoo_core.predictor.encoder import Encoder
from routoo_core.predictor.head import Head
from routoo_core.predictor.training import ensemble_quality


class PerformancePredictor:
    """Predicts every expert's quality from one pass of the encoder; made by ``load_checkpoint``.

    Args:
        encoder: Text → vector.
        heads: Ensemble members; their qualities are averaged.
        experts: One name for each of the heads' experts.
        fingerprint: Of the checkpoint.
    """

    def __init__(self, encoder: Encoder, heads: list[Head], experts: Sequence[str], fingerprint: str) -> None:
        self.encoder, self.heads = encoder, heads
        self.experts, self.fingerprint = tuple(experts), fingerprint

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Quality 0–1, shape (prompts, experts)."""
        return ensemble_quality(self.heads, self.encoder.encode(prompts))
