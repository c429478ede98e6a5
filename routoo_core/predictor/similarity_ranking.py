"""Similarity-weighted ranking: for each prompt a Bradley–Terry fit in which similar battles weigh more.

RouteLLM's SW ranking (arXiv 2406.18665, section 4.2). Battle i weighs ``γ^(1 + S_i)``, where ``S_i`` is the cosine
between its prompt and the new one, divided by the largest of these. For two experts the fit has a closed form, the
weighted share of wins. Departures: vectors are standardised before their cosines are taken, battles may be gathered
at the centres of clusters, and every two experts get a little of what they did overall, so that each fit has an end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from routoo_core.bradley_terry import maximum_likelihood, win_probability
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.neighbours import unit
from routoo_core.predictor.pairwise import PairwiseModel, load_scale, mean_win_rates
from routoo_core.predictor.quality_model import Weights, read_array
from routoo_core.settings import Settings

Floats = NDArray[np.float32]

_BATCH = 256
"""Prompts that are fitted together."""
_NEWTON_STEPS = 20
_CLOSE_ENOUGH = 0.45
"""In log-odds. Each step squares the error, so after one as small a mean win rate is off by some thousandths."""


class RankingSettings(Settings):
    """How battles are weighed.

    Attributes:
        gamma: γ; the nearest battle weighs γ times as much as one at right angles. The paper has 10.
        prior: Battles at the nearest prompt that the overall win rates of two experts count as.
    """

    gamma: Annotated[float, Field(ge=1)] = 10_000.0
    prior: Annotated[float, Field(ge=0)] = 0.1


@dataclass(frozen=True)
class SimilarityRanking:
    """Battles by the place of their prompts.

    Attributes:
        mean: Subtracted from a vector, (dim,).
        scale: Then divides it, (dim,).
        places: Unit vectors, (P, dim): prompts that were fought over, or centres of clusters of them.
        wins: At each place how often each expert beat each other, (P, experts · experts). A tie is half a win for both.
        ratings: Bradley–Terry ratings over all battles, log-odds, (experts,).
        settings: How battles are weighed.
    """

    mean: Floats = field(repr=False)
    scale: Floats = field(repr=False)
    places: Floats = field(repr=False)
    wins: Floats = field(repr=False)
    ratings: Floats = field(repr=False)
    settings: RankingSettings

    def win_rates(self, vectors: Vectors) -> Floats:
        """Each expert's mean win rate, itself included at one half, (prompts, experts)."""
        return mean_win_rates(self.strengths(vectors))

    def strengths(self, vectors: Vectors) -> Floats:
        """Ratings for each prompt, log-odds, (prompts, experts)."""
        start = self.ratings.astype(np.float64)
        parts = []
        for first in range(0, len(vectors), _BATCH):
            wins = self._weighted_wins(vectors[first : first + _BATCH])
            ratings = maximum_likelihood(wins, start, _CLOSE_ENOUGH, _NEWTON_STEPS)
            parts.append(ratings.astype(np.float32))
        if not parts:
            return np.empty((0, len(self.ratings)), dtype=np.float32)
        return np.concatenate(parts)

    def _weighted_wins(self, vectors: Vectors) -> NDArray[np.float64]:
        """Wins of each expert over each other, weighed by similarity, (prompts, winner, loser)."""
        similarity = unit((vectors - self.mean) / self.scale) @ self.places.T
        largest = similarity.max(axis=1, keepdims=True)
        relative = similarity / np.where(largest > 0, largest, 1)
        # γ^(S - 1) in place of γ^(1 + S): the fit is the same, and the nearest battle weighs 1.
        weight = np.float32(self.settings.gamma) ** (relative - 1)

        experts = len(self.ratings)
        sums = (weight @ self.wins).reshape(-1, experts, experts)
        return sums + self._prior_wins

    @cached_property
    def _prior_wins(self) -> NDArray[np.float64]:
        """What every two experts get of their overall win rates, (winner, loser)."""
        overall = win_probability(self.ratings.astype(np.float64))
        np.fill_diagonal(overall, 0)
        return self.settings.prior * overall

    def weights(self) -> Weights:
        """The places in half precision, everything else as it is."""
        return {
            "mean": torch.from_numpy(self.mean),
            "scale": torch.from_numpy(self.scale),
            "places": torch.from_numpy(self.places).half(),
            "wins": torch.from_numpy(self.wins),
            "ratings": torch.from_numpy(self.ratings),
        }


def load_similarity_ranking(weights: Weights, config: CheckpointConfig) -> PairwiseModel:
    """Rebuild the ranking.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: It is of other vectors or experts.
    """
    experts = len(config.experts)
    places = read_array(weights, "places", None, config.dim)
    ranking = SimilarityRanking(
        mean=read_array(weights, "mean", config.dim),
        scale=read_array(weights, "scale", config.dim),
        places=places,
        wins=read_array(weights, "wins", len(places), experts * experts),
        ratings=read_array(weights, "ratings", experts),
        settings=config.training.settings_of(RankingSettings),
    )
    return PairwiseModel(ranking, load_scale(weights, config))
