"""What calls cost when routers are measured: as paid where that is known, or the paper's averaged prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from routoo_core.limits import TYPICAL_OUTPUT_TOKENS
from routoo_core.measures.curve import Array
from routoo_core.outcomes import Outcomes
from routoo_core.prices import TOKENS_PER_MILLION, PriceList
from routoo_core.tokens import count_tokens

PAPER_UNIT = "USD per million tokens"
MEASURED_UNIT = "USD per 1,000 calls"

MEASURED = "measured"
PAPER = "paper"

CALLS = 1000
"""So many calls are priced together, since one costs too little to read."""


@dataclass(frozen=True, eq=False)
class CallCosts:
    """What every call costs with every expert.

    Attributes:
        unit: What the amounts are, as an axis says it.
        expected: Of each expert; what a router goes by, (experts,).
        paid: Of each call, prompts × experts.
    """

    unit: str
    expected: Array = field(repr=False)
    paid: Array = field(repr=False)

    @property
    def mean(self) -> Array:
        """The mean cost of each expert if it answers every prompt, (experts,)."""
        mean: Array = self.paid.mean(axis=0)
        return mean


def measured_costs(outcomes: Outcomes, prices: PriceList) -> CallCosts:
    """USD of a thousand calls: what was paid; else the list price of the prompt's and the answer's tokens.

    An answer of unknown length counts as the expert's mean, or as 300 tokens where none of its lengths is known. A
    router does not know lengths beforehand, so it goes by each expert's mean cost.

    Args:
        outcomes: Prompts that every expert was observed on.
        prices: Of its experts, in the same order.
    """
    prompt_lengths = prompt_tokens(outcomes)
    answer_lengths = answer_tokens(outcomes)
    input_usd = np.array(list(prices.input_usd_per_1m.values())) / TOKENS_PER_MILLION
    output_usd = np.array(list(prices.output_usd_per_1m.values())) / TOKENS_PER_MILLION
    costs = prompt_lengths[:, None] * input_usd + answer_lengths * output_usd
    if outcomes.cost_table is not None:
        table_costs = outcomes.cost_table.values.astype(np.float64)
        costs = np.where(np.isnan(table_costs), costs, table_costs)
    costs = costs * CALLS
    return CallCosts(MEASURED_UNIT, costs.mean(axis=0), costs)


def paper_costs(outcomes: Outcomes, prices: PriceList) -> CallCosts:
    """USD per million tokens, input and output averaged as in the paper (§4.3): every call has the same length."""
    usd = np.array(list(prices.per_million().values()))
    costs = np.broadcast_to(usd, outcomes.scores.shape)
    return CallCosts(PAPER_UNIT, usd, costs)


COST_MODELS: dict[str, Callable[[Outcomes, PriceList], CallCosts]] = {
    MEASURED: measured_costs,
    PAPER: paper_costs,
}
"""Name of ``--cost`` → what calls cost by it."""


def prompt_tokens(outcomes: Outcomes) -> Array:
    """Tokens of each prompt, as a router estimates them, (prompts,)."""
    return np.array([count_tokens(prompt) for prompt in outcomes.prompts], dtype=np.float64)


def answer_tokens(outcomes: Outcomes) -> Array:
    """Tokens of each answer, prompts × experts: as observed, else the expert's mean, else 300."""
    shape = outcomes.scores.shape
    if outcomes.lengths is None:
        return np.full(shape, float(TYPICAL_OUTPUT_TOKENS))
    lengths = outcomes.lengths.astype(np.float64)
    is_known = ~np.isnan(lengths)
    counts = is_known.sum(axis=0)
    sums = np.where(is_known, lengths, 0.0).sum(axis=0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), TYPICAL_OUTPUT_TOKENS)
    return np.where(is_known, lengths, means)
