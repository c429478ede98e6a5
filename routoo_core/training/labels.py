"""What the loss is measured against: the level of each score, which pairs were observed, and each prompt's domain."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routoo_core.outcomes import Outcomes
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.neighbours import fit_profiles

DEFAULT_CLUSTERS = 16
"""Clusters that stand in for domains in a table that names none."""


@dataclass(frozen=True)
class Labels:
    """Observations of n prompts.

    Attributes:
        target: Level of each score, (n, M).
        observed: Which pairs were observed, (n, M).
        domain: 0 … G - 1, or -1 where unknown, (n,).
    """

    target: Tensor = field(repr=False)
    observed: Tensor = field(repr=False)
    domain: Tensor = field(repr=False)

    def take(self, rows: Tensor | list[int]) -> Labels:
        """The labels of some prompts."""
        return Labels(
            target=self.target[rows],
            observed=self.observed[rows],
            domain=self.domain[rows],
        )

    def to(self, device: torch.device) -> Labels:
        """The same on another device."""
        return Labels(
            target=self.target.to(device),
            observed=self.observed.to(device),
            domain=self.domain.to(device),
        )


def make_labels(outcomes: Outcomes, domain: NDArray[np.int64], levels: int) -> Labels:
    """The labels of all prompts, in the outcomes' order.

    Args:
        outcomes: N prompts × M experts.
        domain: Each prompt's, (N,).
        levels: K.
    """
    scores = torch.from_numpy(outcomes.scores)
    target = nearest_levels(scores, levels)
    return Labels(target, observed=~scores.isnan(), domain=torch.from_numpy(domain))


def nearest_levels(scores: Tensor, levels: int) -> Tensor:
    """Level 0 … K - 1 nearest to each score 0–1; 0 where it is NaN."""
    exact_levels = scores.nan_to_num() * (levels - 1)
    return exact_levels.round().long()


@dataclass(frozen=True)
class PromptDomains:
    """The domain of each prompt.

    Attributes:
        number: 0 … G - 1, or -1 where unknown, (N,).
        count: G.
    """

    number: NDArray[np.int64] = field(repr=False)
    count: int


def prompt_domains(data: EncodedOutcomes, clusters: int, seed: int) -> PromptDomains:
    """The domains that the ``train`` rows name; clusters of the prompts where they name none.

    Args:
        data: N prompts.
        clusters: How many clusters to gather prompts without domains in; 0 is :data:`DEFAULT_CLUSTERS`.
        seed: Of the clustering.
    """
    outcomes = data.outcomes
    train = outcomes.rows("train")
    names = {outcomes.domains[row] for row in train}
    names.discard("")
    if names:
        number_of = {name: number for number, name in enumerate(sorted(names))}
        numbers = [number_of.get(name, -1) for name in outcomes.domains]
        return PromptDomains(np.array(numbers, dtype=np.int64), len(names))

    count = min(clusters or DEFAULT_CLUSTERS, len(train))
    profiles = fit_profiles(outcomes, data.vectors, count, seed)
    nearest = profiles.nearest(data.vectors, 1)[:, 0]
    return PromptDomains(nearest, len(profiles.places))
