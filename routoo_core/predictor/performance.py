"""The performance predictor: query encoder, then the quality of every expert (paper §3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routoo_core.predictor.adapter import Adapter
from routoo_core.predictor.base import Encoder, Forecast, Quality
from routoo_core.predictor.calibration import Calibration, calibrated
from routoo_core.predictor.lengths import LengthModel
from routoo_core.predictor.quality_model import QualityModel


@dataclass(frozen=True)
class PredictorParts:
    """What training fitted, and a checkpoint holds.

    Attributes:
        quality_model: Vector → quality.
        calibration: Applied to the quality.
        lengths: Vector → tokens of the answers; ``None`` when no lengths were observed.
        adapter: The encoder's; ``None`` when it stayed frozen.
    """

    quality_model: QualityModel
    calibration: Calibration
    lengths: LengthModel | None = None
    adapter: Adapter | None = None


class PerformancePredictor:
    """Predicts every expert's quality from one pass of the encoder; made by ``load_checkpoint``.

    Args:
        encoder: Text → vector; a trained adapter is part of it.
        parts: Vector → quality and lengths.
        experts: One name for each column of the prediction.
        fingerprint: Of the checkpoint.
        folder: The checkpoint's.
    """

    def __init__(
        self,
        encoder: Encoder,
        parts: PredictorParts,
        experts: Sequence[str],
        fingerprint: str,
        folder: Path,
    ) -> None:
        self.encoder = encoder
        self.quality_model = parts.quality_model
        self.calibration = parts.calibration
        self.lengths = parts.lengths
        self.experts = tuple(experts)
        self.fingerprint = fingerprint
        self.folder = folder

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Quality 0–1, shape (prompts, experts)."""
        return self.forecast(prompts).quality

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Quality, and lengths if they were fitted, from one pass."""
        vectors = self.encoder.encode(prompts)
        quality = calibrated(self.quality_model.quality(vectors), self.calibration)
        lengths = self.lengths.lengths(vectors) if self.lengths else None
        return Forecast(quality, lengths)
