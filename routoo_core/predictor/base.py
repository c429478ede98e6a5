"""What every predictor is; no torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Quality = NDArray[np.float32]
"""Predicted quality, prompts × experts, each 0–1: the expected level divided by K - 1."""

Lengths = NDArray[np.float32]
"""Expected tokens of the answer, prompts × experts, at least 1."""


class Forecast(NamedTuple):
    """Everything a predictor says about some prompts.

    Attributes:
        quality: Prompts × experts, 0–1.
        lengths: Tokens of the answer, prompts × experts; ``None`` from a predictor that does not know.
    """

    quality: Quality
    lengths: Lengths | None = None


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


@runtime_checkable
class Forecaster(Predictor, Protocol):
    """A predictor that also predicts how long each answer will be, in the same pass."""

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Quality and lengths for each prompt and expert; thread-safe."""
        ...


def forecast(predictor: Predictor, prompts: Sequence[str]) -> Forecast:
    """What a predictor of either kind says."""
    if isinstance(predictor, Forecaster):
        return predictor.forecast(prompts)
    return Forecast(predictor.predict(prompts))
