"""List prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from routoo_core.errors import UnknownPrice


def list_price(model: str) -> dict[str, Decimal]:
    """Look the list price of ``model`` up in genai-prices; of tiered prices the highest tier.

    Raises:
        UnknownPrice: The model is not in the table; unknown is never free.
    """
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    try:
        found = calc_price(
            PricedUsage(input_tokens=1, output_tokens=1), model_ref=model
        ).model_price
    except LookupError as error:
        raise UnknownPrice(
            f"model {model!r}: no list price is known; give input_usd_per_1m and output_usd_per_1m"
        ) from error
    prices = {
        "input_usd_per_1m": found.input_mtok,
        "output_usd_per_1m": found.output_mtok,
        "cached_usd_per_1m": found.cache_read_mtok,
    }
    return {key: _highest_tier(price) for key, price in prices.items() if price is not None}


def _highest_tier(price: Any) -> Decimal:
    tiers = (
        [price]
        if isinstance(price, Decimal)
        else [price.base, *(tier.price for tier in price.tiers)]
    )
    return max(Decimal(tier) for tier in tiers)
