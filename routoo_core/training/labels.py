"""What the loss is measured against: levels, observed pairs and domains."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routoo_core.outcomes import Outcomes
from routoo_core.predictor.encoder import Vectors
from routoo_core.training.neighbours import fit_profiles
from routoo_core.training.settings import TrainingConfig

_CLUSTERS = 16


@dataclass(frozen=True)
class Labels:
    """What was observed of n prompts.

    Attributes:
        target: Level of each score, (n, M).
        observed: Which pairs were, (n, M).
        domain: 0 … G - 1, or -1 where unknown, (n,).
    """

    target: Tensor = field(repr=False)
    observed: Tensor = field(repr=False)
    domain: Tensor = field(repr=False)

    def take(self, rows: Tensor | list[int]) -> Labels:
        """Those of these prompts only."""
        return Labels(self.target[rows], self.observed[rows], self.domain[rows])

    def to(self, device: torch.device) -> Labels:
        """The same elsewhere."""
        return Labels(self.target.to(device), self.observed.to(device), self.domain.to(device))


def labels(outcomes: Outcomes, domain: NDArray[np.int64], levels: int) -> Labels:
    """Everything the loss is measured against, in the outcomes' order."""
    return Labels(*targets(outcomes.scores, levels), torch.from_numpy(domain))


def targets(scores: NDArray[np.float32], levels: int) -> tuple[Tensor, Tensor]:
    """Level (n, M) nearest to each score, and mask of the observed pairs (n, M)."""
    given = torch.from_numpy(scores)
    return (given.nan_to_num() * (levels - 1)).round().long(), ~given.isnan()


def prompt_domains(
    outcomes: Outcomes, vectors: Vectors, config: TrainingConfig
) -> tuple[NDArray[np.int64], int]:
    """Each prompt's domain, -1 where unknown, and how many there are; clusters where the table names no domains."""
    train = outcomes.rows("train")
    names = sorted({outcomes.domains[row] for row in train} - {""})
    if names:
        place = {name: number for number, name in enumerate(names)}
        return np.array([place.get(name, -1) for name in outcomes.domains], dtype=np.int64), len(
            names
        )
    places = fit_profiles(
        outcomes, vectors, min(config.clusters or _CLUSTERS, len(train)), config.seed
    )
    return places.near(vectors, 1)[:, 0], len(places.places)
