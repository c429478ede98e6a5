"""Vector → quality: the part of a checkpoint that its algorithm fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from routoo_core.predictor.base import Quality, Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig

Weights = dict[str, Tensor]
"""Named tensors, as ``head.safetensors`` holds them."""


class QualityModel(Protocol):
    """Predicts every expert's quality from encoded prompts.

    ``head.safetensors`` also holds ``calibration`` and ``length.…``: tensors of a model must have other names.
    """

    def quality(self, vectors: Vectors) -> Quality:
        """Quality 0–1, (prompts, experts), for vectors (prompts, dim)."""
        ...

    def weights(self) -> Weights:
        """Everything that was fitted."""
        ...


LoadQualityModel = Callable[[Weights, CheckpointConfig], QualityModel]
"""Restores a model from its weights.

A tensor that is missing is a ``KeyError``, one of another shape a ``RuntimeError``.
"""


def read_array(weights: Weights, name: str, *shape: int | None) -> NDArray[np.float32]:
    """One of the weights, in single precision.

    Args:
        weights: Named tensors.
        name: Which one.
        shape: What it has to be; ``None`` for a length that is free.

    Raises:
        KeyError: The tensor is missing.
        RuntimeError: It has another shape.
    """
    array: NDArray[np.float32] = weights[name].float().numpy()
    lengths = array.shape
    fits = len(lengths) == len(shape)
    for length, expected in zip(lengths, shape, strict=False):
        fits = fits and expected in {None, length}
    if not fits:
        raise RuntimeError(f"{name} of shape {lengths}, not {_shape_in_words(shape)}")
    return array


def _shape_in_words(shape: tuple[int | None, ...]) -> str:
    lengths = ["any" if length is None else str(length) for length in shape]
    return f"({', '.join(lengths)})"
