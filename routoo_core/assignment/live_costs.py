"""What a live router would predict and expect to pay for prompts: the same lengths, prices and windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

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
    """Experts with a known price and nothing else."""
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
    columns = _prediction_columns(pool, predictor)
    quality = [np.zeros((0, len(columns)))]
    calls: list[_ExpectedCall] = []
    with progress.bar("Predicting", len(prompts)) as advance:
        for start in range(0, len(prompts), _CHUNK):
            requests = []
            for prompt in prompts[start : start + _CHUNK]:
                requests.append(RoutedRequest.from_text(prompt, max_tokens=max_tokens))
            prediction = forecast(predictor, [request.text for request in requests])
            quality.append(prediction.quality[:, columns].astype(np.float64))
            for row, request in enumerate(requests):
                lengths = None if prediction.lengths is None else prediction.lengths[row, columns]
                calls += _expected_calls(pool, request, lengths)
            advance(len(requests))

    shape = (len(prompts), len(columns))
    usd = np.array([call.usd for call in calls], dtype=np.float64)
    can_serve = np.array([call.can_be_served for call in calls], dtype=np.bool_)
    return CallTable(
        experts=tuple(expert.name for expert in pool),
        quality=np.concatenate(quality),
        usd=usd.reshape(shape),
        can_serve=can_serve.reshape(shape),
    )


def _prediction_columns(pool: Pool, predictor: Predictor) -> list[int]:
    """The column of a prediction for each expert of a pool."""
    column_of = {name: column for column, name in enumerate(predictor.experts)}
    return [column_of[expert.predicted_as] for expert in pool]


class _ExpectedCall(NamedTuple):
    """What a call to one expert will probably cost, USD, and whether the expert can serve it."""

    usd: float
    can_be_served: bool


def _expected_calls(
    pool: Pool, request: RoutedRequest, lengths: NDArray[np.float32] | None
) -> list[_ExpectedCall]:
    """A call to each expert of the pool.

    Args:
        pool: The experts.
        request: The call.
        lengths: Predicted tokens of each expert's reply; ``None`` where no length is known.
    """
    calls = []
    for position, expert in enumerate(pool):
        length = None if lengths is None else float(lengths[position])
        usd = call_cost(expert, request, length).expected / NANO_PER_USD
        calls.append(_ExpectedCall(usd, not missing_abilities(expert, request)))
    return calls
