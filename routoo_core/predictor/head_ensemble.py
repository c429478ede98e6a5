"""The paper's kind of quality model: heads from several seeds, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field, field_validator

from routoo_core.predictor.base import Quality, Vectors
from routoo_core.predictor.checkpoint_config import CheckpointConfig
from routoo_core.predictor.heads import HEADS, Head, HeadShape
from routoo_core.predictor.quality_model import Weights
from routoo_core.settings import Settings


class EnsembleSettings(Settings):
    """Which heads are served.

    Attributes:
        head: How prompt and expert interact, a name in ``HEADS``; ``difference`` is the paper's.
        width: Length the prompt's vector is projected to.
        dropout: On the prompt's vector, while training.
        levels: Score levels K; a score of 0–1 is rounded to the nearest.
        members: Heads trained from different seeds; their qualities are averaged.
    """

    head: str = "domain"
    width: Annotated[int, Field(ge=1)] = 96
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    levels: Annotated[int, Field(ge=2)] = 2
    members: Annotated[int, Field(ge=1)] = 4

    @field_validator("head")
    @classmethod
    def _check_head(cls, head: str) -> str:
        if head not in HEADS:
            raise ValueError(f"{head!r} is unknown; choose one of {', '.join(HEADS)}")
        return head

    def make_head(self, dim: int, experts: int, domains: int = 1) -> Head:
        """An untrained head."""
        shape = HeadShape(dim, experts, self.levels, self.width, self.dropout, domains)
        return HEADS[self.head](shape)


@dataclass(frozen=True)
class HeadEnsemble:
    """Heads over the same experts.

    Attributes:
        heads: The members.
    """

    heads: Sequence[Head] = field(repr=False)

    @torch.inference_mode()
    def quality(self, vectors: Vectors) -> Quality:
        """Quality averaged over the members."""
        batch = torch.from_numpy(vectors)
        members = torch.stack([head.expected_level(batch) for head in self.heads])
        mean: Quality = members.mean(0).numpy()
        return mean

    def weights(self) -> Weights:
        """``member.name`` → half-precision tensor."""
        weights: Weights = {}
        for member, head in enumerate(self.heads):
            for name, value in head.state_dict().items():
                weights[f"{member}.{name}"] = value.half().contiguous()
        return weights


def load_head_ensemble(weights: Weights, config: CheckpointConfig) -> HeadEnsemble:
    """Rebuild every member.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: A tensor has another shape.
    """
    settings = config.training.settings_of(EnsembleSettings)
    heads = []
    for member in range(settings.members):
        state = _state_of_member(weights, member)
        domains = state["table"].shape[1] if "table" in state else 1
        head = settings.make_head(config.dim, len(config.experts), domains)
        head.load_state_dict(state)
        heads.append(head.eval().requires_grad_(False))
    return HeadEnsemble(heads)


def _state_of_member(weights: Weights, member: int) -> Weights:
    state: Weights = {}
    for name, value in weights.items():
        owner, _, parameter = name.partition(".")
        if owner == str(member):
            state[parameter] = value.float()
    return state
