"""Outcomes together with the vectors of their prompts."""

from __future__ import annotations

from dataclasses import dataclass, field

from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Vectors


@dataclass(frozen=True, eq=False)
class EncodedOutcomes:
    """What an algorithm learns from.

    Attributes:
        outcomes: N prompts × M experts; missing pairs are NaN.
        vectors: The encoder's, (N, dim), in the outcomes' order.
    """

    outcomes: Outcomes
    vectors: Vectors = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.vectors) != len(self.outcomes.prompts):
            raise ValueError(
                f"{len(self.vectors)} vectors for {len(self.outcomes.prompts)} prompts"
            )
