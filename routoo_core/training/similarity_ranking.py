"""Gather battles for the similarity-weighted ranking."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routoo_core.battles import Battles, fit_ratings, from_outcomes
from routoo_core.predictor.base import Vectors
from routoo_core.predictor.neighbours import unit
from routoo_core.predictor.pairwise import PairwiseModel
from routoo_core.predictor.similarity_ranking import RankingSettings, SimilarityRanking
from routoo_core.progress import Update
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.neighbours import cluster
from routoo_core.training.pairwise import PairwiseSettings, fit_scale

Floats = NDArray[np.float32]


class RankingTrainingSettings(RankingSettings, PairwiseSettings):
    """Settings of ``sw_ranking``.

    Attributes:
        clusters: Gather the battles at so many places, so that a decision takes under a millisecond; 0 keeps each
            prompt.
    """

    clusters: Annotated[int, Field(ge=0)] = 64


def fit_similarity_ranking(
    data: EncodedOutcomes, settings: RankingTrainingSettings, seed: int, progress: Update
) -> PairwiseModel:
    """Gather the battles over the ``train`` rows, and fit their scale."""
    progress("gathering battles")
    battles = from_outcomes(data.outcomes, "train")
    ranking = rank_by_similarity(battles, data.vectors, settings, seed)
    progress("fitting the scale of quality")
    return fit_scale(data, ranking, settings)


def rank_by_similarity(
    battles: Battles, vectors: Vectors, settings: RankingTrainingSettings, seed: int = 0
) -> SimilarityRanking:
    """The ranking of some battles.

    Args:
        battles: At least one.
        vectors: Of their prompts, (prompts, dim).
        settings: How they are gathered and weighed.
        seed: Of the clustering.
    """
    rows, place = np.unique(battles.row, return_inverse=True)
    battle_vectors = vectors[rows]
    mean = battle_vectors.mean(0)
    scale = battle_vectors.std(0) + 1e-6
    places = unit((battle_vectors - mean) / scale)
    if 0 < settings.clusters < len(places):
        places, cluster_of = cluster(places, settings.clusters, np.random.default_rng(seed))
        place = cluster_of[place]

    return SimilarityRanking(
        mean=mean,
        scale=scale,
        places=places,
        wins=_wins_by_place(battles, place, len(places)),
        ratings=fit_ratings(battles.counts()).astype(np.float32),
        settings=RankingSettings(gamma=settings.gamma, prior=settings.prior),
    )


def _wins_by_place(battles: Battles, place: NDArray[np.int64], places: int) -> Floats:
    """See ``SimilarityRanking.wins``."""
    experts = len(battles.experts)
    shape = (places, experts * experts)
    size = places * experts * experts
    of_first = (place * experts + battles.first) * experts + battles.second
    of_second = (place * experts + battles.second) * experts + battles.first
    wins = np.bincount(of_first, weights=battles.result, minlength=size)
    wins += np.bincount(of_second, weights=1 - battles.result, minlength=size)
    return wins.reshape(shape).astype(np.float32)
