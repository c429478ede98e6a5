"""``routoo assign``: predicted quality, prices and a budget → an expert for each prompt, and a certificate."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.quality_table import read_predicted_quality
from routoo_core.assignment.solver import UNASSIGNED, Assignment
from routoo_core.expert_table import ExpertTable
from routoo_core.price_list import read_price_list
from routoo_core.tables import write_table


@dataclass(frozen=True)
class PricedQuality:
    """Predicted quality of the experts that have a price.

    Attributes:
        table: Predicted quality of these experts, float32, 0–1.
        cost: USD of one call to each of them, (experts,).
    """

    table: ExpertTable
    cost: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class Certificate:
    """What an assignment is worth, and how far from the optimum it can be.

    Attributes:
        prompts: Number of prompts.
        unanswered: Number of prompts without an expert.
        quality: Predicted quality of all prompts together.
        mean_quality: Predicted quality of a prompt, 0–1.
        cost_usd: Cost of all prompts together.
        budget_usd: The budget.
        upper_bound: No assignment within the budget has more quality.
        gap: Share of the bound that is missing.
        lambda_per_usd: λ of the bound, quality per USD.
    """

    prompts: int
    unanswered: int
    quality: float
    mean_quality: float
    cost_usd: float
    budget_usd: float
    upper_bound: float
    gap: float
    lambda_per_usd: float

    @classmethod
    def of(cls, assignment: Assignment) -> Certificate:
        """The certificate of an assignment."""
        prompts = len(assignment.choices)
        return cls(
            prompts=prompts,
            unanswered=int((assignment.choices == UNASSIGNED).sum()),
            quality=assignment.quality,
            mean_quality=assignment.quality / prompts,
            cost_usd=assignment.cost,
            budget_usd=assignment.budget,
            upper_bound=assignment.bound,
            gap=assignment.gap,
            lambda_per_usd=assignment.lambda_,
        )

    def to_dict(self) -> dict[str, float]:
        """Plain JSON values."""
        return asdict(self)


def read_priced_quality(
    predictions: Path, prices: Path, pools: Collection[str], tokens: int
) -> PricedQuality:
    """Read predicted quality and prices of the experts that have both.

    Args:
        predictions: See :func:`~routoo_core.assignment.quality_table.read_predicted_quality`.
        prices: See :func:`~routoo_core.price_list.read_price_list`.
        pools: Only prices of these pools; all when empty.
        tokens: Tokens of each call.

    Raises:
        OutcomesError: The predictions cannot be read.
        ConfigurationError: The prices cannot be read.
    """
    table = read_predicted_quality(predictions)
    price_list = read_price_list(prices, pools, table.experts)
    usd_per_call = price_list.per_call(tokens)
    cost = np.array(list(usd_per_call.values()), dtype=np.float64)
    priced_experts = table.select(tuple(usd_per_call))
    return PricedQuality(priced_experts, cost)


def write_assignment(path: Path, priced_quality: PricedQuality, assignment: Assignment) -> None:
    """Write ``prompt_id, model, score, cost_usd``; a prompt without an expert has only its id.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    table = priced_quality.table
    models: list[str | None] = []
    quality: list[float | None] = []
    cost: list[float | None] = []
    for row, column in enumerate(assignment.choices.tolist()):
        if column == UNASSIGNED:
            models.append(None)
            quality.append(None)
            cost.append(None)
        else:
            models.append(table.experts[column])
            quality.append(float(table.values[row, column]))
            cost.append(float(priced_quality.cost[column]))

    columns = {
        "prompt_id": list(table.row_ids),
        "model": models,
        "score": quality,
        "cost_usd": cost,
    }
    write_table(path, columns)
