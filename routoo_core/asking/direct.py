"""A router for calls that name their expert: nothing is predicted, the money is held as usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.experts import Pool
from routoo_core.predictor.base import Quality
from routoo_core.router import Router
from routoo_core.selector import Best


@dataclass(frozen=True)
class UniformPredictor:
    """A predictor that finds all experts equal."""

    experts: tuple[str, ...]
    fingerprint: str = "unrated"

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Zeros, shape (prompts, experts)."""
        shape = (len(prompts), len(self.experts))
        return np.zeros(shape, dtype=np.float32)


def direct_router(pool: Pool, budget: Budget, ledger: Ledger) -> Router:
    """A router for calls that name their expert; holds and settlements are those of live calls."""
    names = tuple(expert.predicted_as for expert in pool)
    predictor = UniformPredictor(names)
    return Router(pool, predictor, Best(), budget, ledger)
