"""Vector → quality: what a checkpoint learnt, behind one small contract whatever the algorithm."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Quality
from routoo_core.predictor.encoder import Vectors
from routoo_core.predictor.heads import Head
from routoo_core.predictor.neighbours import Profiles
from routoo_core.training.head_ensemble import train_heads
from routoo_core.training.neighbours import fit_profiles
from routoo_core.training.settings import Progress, TrainingConfig, ensemble_quality

Weights = dict[str, Tensor]


class Scorer(Protocol):
    """Scores every expert on encoded prompts."""

    def quality(self, vectors: Vectors) -> Quality:
        """Quality 0–1, (prompts, experts), for vectors (prompts, dim)."""
        ...

    def weights(self) -> Weights:
        """Everything learnt, as named tensors."""
        ...

    @classmethod
    def train(
        cls, outcomes: Outcomes, vectors: Vectors, config: TrainingConfig, progress: Progress
    ) -> Self:
        """Learn from the ``train`` rows, choose on the ``dev`` rows."""
        ...

    def refit(
        self, outcomes: Outcomes, vectors: Vectors, config: TrainingConfig, progress: Progress
    ) -> Self:
        """Learn in the same way from rows that are all ``train``."""
        ...

    @classmethod
    def load(cls, weights: Weights, config: TrainingConfig, dim: int, experts: int) -> Self:
        """Restore from :meth:`weights`.

        Raises:
            KeyError: A tensor is missing.
            RuntimeError: A tensor has another shape.
        """
        ...


@dataclass(frozen=True)
class HeadEnsemble:
    """The paper's kind of predictor: heads from several seeds, their qualities averaged."""

    heads: list[Head] = field(repr=False)

    def quality(self, vectors: Vectors) -> Quality:
        """Averaged over the members."""
        return ensemble_quality(self.heads, vectors)

    def weights(self) -> Weights:
        """``member.name`` → half-precision tensor."""
        return {
            f"{member}.{name}": value.half().contiguous()
            for member, head in enumerate(self.heads)
            for name, value in head.state_dict().items()
        }

    @classmethod
    def train(
        cls, outcomes: Outcomes, vectors: Vectors, config: TrainingConfig, progress: Progress
    ) -> Self:
        """Train every member."""
        return cls(train_heads(outcomes, vectors, config, progress))

    def refit(
        self, outcomes: Outcomes, vectors: Vectors, config: TrainingConfig, progress: Progress
    ) -> Self:
        """Train every member again, for as many epochs as were best on ``dev``."""
        epochs = round(float(np.median([head.epochs for head in self.heads])))
        return type(self)(
            train_heads(outcomes, vectors, config.model_copy(update={"epochs": epochs}), progress)
        )

    @classmethod
    def load(cls, weights: Weights, config: TrainingConfig, dim: int, experts: int) -> Self:
        """Rebuild every member."""
        heads = []
        for member in range(config.members):
            own = {
                name.partition(".")[2]: w.float()
                for name, w in weights.items()
                if name.startswith(f"{member}.")
            }
            domains = own["table"].shape[1] if "table" in own else 1
            head = config.make_head(dim, experts, domains)
            head.load_state_dict(own)
            heads.append(head.eval().requires_grad_(False))
        return cls(heads)


@dataclass(frozen=True)
class Neighbours:
    """k-NN, or cluster profiles when the configuration asks for clusters."""

    profiles: Profiles = field(repr=False)
    count: int
    _NAMES: ClassVar[tuple[str, ...]] = tuple(item.name for item in fields(Profiles))

    def quality(self, vectors: Vectors) -> Quality:
        """Averaged over the nearest places."""
        return self.profiles.quality(vectors, self.count)

    def weights(self) -> Weights:
        """The profiles' arrays; only the places in half precision, which counts above 2,048 would not survive."""
        arrays = {name: torch.from_numpy(getattr(self.profiles, name)) for name in self._NAMES}
        return {**arrays, "places": arrays["places"].half()}

    @classmethod
    def train(
        cls, outcomes: Outcomes, vectors: Vectors, config: TrainingConfig, progress: Progress
    ) -> Self:
        """Remember the ``train`` rows."""
        progress("gathering profiles")
        return cls(fit_profiles(outcomes, vectors, config.clusters, config.seed), config.neighbours)

    def refit(
        self, outcomes: Outcomes, vectors: Vectors, config: TrainingConfig, progress: Progress
    ) -> Self:
        """Remember all rows."""
        return self.train(outcomes, vectors, config, progress)

    @classmethod
    def load(cls, weights: Weights, config: TrainingConfig, dim: int, experts: int) -> Self:
        """Rebuild the profiles."""
        arrays = {name: weights[name].float().numpy() for name in cls._NAMES}
        if arrays["places"].shape[1] != dim or arrays["sums"].shape[1] != experts:
            shapes = (arrays["places"].shape, arrays["sums"].shape)
            raise RuntimeError(
                f"profiles of shapes {shapes} are not of {dim} dimensions and {experts} experts"
            )
        return cls(Profiles(**arrays), config.neighbours)


SCORERS: dict[str, type[HeadEnsemble] | type[Neighbours]] = {
    "performance": HeadEnsemble,
    "knn": Neighbours,
}
