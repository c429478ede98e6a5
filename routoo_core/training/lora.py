"""How the encoder is trained with a fitted model; without the packages that do it, which are slow to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from routoo_core.predictor.adapter import Adapter, LoraSettings
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.predictor.quality_model import QualityModel
from routoo_core.settings import Settings


@dataclass(frozen=True)
class FineTuning:
    """What is trained, and where a killed run goes on.

    Attributes:
        encoder: Which encoder.
        lora: What is trained of it, and the optimiser.
        algorithm_settings: Settings that the model was fitted with.
        seed: Of everything that is drawn.
        resume_file: A killed run goes on from this file; it is removed at the end.
    """

    encoder: EncoderSettings
    lora: LoraSettings
    algorithm_settings: Settings
    seed: int
    resume_file: Path


@dataclass(frozen=True)
class EncoderTuning:
    """The result of tuning an encoder with LoRA.

    Attributes:
        model: The quality model, fitted to the tuned encoder's vectors.
        adapter: The encoder's LoRA weights.
    """

    model: QualityModel
    adapter: Adapter
