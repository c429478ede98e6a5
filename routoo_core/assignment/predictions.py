"""``routoo predict``: prompts → predicted quality of every expert."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from routoo_core.errors import ConfigurationError
from routoo_core.expert_table import ExpertTable
from routoo_core.experts import Pool
from routoo_core.loading import is_general, load_predictor
from routoo_core.predictor.base import Predictor, Quality
from routoo_core.predictor.checkpoint_folder import find_router, read_experts
from routoo_core.progress import Progress

_CHUNK = 64  # prompts predicted between two steps of the progress bar

PredictorLoader = Callable[[Path, Pool | tuple[str, ...]], Predictor]
"""A checkpoint's folder, and the experts that a general one is to predict for."""


@runtime_checkable
class BulkPredictor(Predictor, Protocol):
    """A predictor that has a way of its own with many prompts."""

    def predict_many(self, prompts: Sequence[str], progress: Progress) -> Quality:
        """Predict for all prompts, with a progress bar; shape (prompts, experts)."""
        ...


@dataclass(frozen=True)
class PredictionInput:
    """A router and the prompts to predict for; nothing is loaded or predicted yet.

    Attributes:
        folder: The router's checkpoint.
        prompt_ids: One for each prompt.
        prompts: The texts.
        pool_or_names: Whom a general router is to predict for: a pool, or names.
        load: Loads the router.
    """

    folder: Path
    prompt_ids: tuple[str, ...] = field(repr=False)
    prompts: tuple[str, ...] = field(repr=False)
    pool_or_names: Pool | tuple[str, ...] = ()
    load: PredictorLoader = load_predictor

    @cached_property
    def experts(self) -> tuple[str, ...]:
        """Whose quality is predicted; read from the checkpoint's configuration, where it lists them."""
        experts = None if is_general(self.folder) else read_experts(self.folder)
        return tuple(self.predictor.experts) if experts is None else experts

    @cached_property
    def predictor(self) -> Predictor:
        """Predicts the quality of its experts; loaded when it is first asked for."""
        if is_general(self.folder) and not self.pool_or_names:
            raise ConfigurationError(
                f"{self.folder.name}: predicts for any expert; name them by --experts, an experts.toml or names"
            )
        return self.load(self.folder, self.pool_or_names)


def read_prediction_input(
    router: str,
    prompts: Path,
    experts: Pool | tuple[str, ...] = (),
    load: PredictorLoader = load_predictor,
) -> PredictionInput:
    """Find a router, and read prompts.

    Args:
        router: A shipped router's name, or a checkpoint folder.
        prompts: Parquet or CSV with ``prompt_id, prompt``.
        experts: Whom a general router is to predict for: a pool, or names.
        load: Loads the router when it is first asked for.

    Raises:
        CheckpointError: There is no such router.
        OutcomesError: A prompt is empty, given twice, or a column is missing.
    """
    from routoo_core.prompts import read_prompts

    folder = find_router(router)
    table = read_prompts(prompts)
    return PredictionInput(folder, table.ids, table.texts, experts, load)


def predict_table(source: PredictionInput, progress: Progress) -> ExpertTable:
    """Predicted quality of every expert on every prompt, 0–1, with a progress bar."""
    predictor = source.predictor
    quality = predict_all(predictor, source.prompts, progress)
    return ExpertTable(source.prompt_ids, tuple(predictor.experts), quality)


def predict_all(predictor: Predictor, prompts: Sequence[str], progress: Progress) -> Quality:
    """Predict in chunks, or in the predictor's own way, with a progress bar; shape (prompts, experts)."""
    if isinstance(predictor, BulkPredictor):
        return predictor.predict_many(prompts, progress)
    chunks = [np.empty((0, len(predictor.experts)), dtype=np.float32)]
    with progress.bar("Predicting", len(prompts)) as advance:
        for _, some_prompts in chunks_of(prompts):
            chunk = predictor.predict(some_prompts)
            chunks.append(chunk)
            advance(len(chunk))
    return np.concatenate(chunks)


def chunks_of(prompts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """The prompts that are predicted in one pass, each with the place of the first of them."""
    for start in range(0, len(prompts), _CHUNK):
        yield start, prompts[start : start + _CHUNK]
