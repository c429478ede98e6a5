"""Experts that could answer, with quality and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.experts import Expert
from routoo_core.money import NANO_PER_USD


@dataclass(frozen=True, slots=True)
class Candidate:
    """An expert that could answer.

    Attributes:
        expert: Who.
        quality: Predicted, 0–1.
        expected_cost: What the call will probably cost, nano-USD.
        maximum_cost: The most it can cost, nano-USD.
        latency: Seconds its replies took lately; ``None`` before the first.
        minimum_cost: The least worth holding for it, nano-USD; below ``maximum_cost`` where the router may limit the
            reply.
    """

    expert: Expert
    quality: float
    expected_cost: int
    maximum_cost: int
    latency: float | None = None
    minimum_cost: int = 0


def qualities(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Predicted quality of each candidate, 0–1."""
    return np.array([candidate.quality for candidate in candidates])


def costs(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Expected cost of each candidate in USD."""
    return np.array([candidate.expected_cost / NANO_PER_USD for candidate in candidates])
