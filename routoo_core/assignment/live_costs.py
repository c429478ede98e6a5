"""What a live router would predict and expect to pay for prompts: the same lengths, prices and windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from routoo_core.candidates import call_cost, missing_abilities
from routoo_core.experts import Expert, Pool
from routoo_core.money import NANO_PER_USD
from routoo_core.predictor.base import Predictor, forecast
from routoo_core.prices import PriceList
from routoo_core.progress import Progress
from routoo_core.request import RoutedRequest

_CHUNK = 64  # prompts predicted between two steps of the progress bar
_ANY_WINDOW = 10_000_000
"""Tokens of the window of an expert of which only the price is known."""


@dataclass(frozen=True, eq=False)
class CallTable:
    """Prompts as a router sees them.

    Attributes:
        experts: Names, one for each column.
        quality: Predicted, prompts × experts, 0–1.
        usd: Expected USD of each call, prompts × experts.
        can_serve: Whether an expert can serve a prompt, prompts × experts.
    """

    experts: tuple[str, ...]
    quality: NDArray[np.float64] = field(repr=False)
    usd: NDArray[np.float64] = field(repr=False)
    can_serve: NDArray[np.bool_] = field(repr=False)


def pool_of_prices(prices: PriceList) -> Pool:
    """Experts of which only the price is known."""
    experts = []
    for name in prices.models:
        expert = Expert(
            name=name,
            model=name,
            input_usd_per_1m=Decimal(str(prices.input_usd_per_1m[name])),
            output_usd_per_1m=Decimal(str(prices.output_usd_per_1m[name])),
            context_window=_ANY_WINDOW,
        )
        experts.append(expert)
    return Pool(experts)


def call_table(
    pool: Pool,
    predictor: Predictor,
    prompts: Sequence[str],
    max_tokens: int | None,
    progress: Progress,
) -> CallTable:
    """What a router predicts for prompts, each a call of its own, and what it expects to pay.

    Args:
        pool: The experts; the predictor knows each of them.
        predictor: Predicts quality, and lengths where it has learnt them.
        prompts: The texts.
        max_tokens: The limit on each reply; ``None`` for none.
        progress: Where progress goes.
    """
    column_of = {name: column for column, name in enumerate(predictor.experts)}
    columns = [column_of[expert.predicted_as] for expert in pool]
    shape = (len(prompts), len(columns))
    quality = np.zeros(shape)
    usd = np.zeros(shape)
    can_serve = np.zeros(shape, dtype=np.bool_)

    with progress.bar("Predicting", len(prompts)) as advance:
        for start in range(0, len(prompts), _CHUNK):
            requests = []
            for prompt in prompts[start : start + _CHUNK]:
                requests.append(RoutedRequest.from_text(prompt, max_tokens=max_tokens))
            prediction = forecast(predictor, [request.text for request in requests])
            rows = slice(start, start + len(requests))
            quality[rows] = prediction.quality[:, columns]
            for offset, request in enumerate(requests):
                for position, expert in enumerate(pool):
                    length = None
                    if prediction.lengths is not None:
                        length = float(prediction.lengths[offset, columns[position]])
                    expected = call_cost(expert, request, length).expected
                    usd[start + offset, position] = expected / NANO_PER_USD
                    can_serve[start + offset, position] = not missing_abilities(expert, request)
            advance(len(requests))
    return CallTable(tuple(expert.name for expert in pool), quality, usd, can_serve)
