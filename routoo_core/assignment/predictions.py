"""``routoo predict``: prompts → predicted quality of every expert → a table of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routoo_core.predictor.base import Predictor, Quality
from routoo_core.progress import Progress
from routoo_core.tables import write_table

_CHUNK = 64


def read_asked(router: str, prompts: Path) -> tuple[Predictor, tuple[str, ...], tuple[str, ...]]:
    """A router by name or folder, and the ids and texts of prompts; nothing is predicted yet.

    Raises:
        CheckpointError: There is no such router, or it cannot be loaded.
        OutcomesError: A prompt is empty, given twice, or a column is missing.
    """
    from routoo_core.predictor.checkpoint import find_router, load_checkpoint
    from routoo_core.prompts import read_prompts

    folder = find_router(router)
    table = read_prompts(prompts)
    return load_checkpoint(folder), table.ids, table.texts


def predict_all(predictor: Predictor, prompts: Sequence[str], progress: Progress) -> Quality:
    """Predict in chunks, with a progress bar; shape (prompts, experts)."""
    chunks = [np.empty((0, len(predictor.experts)), dtype=np.float32)]
    with progress.bar("Predicting", len(prompts)) as advance:
        for start in range(0, len(prompts), _CHUNK):
            chunks.append(predictor.predict(prompts[start : start + _CHUNK]))
            advance(len(chunks[-1]))
    return np.concatenate(chunks)


def write_scores(
    path: Path, prompt_ids: Sequence[str], experts: Sequence[str], quality: Quality
) -> None:
    """Write ``prompt_id, model, score``, one row for each pair; see :func:`~routoo_core.tables.write_table`.

    Args:
        path: Replaced if it is there.
        prompt_ids: One for each row of ``quality``.
        experts: One for each column.
        quality: 0–1, shape (prompts, experts).
    """
    ids = [prompt_id for prompt_id in prompt_ids for _ in experts]
    write_table(
        path, {"prompt_id": ids, "model": [*experts] * len(prompt_ids), "score": quality.ravel()}
    )
