"""Predictions for many prompts on Ray Data: each copy of a router, an actor of the cluster, is given chunks of them.

A chunk is one pass, the same with and without Ray, so the predictions are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo_core.assignment.predictions import chunks_of
from routoo_core.errors import PredictionFailed
from routoo_core.experts import Pool
from routoo_core.extras import needed_to
from routoo_core.loading import load_predictor
from routoo_core.predictor.base import Quality
from routoo_core.progress import Progress

if TYPE_CHECKING:
    from ray.data import Dataset

_START, _PROMPTS, _QUALITY = "start", "prompts", "quality"
"""Columns of the data set: a row is a chunk, or its predictions as bytes."""


class RayPredictor:
    """A checkpoint with copies on the machines of a Ray cluster. Small batches are predicted on this machine.

    ``predict_all(RayPredictor(folder, experts), prompts, progress)`` takes the cluster. Where none is running
    (``RAY_ADDRESS``), one is started on this machine.

    Args:
        folder: The checkpoint: the same path on each machine.
        experts: For a general router, whom to predict for: a pool, or names.
        gpus: GPUs for each copy; a fraction where several share one.

    Raises:
        CheckpointError: A part of the checkpoint is missing or damaged.
        MissingDependency: Ray is not installed.
    """

    def __init__(self, folder: Path, experts: Pool | Sequence[str], gpus: float = 0.0) -> None:
        with needed_to("predict on Ray"):
            import ray.data  # noqa: F401
        self._folder = folder.resolve()
        self._experts = experts if isinstance(experts, Pool) else tuple(experts)
        self._gpus = gpus
        self._local = load_predictor(folder, experts)

    @property
    def experts(self) -> tuple[str, ...]:
        """The predictor's experts."""
        return tuple(self._local.experts)

    @property
    def fingerprint(self) -> str:
        """The predictor's fingerprint."""
        return self._local.fingerprint

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Predict on this machine; shape (prompts, experts)."""
        return self._local.predict(prompts)

    def predict_many(self, prompts: Sequence[str], progress: Progress) -> Quality:
        """Predict on the cluster, with a progress bar; shape (prompts, experts).

        Raises:
            PredictionFailed: A copy of the router failed; the message names the error.
        """
        import ray
        from ray.exceptions import RayError

        if not ray.is_initialized():
            ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
        count = len(self.experts)
        quality = np.empty((len(prompts), count), dtype=np.float32)
        try:
            with progress.bar("Predicting on Ray", len(prompts)) as advance:
                for row in self._predictions(prompts).iter_rows():
                    start = row[_START]
                    chunk = np.frombuffer(row[_QUALITY], dtype=np.float32).reshape(-1, count)
                    quality[start : start + len(chunk)] = chunk
                    advance(len(chunk))
        except RayError as error:
            problem = str(error).strip().rpartition("\n")[2]
            raise PredictionFailed(f"a copy of the router on Ray failed: {problem}") from error
        return quality

    def _predictions(self, prompts: Sequence[str]) -> Dataset:
        """A data set of predictions, made as it is read."""
        import ray

        chunks = []
        for start, chunk in chunks_of(prompts):
            chunks.append({_START: start, _PROMPTS: list(chunk)})
        ray.data.DataContext.get_current().enable_progress_bars = False
        copies = max(1, min(len(chunks), int(ray.cluster_resources().get("CPU", 1))))
        data = ray.data.from_items(chunks, override_num_blocks=max(1, len(chunks)))
        return data.map(
            RouterCopy,
            fn_constructor_args=(str(self._folder), self._experts),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=copies),
            num_cpus=1,
            num_gpus=self._gpus or None,
        )


class RouterCopy:
    """A router in an actor of Ray Data.

    Args:
        folder: The checkpoint.
        experts: For a general router, whom to predict for.
    """

    def __init__(self, folder: str, experts: Pool | tuple[str, ...]) -> None:
        self._predictor = load_predictor(Path(folder), experts)

    def __call__(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """The predictions for a chunk."""
        quality = self._predictor.predict(list(chunk[_PROMPTS]))
        return {_START: chunk[_START], _QUALITY: quality.astype(np.float32).tobytes()}
