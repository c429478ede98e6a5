"""Prices of tokens: of one model, by every kind of token, and of many models, as a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import Annotated, Any, Self

from pydantic import Field

from routoo_core.errors import ConfigurationError
from routoo_core.money import MAX_USD, NANO_PER_USD, NanoUsd
from routoo_core.settings import Settings
from routoo_core.usage import Usage

TOKENS_PER_MILLION = 1_000_000
NANO_PER_MICRO_USD = 1000
"""Nano-USD per token at a price of one USD per million tokens: a millionth of a dollar."""

UsdPerMillion = Annotated[Decimal, Field(ge=0, le=MAX_USD, allow_inf_nan=False)]
Usd = Annotated[Decimal, Field(ge=0, le=MAX_USD, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of single tokens as whole numbers, so that costs are exact and quick to work out.

    Attributes:
        per_nano_usd: The unit of all others: so many of them are a nano-USD.
        call: Of a call, whatever its tokens; the others are of a token of each kind.
        dearest_prompt: Of the dearest kind of token that a prompt can have; ``dearest_reply`` likewise.
    """

    per_nano_usd: int
    call: int
    prompt: int
    cached: int
    cache_write: int
    cache_write_1h: int
    audio_input: int
    cached_audio: int
    reply: int
    reasoning: int
    audio_output: int
    image_output: int
    dearest_prompt: int
    dearest_reply: int

    def nano_usd(self, units: int) -> NanoUsd:
        """Rounded up."""
        return -(-units // self.per_nano_usd)

    def prompt_units(self, usage: Usage) -> int:
        """What the prompt costs, each token in one place."""
        total = max(0, usage.prompt_tokens)
        if (
            not usage.cached_tokens
            and not usage.cache_write_tokens
            and not usage.audio_input_tokens
        ):
            return total * self.prompt

        write = _part(usage.cache_write_tokens, total)
        write_1h = _part(usage.cache_write_1h_tokens, write)
        cache_tokens = _part(usage.cached_tokens, total - write)
        fresh_tokens = total - write - cache_tokens
        audio = _part(usage.audio_input_tokens, total)
        # Audio that has no room beside the cache was read from it.
        cached_audio = max(usage.cached_audio_tokens, audio - fresh_tokens)
        cached_audio = _part(cached_audio, min(cache_tokens, audio))
        audio = _part(audio - cached_audio, fresh_tokens)
        return (
            write_1h * self.cache_write_1h
            + (write - write_1h) * self.cache_write
            + cached_audio * self.cached_audio
            + (cache_tokens - cached_audio) * self.cached
            + audio * self.audio_input
            + (fresh_tokens - audio) * self.prompt
        )

    def reply_units(self, usage: Usage) -> int:
        """What the reply costs, each token in one place."""
        total = max(0, usage.completion_tokens)
        if (
            not usage.reasoning_tokens
            and not usage.audio_output_tokens
            and not usage.image_output_tokens
        ):
            return total * self.reply

        image = _part(usage.image_output_tokens, total)
        audio = _part(usage.audio_output_tokens, total - image)
        reasoning = _part(usage.reasoning_tokens, total - image - audio)
        return (
            image * self.image_output
            + audio * self.audio_output
            + reasoning * self.reasoning
            + (total - image - audio - reasoning) * self.reply
        )


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

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("rates", None)  # of the values before
        return copy

    @cached_property
    def rates(self) -> Rates:
        """The same prices for single tokens."""
        return _rates_of(self)

    def complete(self) -> TokenPrices:
        """The same prices, with one written out for every kind of token."""
        prompt = self.input_usd_per_1m
        reply = self.output_usd_per_1m
        cache_read = _own(self.cached_usd_per_1m, prompt)
        cache_write = _own(self.cache_write_usd_per_1m, prompt)
        return TokenPrices(
            input_usd_per_1m=prompt,
            output_usd_per_1m=reply,
            cached_usd_per_1m=cache_read,
            cache_write_usd_per_1m=cache_write,
            audio_input_usd_per_1m=_own(self.audio_input_usd_per_1m, prompt),
            reasoning_usd_per_1m=_own(self.reasoning_usd_per_1m, reply),
            audio_output_usd_per_1m=_own(self.audio_output_usd_per_1m, reply),
            cache_write_1h_usd_per_1m=_own(self.cache_write_1h_usd_per_1m, cache_write),
            cached_audio_usd_per_1m=self._cached_audio_price(),
            image_output_usd_per_1m=_own(self.image_output_usd_per_1m, reply),
            usd_per_call=_own(self.usd_per_call, Decimal(0)),
        )

    def maximum_cost(self, prompt_tokens: int, completion_tokens: int) -> NanoUsd:
        """The most a call can cost, whatever kinds its tokens are, rounded up."""
        rates = self.rates
        prompt_units = prompt_tokens * rates.dearest_prompt
        reply_units = completion_tokens * rates.dearest_reply
        return rates.nano_usd(rates.call + prompt_units + reply_units)

    def affordable_reply(self, amount: NanoUsd, prompt_tokens: int) -> int | None:
        """The longest reply, tokens, that an amount pays for after a prompt, whatever kinds the tokens are.

        Args:
            amount: Nano-USD.
            prompt_tokens: Of the whole prompt.

        Returns:
            Below 0 where the prompt alone costs more; ``None`` where a reply is free.
        """
        rates = self.rates
        prompt_units = rates.call + prompt_tokens * rates.dearest_prompt
        remaining = amount * rates.per_nano_usd - prompt_units
        if not rates.dearest_reply:
            return None if remaining >= 0 else -1
        return remaining // rates.dearest_reply

    def cost(self, usage: Usage) -> NanoUsd:
        """What ``usage`` costs, rounded up.

        Every token is priced once, also where the kinds overlap. Parts that exceed their total are cut.
        """
        rates = self.rates
        return rates.nano_usd(rates.call + rates.prompt_units(usage) + rates.reply_units(usage))

    def _cached_audio_price(self) -> Decimal:
        """Audio from the cache is a part of two kinds; without a price of its own, the dearer of theirs."""
        if self.cached_audio_usd_per_1m is not None:
            return self.cached_audio_usd_per_1m
        kinds = (self.cached_usd_per_1m, self.audio_input_usd_per_1m)
        prices = [price for price in kinds if price is not None]
        return max(prices, default=self.input_usd_per_1m)


def _part(tokens: int, total: int) -> int:
    """A part of a total: from none of it to all of it."""
    return max(0, min(tokens, total))


def _own(price: Decimal | None, default: Decimal) -> Decimal:
    """A kind's own price, else that of its total."""
    return default if price is None else price


def _rates_of(prices: TokenPrices) -> Rates:
    complete = prices.complete()
    prompt_usd = {
        "prompt": complete.input_usd_per_1m,
        "cached": complete.cached_usd_per_1m,
        "cache_write": complete.cache_write_usd_per_1m,
        "cache_write_1h": complete.cache_write_1h_usd_per_1m,
        "audio_input": complete.audio_input_usd_per_1m,
        "cached_audio": complete.cached_audio_usd_per_1m,
    }
    reply_usd = {
        "reply": complete.output_usd_per_1m,
        "reasoning": complete.reasoning_usd_per_1m,
        "audio_output": complete.audio_output_usd_per_1m,
        "image_output": complete.image_output_usd_per_1m,
    }
    nano_usd = {"call": Fraction(complete.usd_per_call or 0) * NANO_PER_USD}
    for kind, usd in (prompt_usd | reply_usd).items():
        nano_usd[kind] = Fraction(usd or 0) * NANO_PER_MICRO_USD

    per_nano_usd = lcm(*(rate.denominator for rate in nano_usd.values()))
    units = {kind: int(rate * per_nano_usd) for kind, rate in nano_usd.items()}
    return Rates(
        per_nano_usd,
        **units,
        dearest_prompt=max(units[kind] for kind in prompt_usd),
        dearest_reply=max(units[kind] for kind in reply_usd),
    )


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
