"""``reference.safetensors`` of a checkpoint: held-out predictions and scores, without texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays

from routoo_core.errors import CheckpointError
from routoo_core.predictor.checkpoint_config import read_config

_SIMPLE = "simple."  # before the name of a simple router in reference.safetensors


@dataclass(frozen=True)
class Reference:
    """Held-out prompts, without their texts: what was predicted and what was observed.

    Attributes:
        experts: One for each column.
        quality: Predicted, float32, prompts × experts, 0–1.
        scores: Observed, float32, prompts × experts, 0–1 or NaN.
        prompts: Each one's ``question_fingerprint``.
        trained: That of every prompt the checkpoint learnt from; with ``refit`` also of the held-out ones.
        simple: What simple routers that learnt from the same prompts predicted, name → as ``quality``.
    """

    experts: tuple[str, ...]
    quality: NDArray[np.float32] = field(repr=False)
    scores: NDArray[np.float32] = field(repr=False)
    prompts: NDArray[np.uint64] = field(repr=False)
    trained: NDArray[np.uint64] = field(repr=False)
    simple: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def select(self, experts: list[str]) -> Reference:
        """These experts only, and only prompts that all of them were observed on.

        Raises:
            CheckpointError: One of them was added later and has no held-out scores.
        """
        if missing := [name for name in experts if name not in self.experts]:
            raise CheckpointError(
                f"no held-out scores of {', '.join(missing)}; leave it out, or train with it"
            )
        columns = [self.experts.index(name) for name in experts]
        complete = ~np.isnan(self.scores[:, columns]).any(axis=1)
        return replace(
            self,
            experts=tuple(experts),
            quality=self.quality[complete][:, columns],
            scores=self.scores[complete][:, columns],
            prompts=self.prompts[complete],
            simple={name: quality[complete][:, columns] for name, quality in self.simple.items()},
        )


def read_reference(folder: Path) -> Reference:
    """The held-out predictions and scores a checkpoint carries; of experts added later there are none.

    Raises:
        CheckpointError: The file was written by an earlier version.
    """
    arrays = load_arrays(folder / "reference.safetensors")
    if missing := {"quality", "scores", "prompts", "trained"} - set(arrays):
        raise CheckpointError(
            f"{folder}: reference.safetensors: {sorted(missing)[0]!r} is missing; train again"
        )
    quality, scores = arrays["quality"].astype(np.float32), arrays["scores"].astype(np.float32)
    experts = read_config(folder).experts[: quality.shape[1]]
    simple = {
        name.removeprefix(_SIMPLE): array.astype(np.float32)
        for name, array in arrays.items()
        if name.startswith(_SIMPLE)
    }
    return Reference(experts, quality, scores, arrays["prompts"], arrays["trained"], simple)


def save_reference(folder: Path, reference: Reference) -> None:
    """Write ``reference.safetensors``."""
    arrays: dict[str, NDArray[Any]] = {
        "quality": reference.quality.astype(np.float16),
        "scores": reference.scores.astype(np.float16),
        "prompts": reference.prompts,
        "trained": np.unique(reference.trained),
        **{
            _SIMPLE + name: quality.astype(np.float16) for name, quality in reference.simple.items()
        },
    }
    save_arrays(arrays, folder / "reference.safetensors")
