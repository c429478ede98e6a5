"""The router that draws has nothing to learn."""

from __future__ import annotations

from routoo_core.predictor.random_router import RandomModel
from routoo_core.progress import Update
from routoo_core.settings import Settings
from routoo_core.training.encoded import EncodedOutcomes


class RandomSettings(Settings):
    """``random`` has no settings of its own; ``seed`` is the training's."""


def fit_random(
    data: EncodedOutcomes, settings: RandomSettings, seed: int, progress: Update
) -> RandomModel:
    """A drawing for these experts."""
    return RandomModel(len(data.outcomes.experts), seed)
