"""The performance predictor: query encoder, then a scorer of every expert (paper §3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from routoo_core.predictor.base import Forecast, Quality
from routoo_core.predictor.calibration import Calibration, calibrated
from routoo_core.predictor.encoder import Encoder
from routoo_core.predictor.lengths import LengthModel
from routoo_core.predictor.quality_model import Scorer


class PerformancePredictor:
    """Predicts every expert's quality from one pass of the encoder; made by ``load_checkpoint``.

    Args:
        encoder: Text → vector.
        scorer: Vector → quality.
        calibration: Applied to the quality.
        lengths: Vector → tokens of the answers; ``None`` when no lengths were observed.
        experts: One name for each of the heads' experts.
        fingerprint: Of the checkpoint.
        folder: The checkpoint's.
    """

    def __init__(
        self,
        encoder: Encoder,
        scorer: Scorer,
        calibration: Calibration,
        lengths: LengthModel | None,
        experts: Sequence[str],
        fingerprint: str,
        folder: Path,
    ) -> None:
        self.encoder, self.scorer, self.calibration, self.lengths = (
            encoder,
            scorer,
            calibration,
            lengths,
        )
        self.experts, self.fingerprint, self.folder = tuple(experts), fingerprint, folder

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Quality 0–1, shape (prompts, experts)."""
        return self.forecast(prompts).quality

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Quality, and lengths where they were learnt, from one pass."""
        vectors = self.encoder.encode(prompts)
        quality = calibrated(self.scorer.quality(vectors), self.calibration)
        return Forecast(quality, self.lengths.lengths(vectors) if self.lengths else None)
