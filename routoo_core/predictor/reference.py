"""``reference.safetensors`` of a checkpoint: held-out predictions beside observed scores, without any text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from routoo_core.errors import CheckpointError
from routoo_core.expert_table import ExpertTable
from routoo_core.predictor.checkpoint_config import read_config
from routoo_core.predictor.checkpoint_folder import REFERENCE_FILE

SIMPLE_PREFIX = "simple."
"""Before the name of a simple router in the file."""

_REQUIRED_ARRAYS = ("quality", "scores", "prompts", "trained")


@dataclass(frozen=True, eq=False)
class Reference:
    """Held-out prompts, without their texts: what was predicted and what was observed.

    Attributes:
        quality_table: Predicted, float32, 0–1.
        score_table: Observed, float32, 0–1 or NaN; the same rows and experts.
        prompts: Each row's ``question_fingerprint``.
        trained: That of every prompt the checkpoint was fitted on; after a refit also of the held-out ones.
        simple: Predictions of simple routers that learnt from the same prompts, name → as ``quality_table``.
    """

    quality_table: ExpertTable
    score_table: ExpertTable
    prompts: NDArray[np.uint64] = field(repr=False)
    trained: NDArray[np.uint64] = field(repr=False)
    simple: Mapping[str, ExpertTable] = field(default_factory=dict, repr=False)

    @property
    def experts(self) -> tuple[str, ...]:
        """One for each column."""
        return self.quality_table.experts

    @property
    def quality(self) -> NDArray[np.float32]:
        """The values of ``quality_table``, prompts × experts."""
        return self.quality_table.values

    @property
    def scores(self) -> NDArray[np.float32]:
        """The values of ``score_table``, prompts × experts."""
        return self.score_table.values

    def select(self, experts: Sequence[str]) -> Reference:
        """These experts only, and only the prompts that all of them were observed on.

        Raises:
            CheckpointError: An expert was added later and has no held-out scores.
        """
        missing = [name for name in experts if name not in self.experts]
        if missing:
            raise CheckpointError(
                f"no held-out scores of {', '.join(missing)}; leave it out, or train with it"
            )
        scores = self.score_table.select(experts)
        rows = scores.complete_rows()
        simple = {}
        for name, table in self.simple.items():
            simple[name] = table.select(experts).take(rows)
        return Reference(
            self.quality_table.select(experts).take(rows),
            scores.take(rows),
            self.prompts[rows],
            self.trained,
            simple,
        )


def reference_rows(prompts: NDArray[np.uint64]) -> tuple[str, ...]:
    """Ids of the rows: each prompt's fingerprint, and its number where a question is there several times."""
    times: dict[int, int] = {}
    row_ids = []
    for fingerprint in prompts.tolist():
        times[fingerprint] = times.get(fingerprint, 0) + 1
        row_ids.append(f"{fingerprint:016x}-{times[fingerprint]}")
    return tuple(row_ids)


def read_reference(folder: Path) -> Reference:
    """The held-out predictions and scores of a checkpoint; experts that were added later have none.

    Raises:
        CheckpointError: An array is missing.
    """
    arrays = load_file(folder / REFERENCE_FILE)
    for name in _REQUIRED_ARRAYS:
        if name not in arrays:
            raise CheckpointError(f"{folder / REFERENCE_FILE}: {name!r} is missing; train again")

    row_ids = reference_rows(arrays["prompts"])
    experts = read_config(folder).experts[: arrays["quality"].shape[1]]

    def table(name: str) -> ExpertTable:
        return ExpertTable(row_ids, experts, arrays[name].astype(np.float32))

    simple = {}
    for name in arrays:
        if name.startswith(SIMPLE_PREFIX):
            simple[name.removeprefix(SIMPLE_PREFIX)] = table(name)
    return Reference(
        table("quality"), table("scores"), arrays["prompts"], arrays["trained"], simple
    )


def save_reference(folder: Path, reference: Reference) -> None:
    """Write ``reference.safetensors``, in half precision."""
    arrays: dict[str, NDArray[Any]] = {
        "quality": reference.quality.astype(np.float16),
        "scores": reference.scores.astype(np.float16),
        "prompts": reference.prompts,
        "trained": np.unique(reference.trained),
    }
    for name, table in reference.simple.items():
        arrays[SIMPLE_PREFIX + name] = table.values.astype(np.float16)
    save_file(arrays, folder / REFERENCE_FILE)
