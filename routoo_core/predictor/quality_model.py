"""Vector → quality: the part of a checkpoint that its algorithm fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

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
