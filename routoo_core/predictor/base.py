"""Contracts of everything that predicts; no torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""One vector a prompt, prompts × dim."""

Quality = NDArray[np.float32]
"""Predicted quality, prompts × experts, each 0–1: the expected level divided by K - 1."""

Lengths = NDArray[np.float32]
"""Expected tokens of the answer, prompts × experts, at least 1."""


class Forecast(NamedTuple):
    """Everything a predictor knows about some prompts.

    Attributes:
        quality: Prompts × experts, 0–1.
        lengths: Tokens of the answer, prompts × experts; ``None`` if the predictor does not know them.
        kinds: Probability of each skill of the catalogue, prompts × skills; from general routers.
        difficulty: Log-odds that a prompt is easier by than usual, NaN where that is not known, (prompts,); from those.
        deviation: Standard deviation of the quality in log-odds, by what is not known of an expert, prompts × experts;
            from those.
        foreign: Share of each prompt that is in another language than English, 0–1, (prompts,); from those.
    """

    quality: Quality
    lengths: Lengths | None = None
    kinds: NDArray[np.float32] | None = None
    difficulty: NDArray[np.float32] | None = None
    deviation: NDArray[np.float32] | None = None
    foreign: NDArray[np.float32] | None = None


@runtime_checkable
class Predictor(Protocol):
    """Predicts the quality of every expert's answer to a prompt (paper §3.2)."""

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts' names, one for each column of the prediction."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the predictions may; every decision record holds it."""
        ...

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Predict the quality for each prompt and expert; thread-safe, shape (prompts, experts)."""
        ...


@runtime_checkable
class Forecaster(Predictor, Protocol):
    """A predictor that also predicts how long each answer will be, in the same pass."""

    def forecast(self, prompts: Sequence[str]) -> Forecast:
        """Predict quality and lengths for each prompt and expert; thread-safe."""
        ...


def forecast(predictor: Predictor, prompts: Sequence[str]) -> Forecast:
    """Ask a predictor for everything it knows: quality, and lengths if it predicts them."""
    ask = getattr(predictor, "forecast", None)  # isinstance with a protocol is slow
    if ask is not None:
        answer: Forecast = ask(prompts)
        return answer
    return Forecast(predictor.predict(prompts))


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors: a local language model, or an embedding endpoint elsewhere."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies the encoder; a checkpoint refuses another one than it was trained with."""
        ...

    def encode(
        self, prompts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """Encode texts; thread-safe, float32, shape (prompts, dim).

        Args:
            prompts: Any number of texts.
            progress: Called with the number of texts that were encoded since the last call.
        """
        ...
