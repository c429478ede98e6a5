"""What every predictor is; no torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Quality = NDArray[np.float32]
"""Predicted quality, prompts × experts, each 0–1: the expected level divided by K - 1."""


@runtime_checkable
class Predictor(Protocol):
    """Predicts the quality of every expert's answer to a prompt (paper §3.2)."""

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts' names, one for each column of the prediction."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the predictions may; goes into every decision record."""
        ...

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Predict the quality for each prompt and expert; thread-safe, shape (prompts, experts)."""
        ...
