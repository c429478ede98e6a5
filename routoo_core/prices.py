"""Prices of tokens: of one model, looked up, and of many models, as a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any

from pydantic import Field

from routoo_core.errors import ConfigurationError, UnknownPrice
from routoo_core.money import NanoUsd
from routoo_core.settings import Settings
from routoo_core.usage import Usage

TOKENS_PER_MILLION = 1_000_000
NANO_PER_MICRO_USD = 1000
"""Nano-USD per token at a price of one USD per million tokens: a millionth of a dollar."""

UsdPerMillion = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class TokenPrices(Settings):
    """USD per million tokens of one model, exact.

    A kind of token without a price of its own costs what the total does that it is a part of.

    Attributes:
        input_usd_per_1m: Of the prompt.
        output_usd_per_1m: Of the reply.
        cached_usd_per_1m: Of the part of the prompt that was read from the provider's cache.
        cache_write_usd_per_1m: Of the part of the prompt that was written into the provider's cache.
        audio_input_usd_per_1m: Of audio in the prompt.
        reasoning_usd_per_1m: Of the part of the reply that was reasoning.
        audio_output_usd_per_1m: Of audio in the reply.
    """

    input_usd_per_1m: UsdPerMillion
    output_usd_per_1m: UsdPerMillion
    cached_usd_per_1m: UsdPerMillion | None = None
    cache_write_usd_per_1m: UsdPerMillion | None = None
    audio_input_usd_per_1m: UsdPerMillion | None = None
    reasoning_usd_per_1m: UsdPerMillion | None = None
    audio_output_usd_per_1m: UsdPerMillion | None = None

    @property
    def dearest_input_usd_per_1m(self) -> Decimal:
        """The highest price that a token of the prompt can have."""
        prices = (self.input_usd_per_1m, self.cache_write_usd_per_1m, self.audio_input_usd_per_1m)
        return max(price for price in prices if price is not None)

    @property
    def dearest_output_usd_per_1m(self) -> Decimal:
        """The highest price that a token of the reply can have."""
        prices = (self.output_usd_per_1m, self.reasoning_usd_per_1m, self.audio_output_usd_per_1m)
        return max(price for price in prices if price is not None)

    def maximum_cost(self, prompt_tokens: int, completion_tokens: int) -> NanoUsd:
        """The most a call can cost, whatever kinds its tokens are, rounded up."""
        micro_usd = (
            self.dearest_input_usd_per_1m * prompt_tokens
            + self.dearest_output_usd_per_1m * completion_tokens
        )
        nano_usd = micro_usd * NANO_PER_MICRO_USD
        return int(nano_usd.to_integral_value(rounding=ROUND_CEILING))

    def cost(self, usage: Usage) -> NanoUsd:
        """What ``usage`` costs at list price, rounded up."""
        # USD per million tokens are millionths of a dollar per token.
        micro_usd = (
            self.input_usd_per_1m * usage.prompt_tokens
            + self.output_usd_per_1m * usage.completion_tokens
        )

        # A part with a price of its own costs more, or less, than the rest of its total.
        if usage.cached_tokens and self.cached_usd_per_1m is not None:
            difference = self.cached_usd_per_1m - self.input_usd_per_1m
            micro_usd += difference * usage.cached_tokens
        if usage.cache_write_tokens and self.cache_write_usd_per_1m is not None:
            difference = self.cache_write_usd_per_1m - self.input_usd_per_1m
            micro_usd += difference * usage.cache_write_tokens
        if usage.audio_input_tokens and self.audio_input_usd_per_1m is not None:
            difference = self.audio_input_usd_per_1m - self.input_usd_per_1m
            micro_usd += difference * usage.audio_input_tokens
        if usage.reasoning_tokens and self.reasoning_usd_per_1m is not None:
            difference = self.reasoning_usd_per_1m - self.output_usd_per_1m
            micro_usd += difference * usage.reasoning_tokens
        if usage.audio_output_tokens and self.audio_output_usd_per_1m is not None:
            difference = self.audio_output_usd_per_1m - self.output_usd_per_1m
            micro_usd += difference * usage.audio_output_tokens

        nano_usd = micro_usd * NANO_PER_MICRO_USD
        return int(nano_usd.to_integral_value(rounding=ROUND_CEILING))


@dataclass(frozen=True)
class PriceList:
    """USD per million tokens of several models.

    Attributes:
        input_usd_per_1m: Model → price of the prompt.
        output_usd_per_1m: Model → price of the reply; the same models in the same order.
        sizes: Model → billions of parameters, where the list has them.
    """

    input_usd_per_1m: Mapping[str, float]
    output_usd_per_1m: Mapping[str, float]
    sizes: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if list(self.input_usd_per_1m) != list(self.output_usd_per_1m):
            raise ConfigurationError("prices: input and output are not of the same models")

    @property
    def models(self) -> tuple[str, ...]:
        """The models that have a price, in the order of the list."""
        return tuple(self.input_usd_per_1m)

    def select(self, models: Collection[str]) -> PriceList:
        """The prices of these models only, in the order of the list; models without a price are passed over."""
        input_usd = {}
        output_usd = {}
        sizes = {}
        for model in self.models:
            if model in models:
                input_usd[model] = self.input_usd_per_1m[model]
                output_usd[model] = self.output_usd_per_1m[model]
                if model in self.sizes:
                    sizes[model] = self.sizes[model]
        return PriceList(input_usd, output_usd, sizes)

    def per_million(self) -> dict[str, float]:
        """Model → USD per million tokens, input and output averaged as in the paper (§4.3)."""
        prices = {}
        for model, input_usd in self.input_usd_per_1m.items():
            prices[model] = (input_usd + self.output_usd_per_1m[model]) / 2
        return prices

    def per_call(self, tokens: int) -> dict[str, float]:
        """Model → USD of a call of so many tokens, half of them the reply's."""
        costs = {}
        for model, usd in self.per_million().items():
            costs[model] = usd * tokens / TOKENS_PER_MILLION
        return costs


def list_price(model: str) -> TokenPrices:
    """Look the list price of ``model`` up in genai-prices; of tiered prices the highest tier.

    Raises:
        UnknownPrice: The model is not in the table; unknown is never free.
    """
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    try:
        calculation = calc_price(PricedUsage(input_tokens=1, output_tokens=1), model_ref=model)
    except LookupError as error:
        raise _no_list_price(model) from error

    price = calculation.model_price
    if price.input_mtok is None or price.output_mtok is None:
        raise _no_list_price(model)
    cached = None
    if price.cache_read_mtok is not None:
        cached = _highest_tier(price.cache_read_mtok)
    return TokenPrices(
        input_usd_per_1m=_highest_tier(price.input_mtok),
        output_usd_per_1m=_highest_tier(price.output_mtok),
        cached_usd_per_1m=cached,
    )


def _highest_tier(price: Any) -> Decimal:
    """A price that may depend on the length of the prompt, at its dearest."""
    if isinstance(price, Decimal):
        return price
    tiers = [price.base, *(tier.price for tier in price.tiers)]
    return max(Decimal(tier) for tier in tiers)


def _no_list_price(model: str) -> UnknownPrice:
    return UnknownPrice(
        f"model {model!r}: no list price is known; give input_usd_per_1m and output_usd_per_1m"
    )
