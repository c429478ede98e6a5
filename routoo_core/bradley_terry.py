"""Bradley–Terry ratings by Newton's method: ``P(a beats b) = σ(rating_a - rating_b)``."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ratings = TypeVar("Ratings", NDArray[np.float32], NDArray[np.float64])

_LARGEST_STEP = 2.0
"""Of a rating, in log-odds; longer steps would overshoot where one expert always wins."""
_LEAST_WEIGHT = 1e-12
_CERTAIN = 80.0
"""In log-odds; beyond it the exponential would overflow, and a win is certain anyway."""


def maximum_likelihood(wins: Array, start: Array, close_enough: float, most_steps: int) -> Array:
    """Ratings of many tables of wins at once, log-odds, (tables, experts); only their differences matter.

    Args:
        wins: How often each expert beat each other, (tables, winner, loser); weights need not be whole numbers.
        start: Ratings to start from, (experts,).
        close_enough: The last step, in log-odds. Each step squares the error.
        most_steps: After so many it ends in any case.
    """
    experts = wins.shape[1]
    battle_counts = wins + wins.transpose(0, 2, 1)
    win_counts = wins.sum(axis=2)
    diagonal = np.arange(experts)
    ratings = np.tile(start, (len(wins), 1))
    for _ in range(most_steps):
        expected = win_probability(ratings)
        expected_wins = battle_counts * expected
        gradient = win_counts - expected_wins.sum(axis=2)
        weight = expected_wins * (1 - expected)
        # Only differences of ratings matter; the mean of the weights fixes their sum.
        total = weight.sum(axis=2)
        mean_weight = np.maximum(total.mean(axis=1), _LEAST_WEIGHT)
        hessian = mean_weight[:, None, None] / experts - weight
        hessian[:, diagonal, diagonal] += total
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        ratings += np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        if np.abs(step).max() < close_enough:
            break
    return ratings


def win_probability(ratings: Ratings) -> Ratings:
    """σ(rating_a - rating_b), (…, a, b), in the precision of the ratings."""
    leads = ratings[..., :, None] - ratings[..., None, :]
    log_odds = np.clip(leads, -_CERTAIN, _CERTAIN)
    probability: Ratings = 1 / (1 + np.exp(-log_odds))
    return probability
