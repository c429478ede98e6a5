"""``routoo predict``: prompts → predicted quality of every expert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from routoo_core.expert_table import ExpertTable
from routoo_core.predictor.base import Predictor, Quality
from routoo_core.predictor.checkpoint_folder import find_router, read_experts
from routoo_core.progress import Progress

_CHUNK = 64  # prompts predicted between two steps of the progress bar


@dataclass(frozen=True)
class PredictionInput:
    """A router and the prompts to predict for; nothing is loaded or predicted yet.

    Attributes:
        folder: The router's checkpoint.
        prompt_ids: One for each prompt.
        prompts: The texts.
    """

    folder: Path
    prompt_ids: tuple[str, ...] = field(repr=False)
    prompts: tuple[str, ...] = field(repr=False)

    @cached_property
    def experts(self) -> tuple[str, ...]:
        """Whose quality is predicted; read from the checkpoint's configuration, where it lists them."""
        experts = read_experts(self.folder)
        return tuple(self.predictor.experts) if experts is None else experts

    @cached_property
    def predictor(self) -> Predictor:
        """Predicts the quality of its experts; loaded when it is first asked for."""
        from routoo_core.predictor.checkpoint import load_checkpoint

        return load_checkpoint(self.folder)


def read_prediction_input(router: str, prompts: Path) -> PredictionInput:
    """Find a router, and read prompts.

    Args:
        router: A shipped router's name, or a checkpoint folder.
        prompts: Parquet or CSV with ``prompt_id, prompt``.

    Raises:
        CheckpointError: There is no such router.
        OutcomesError: A prompt is empty, given twice, or a column is missing.
    """
    from routoo_core.prompts import read_prompts

    folder = find_router(router)
    table = read_prompts(prompts)
    return PredictionInput(folder, table.ids, table.texts)


def predict_table(loaded: PredictionInput, progress: Progress) -> ExpertTable:
    """Predicted quality of every expert on every prompt, 0–1, with a progress bar."""
    predictor = loaded.predictor
    quality = predict_all(predictor, loaded.prompts, progress)
    return ExpertTable(loaded.prompt_ids, tuple(predictor.experts), quality)


def predict_all(predictor: Predictor, prompts: Sequence[str], progress: Progress) -> Quality:
    """Predict in chunks, with a progress bar; shape (prompts, experts)."""
    chunks = [np.empty((0, len(predictor.experts)), dtype=np.float32)]
    with progress.bar("Predicting", len(prompts)) as advance:
        for start in range(0, len(prompts), _CHUNK):
            end = start + _CHUNK
            chunk = predictor.predict(prompts[start:end])
            chunks.append(chunk)
            advance(len(chunk))
    return np.concatenate(chunks)
