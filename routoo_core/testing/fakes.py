"""A predictor and a clock under a test's control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from routoo_core.predictor.base import Quality


class FakePredictor:
    """Predicts given qualities: ``FakePredictor({"cheap": 0.4, "dear": 0.9})``.

    Args:
        quality: Expert → quality, the same for every prompt or as a function of the prompt.

    Attributes:
        prompts: Everything it was asked to predict, in order.
    """

    fingerprint = "fake"

    def __init__(self, quality: Mapping[str, float | Callable[[str], float]]) -> None:
        self.quality = dict(quality)
        self.prompts: list[str] = []

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts with a given quality."""
        return tuple(self.quality)

    def predict(self, prompts: Sequence[str]) -> Quality:
        """The given qualities, (prompts, experts)."""
        self.prompts += prompts
        predicted = np.empty((len(prompts), len(self.quality)), dtype=np.float32)
        for row, prompt in enumerate(prompts):
            for column, quality in enumerate(self.quality.values()):
                predicted[row, column] = quality(prompt) if callable(quality) else quality
        return predicted


class ManualClock:
    """A clock that a test moves: ``clock = ManualClock(); clock.advance(60)``."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock; negative moves it back."""
        self.now += seconds
