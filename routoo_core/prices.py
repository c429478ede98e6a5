"""Prices of tokens: of one model, by every kind of token, and of many models, as a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from typing import Annotated

from pydantic import Field

from routoo_core.errors import ConfigurationError
from routoo_core.money import NANO_PER_USD, NanoUsd
from routoo_core.settings import Settings
from routoo_core.usage import Usage

TOKENS_PER_MILLION = 1_000_000
NANO_PER_MICRO_USD = 1000
"""Nano-USD per token at a price of one USD per million tokens: a millionth of a dollar."""
EXACT = Context(prec=200, rounding=ROUND_CEILING, traps=[InvalidOperation])
"""Arithmetic of money: exact whatever precision the program around it has set."""

UsdPerMillion = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Usd = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


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
        cache_write_1h_usd_per_1m: Of what the cache keeps for an hour; by default as ``cache_write_usd_per_1m``.
        cached_audio_usd_per_1m: Of audio that was read from the cache; by default the dearer price of the two.
        image_output_usd_per_1m: Of images in the reply.
        usd_per_call: Of a call, whatever its tokens, USD.
    """

    input_usd_per_1m: UsdPerMillion
    output_usd_per_1m: UsdPerMillion
    cached_usd_per_1m: UsdPerMillion | None = None
    cache_write_usd_per_1m: UsdPerMillion | None = None
    audio_input_usd_per_1m: UsdPerMillion | None = None
    reasoning_usd_per_1m: UsdPerMillion | None = None
    audio_output_usd_per_1m: UsdPerMillion | None = None
    cache_write_1h_usd_per_1m: UsdPerMillion | None = None
    cached_audio_usd_per_1m: UsdPerMillion | None = None
    image_output_usd_per_1m: UsdPerMillion | None = None
    usd_per_call: Usd | None = None

    def complete(self) -> TokenPrices:
        """The same prices, with one written out for every kind of token."""
        prompt = self.input_usd_per_1m
        reply = self.output_usd_per_1m
        cached = _own(self.cached_usd_per_1m, prompt)
        cache_write = _own(self.cache_write_usd_per_1m, prompt)
        return TokenPrices(
            input_usd_per_1m=prompt,
            output_usd_per_1m=reply,
            cached_usd_per_1m=cached,
            cache_write_usd_per_1m=cache_write,
            audio_input_usd_per_1m=_own(self.audio_input_usd_per_1m, prompt),
            reasoning_usd_per_1m=_own(self.reasoning_usd_per_1m, reply),
            audio_output_usd_per_1m=_own(self.audio_output_usd_per_1m, reply),
            cache_write_1h_usd_per_1m=_own(self.cache_write_1h_usd_per_1m, cache_write),
            cached_audio_usd_per_1m=self._cached_audio_price(),
            image_output_usd_per_1m=_own(self.image_output_usd_per_1m, reply),
            usd_per_call=_own(self.usd_per_call, Decimal(0)),
        )

    @property
    def dearest_input_usd_per_1m(self) -> Decimal:
        """The highest price that a token of the prompt can have."""
        prices = (
            self.input_usd_per_1m,
            self.cached_usd_per_1m,
            self.cache_write_usd_per_1m,
            self.cache_write_1h_usd_per_1m,
            self.audio_input_usd_per_1m,
            self.cached_audio_usd_per_1m,
        )
        return max(price for price in prices if price is not None)

    @property
    def dearest_output_usd_per_1m(self) -> Decimal:
        """The highest price that a token of the reply can have."""
        prices = (
            self.output_usd_per_1m,
            self.reasoning_usd_per_1m,
            self.audio_output_usd_per_1m,
            self.image_output_usd_per_1m,
        )
        return max(price for price in prices if price is not None)

    def maximum_cost(self, prompt_tokens: int, completion_tokens: int) -> NanoUsd:
        """The most a call can cost, whatever kinds its tokens are, rounded up."""
        parts = (
            (prompt_tokens, self.dearest_input_usd_per_1m),
            (completion_tokens, self.dearest_output_usd_per_1m),
        )
        return _nano_usd(parts, self.usd_per_call)

    def affordable_reply(self, amount: NanoUsd, prompt_tokens: int) -> int | None:
        """The longest reply, tokens, that an amount surely pays for after a prompt.

        Args:
            amount: Nano-USD.
            prompt_tokens: Of the whole prompt.

        Returns:
            Below 0 where the prompt alone costs more; ``None`` where a reply is free.
        """
        price = EXACT.multiply(self.dearest_output_usd_per_1m, Decimal(NANO_PER_MICRO_USD))
        remaining = amount - self.maximum_cost(prompt_tokens, 0)
        if not price:
            return None if remaining >= 0 else -1
        numerator, denominator = price.as_integer_ratio()
        return remaining * denominator // numerator

    def cost(self, usage: Usage) -> NanoUsd:
        """What ``usage`` costs, rounded up.

        Every token is priced once, also where the kinds overlap. Parts that exceed their total are cut.
        """
        parts = (*self._priced_prompt(usage), *self._priced_reply(usage))
        return _nano_usd(parts, self.usd_per_call)

    def _priced_prompt(self, usage: Usage) -> tuple[tuple[int, Decimal], ...]:
        """Tokens of the prompt and their price, each token in one place."""
        total = max(0, usage.prompt_tokens)
        price = self.input_usd_per_1m
        write = _part(usage.cache_write_tokens, total)
        cached = _part(usage.cached_tokens, total - write)
        audio = _part(usage.audio_input_tokens, total)
        if not write and not cached and not audio:
            return ((total, price),)

        write_1h = _part(usage.cache_write_1h_tokens, write)
        uncached = total - write - cached
        # Audio that has no room beside the cache was read from it.
        cached_audio = max(usage.cached_audio_tokens, audio - uncached)
        cached_audio = _part(cached_audio, min(cached, audio))
        audio = _part(audio - cached_audio, uncached)

        write_price = _own(self.cache_write_usd_per_1m, price)
        cached_price = _own(self.cached_usd_per_1m, price)
        return (
            (write_1h, _own(self.cache_write_1h_usd_per_1m, write_price)),
            (write - write_1h, write_price),
            (cached_audio, self._cached_audio_price()),
            (cached - cached_audio, cached_price),
            (audio, _own(self.audio_input_usd_per_1m, price)),
            (uncached - audio, price),
        )

    def _cached_audio_price(self) -> Decimal:
        """Audio from the cache is a part of two kinds; without a price of its own, the dearer of theirs."""
        if self.cached_audio_usd_per_1m is not None:
            return self.cached_audio_usd_per_1m
        kinds = (self.cached_usd_per_1m, self.audio_input_usd_per_1m)
        prices = [price for price in kinds if price is not None]
        return max(prices, default=self.input_usd_per_1m)

    def _priced_reply(self, usage: Usage) -> tuple[tuple[int, Decimal], ...]:
        """Tokens of the reply and their price, each token in one place."""
        total = max(0, usage.completion_tokens)
        price = self.output_usd_per_1m
        image = _part(usage.image_output_tokens, total)
        audio = _part(usage.audio_output_tokens, total - image)
        reasoning = _part(usage.reasoning_tokens, total - image - audio)
        return (
            (image, _own(self.image_output_usd_per_1m, price)),
            (audio, _own(self.audio_output_usd_per_1m, price)),
            (reasoning, _own(self.reasoning_usd_per_1m, price)),
            (total - image - audio - reasoning, price),
        )


def _part(tokens: int, total: int) -> int:
    """A part of a total: from none of it to all of it."""
    return max(0, min(tokens, total))


def _own(price: Decimal | None, default: Decimal) -> Decimal:
    """A kind's own price, else that of its total."""
    return default if price is None else price


def _nano_usd(parts: tuple[tuple[int, Decimal], ...], usd_per_call: Decimal | None) -> NanoUsd:
    """What tokens cost at their prices, together with the call itself, rounded up."""
    # USD per million tokens are millionths of a dollar per token.
    nano_usd = Decimal(0)
    for tokens, price in parts:
        if tokens > 0:
            part_nano_usd = EXACT.multiply(price, Decimal(tokens * NANO_PER_MICRO_USD))
            nano_usd = EXACT.add(nano_usd, part_nano_usd)
    if usd_per_call is not None:
        nano_usd = EXACT.add(nano_usd, EXACT.multiply(usd_per_call, Decimal(NANO_PER_USD)))
    return int(EXACT.to_integral_value(nano_usd))


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
