"""List prices, looked up by host and name, as they are at the moment they are asked for.

A provider may have other prices from a date on, at some hours of the day (UTC), and for long prompts.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from routoo_core.errors import UnknownPrice
from routoo_core.hosts import (
    Address,
    hugging_face_provider,
    provider_of_address,
    provider_of_word,
)
from routoo_core.model_names import without_path
from routoo_core.money import NanoUsd
from routoo_core.prices import TokenPrices
from routoo_core.usage import Usage

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice

DAY_S = 86_400
_SCHEDULES_KEPT = 1024
_LIST_NAMES = {
    "input_usd_per_1m": "input_mtok",
    "output_usd_per_1m": "output_mtok",
    "cached_usd_per_1m": "cache_read_mtok",
    "cache_write_usd_per_1m": "cache_write_mtok",
    "audio_input_usd_per_1m": "input_audio_mtok",
    "reasoning_usd_per_1m": "output_reasoning_mtok",
    "audio_output_usd_per_1m": "output_audio_mtok",
    "cache_write_1h_usd_per_1m": "cache_write_1h_mtok",
    "cached_audio_usd_per_1m": "cache_audio_read_mtok",
    "image_output_usd_per_1m": "output_image_mtok",
}
"""A price → what the list calls it."""
_EXACT = Context(prec=200)
"""Arithmetic that does not depend on the precision that the program around it has set."""
_SHORTEST = -1
"""Every prompt is longer than this."""
_HOUR_WRITE_FACTOR = Decimal("1.6")
"""Anthropic's price of writes kept for an hour to that of five minutes: 2 × the prompt's to 1.25 ×."""

Moment = datetime | float
"""When a price is asked for: an aware datetime, or seconds since the epoch."""


@dataclass(frozen=True)
class ListPrices:
    """The prices of one model at one host; a value that can be compared, copied and pickled.

    Each question reads the list that genai-prices has in this process at that moment.

    Attributes:
        model: The name that the host knows it by.
        host: The provider's id in the list; ``None`` where the model is looked up by its name alone.
    """

    model: str
    host: str | None = None

    def at(self, moment: Moment | None = None, prompt_tokens: int = 0) -> TokenPrices:
        """The prices of a call.

        Args:
            moment: When it was answered; by default now.
            prompt_tokens: Of its whole prompt; a long one may cost more for each token.

        Raises:
            UnknownPrice: The list does not know the model any more.
        """
        return _schedule(self).at(_seconds(moment), prompt_tokens)

    def dearest(self, prompt_bound: int, moment: Moment | None = None) -> TokenPrices:
        """The highest price of every kind that can apply within a day.

        Args:
            prompt_bound: The most tokens that the prompt can be.
            moment: When the day begins; by default now.

        Raises:
            UnknownPrice: The list does not know the model any more.
        """
        return _schedule(self).dearest(_seconds(moment), prompt_bound)

    def cost(self, usage: Usage, at: Moment | None = None) -> NanoUsd:
        """What ``usage`` cost, rounded up.

        Raises:
            UnknownPrice: The list does not know the model any more.
        """
        return self.at(at, usage.prompt_tokens).cost(usage)


def find_list_prices(model: str, address: Address | None = None) -> ListPrices:
    """Look a model up: at the host that its address or its provider names, else by its name alone.

    A host that the list knows never gets the price of another, unless the list says that it sells that other's models.

    Args:
        model: What the endpoint calls it.
        address: Where it is called; a gateway or a machine of one's own says nothing about the price.

    Raises:
        UnknownPrice: No list price is known; unknown is never free.
    """
    address = address or Address()
    hosts = _possible_hosts(model, address)
    for host in hosts:
        prices = ListPrices(model, host)
        if _is_priced(prices):
            return prices
    raise _unknown_price(model, hosts[-1], address)


def _possible_hosts(model: str, address: Address) -> list[str | None]:
    """Providers of the list at which to look a model up, in order; ``None`` looks it up by its name alone."""
    providers = _snapshot().providers
    provider = None
    if address.provider:
        provider = provider_of_word(address.provider, providers)
    if not address.base_url:
        return [provider]

    host = provider_of_address(address.base_url, providers)
    host = host or hugging_face_provider(model, address)
    if host is None and provider is not None:
        return [provider, None]
    return [host]


def price_of_model(name: str, address: Address) -> ListPrices | None:
    """What another model costs where this address leads; ``None`` where no price is known.

    Args:
        name: The model, as a reply names it.
        address: Of the expert that was called.
    """
    try:
        return find_list_prices(name, address)
    except UnknownPrice:
        return None


def _unknown_price(model: str, host: str | None, address: Address | None = None) -> UnknownPrice:
    at_host = ""
    if host is not None:
        at_host = f" at {host}"
        if address is not None and address.host_name:
            at_host += f" ({address.host_name})"
    return UnknownPrice(
        f"model {model!r}: no list price is known{at_host}; give input_usd_per_1m and output_usd_per_1m"
    )


def _is_priced(prices: ListPrices) -> bool:
    try:
        prices.at()
    except UnknownPrice:
        return False
    return True


def _seconds(moment: Moment | None) -> float:
    """Seconds since the epoch, which no change of clocks repeats or skips."""
    if moment is None:
        return time.time()
    if isinstance(moment, datetime):
        return moment.timestamp()
    return moment


# The list of this process


def _snapshot() -> DataSnapshot:
    from genai_prices.data_snapshot import get_snapshot  # the list takes a moment to load

    return get_snapshot()


_SCHEDULES: dict[ListPrices, tuple[DataSnapshot, _Schedule]] = {}
"""Prices asked for → the list they were read from, and what it says of them."""


def _schedule(prices: ListPrices) -> _Schedule:
    """What the list says of a model, read again when the list is a new one."""
    snapshot = _snapshot()
    entry = _SCHEDULES.get(prices)
    if entry is not None and entry[0] is snapshot:
        return entry[1]

    model = _find_model(prices, snapshot)
    if model is None:
        if entry is not None:
            return entry[1]  # a newer list has dropped it; the last price known holds
        raise _unknown_price(prices.model, prices.host)
    schedule = _Schedule(model, prices)
    if len(_SCHEDULES) >= _SCHEDULES_KEPT:
        _SCHEDULES.clear()
    _SCHEDULES[prices] = (snapshot, schedule)
    return schedule


def _find_model(prices: ListPrices, snapshot: DataSnapshot) -> ModelInfo | None:
    for name in _spellings(prices):
        try:
            return snapshot.find_provider_model(name, None, prices.host, None)[1]
        except LookupError:
            continue
    return None


def _spellings(prices: ListPrices) -> Iterator[str]:
    """A name as it is, and without what the host may put before it."""
    yield prices.model
    short = without_path(prices.model)
    if short != prices.model:
        yield short
    if (prices.host or "").startswith("huggingface_"):
        yield prices.model.rpartition(":")[0]
    vendor, _, rest = short.partition("/")
    if rest and vendor.lower() == prices.host:
        yield rest


# What the list says of one model


@dataclass(frozen=True, slots=True)
class _Tiers:
    """Prices by the length of the prompt.

    Attributes:
        starts: A prompt of more tokens than this has the prices at the same place; ascending.
        prices: Of each tier.
    """

    starts: tuple[int, ...]
    prices: tuple[TokenPrices, ...]

    def of(self, prompt_tokens: int) -> TokenPrices:
        """The prices that apply to all tokens of a call."""
        return self.prices[bisect_left(self.starts, max(0, prompt_tokens)) - 1]

    def up_to(self, prompt_bound: int) -> tuple[TokenPrices, ...]:
        """The prices that can apply to prompts of at most so many tokens."""
        return self.prices[: bisect_left(self.starts, max(0, prompt_bound))]


@dataclass(frozen=True, slots=True)
class _Span:
    """A part of a day in which no price changes: the day since the epoch, and its place among the day's parts."""

    day: int
    part: int


class _Schedule:
    """The prices of one model over time.

    Args:
        model: As the list has it.
        prices: The question that it answers.
    """

    def __init__(self, model: ModelInfo, prices: ListPrices) -> None:
        self._model = model
        self._question = prices
        self._changes = tuple(sorted({0, *_times_of_change(model)}))
        self._latest: tuple[_Span, _Tiers] | None = None
        self._dearest: tuple[_Span, _Tiers] | None = None

    def at(self, seconds: float, prompt_tokens: int) -> TokenPrices:
        """The prices that apply to all tokens of a call."""
        span = self._span(seconds)
        latest = self._latest
        if latest is None or latest[0] != span:
            latest = (span, self._tiers(span))
            self._latest = latest
        return latest[1].of(prompt_tokens)

    def dearest(self, seconds: float, prompt_bound: int) -> TokenPrices:
        """The highest price of every kind from now to the same part of tomorrow."""
        span = self._span(seconds)
        dearest = self._dearest
        if dearest is None or dearest[0] != span:
            dearest = (span, self._dearest_tiers(span))
            self._dearest = dearest
        return dearest[1].of(prompt_bound)

    def _dearest_tiers(self, span: _Span) -> _Tiers:
        """Of each tier: the highest prices, from now to tomorrow, of a prompt that reaches it and no further."""
        parts = len(self._changes)
        day_ahead = []
        for step in range(parts + 1):
            days, part = divmod(span.part + step, parts)
            day_ahead.append(self._tiers(_Span(span.day + days, part)))

        starts: set[int] = set()
        for tiers in day_ahead:
            starts.update(tiers.starts)
        dearest = []
        for start in sorted(starts):
            choices: list[TokenPrices] = []
            for tiers in day_ahead:
                choices += tiers.up_to(start + 1)
            dearest.append(_highest(choices))
        return _Tiers(tuple(sorted(starts)), tuple(dearest))

    def _span(self, seconds: float) -> _Span:
        day, second = divmod(int(seconds // 1), DAY_S)
        return _Span(day, bisect_right(self._changes, second) - 1)

    def _tiers(self, span: _Span) -> _Tiers:
        start = span.day * DAY_S + self._changes[span.part]
        price = self._model.get_prices(datetime.fromtimestamp(start, UTC))
        return _read_tiers(price, self._question)


def _times_of_change(model: ModelInfo) -> Iterator[int]:
    """Seconds of the day (UTC) at which another price may begin."""
    if not isinstance(model.prices, list):
        return
    for conditional in model.prices:
        for attribute in ("start_time", "end_time"):
            clock = getattr(conditional.constraint, attribute, None)
            if clock is not None:
                offset = clock.utcoffset()
                offset_s = int(offset.total_seconds()) if offset else 0
                yield (clock.hour * 3600 + clock.minute * 60 + clock.second - offset_s) % DAY_S


def _read_tiers(price: ModelPrice, question: ListPrices) -> _Tiers:
    """Every tier of a price, the one of short prompts first."""
    base_prices = {}
    for name, key in _LIST_NAMES.items():
        base_prices[name] = price.__dict__.get(key)
    if base_prices["cache_write_usd_per_1m"] is None:
        base_prices["cache_write_usd_per_1m"] = price.__dict__.get("cache_write_5m_mtok")
    if base_prices["input_usd_per_1m"] is None or base_prices["output_usd_per_1m"] is None:
        raise _unknown_price(question.model, question.host)

    starts = {_SHORTEST}
    for value in base_prices.values():
        starts.update(tier.start for tier in getattr(value, "tiers", ()))
    per_1000_calls = price.__dict__.get("requests_kcount")

    tiers = []
    for start in sorted(starts):
        values = {name: _tier_price(value, start) for name, value in base_prices.items()}
        if per_1000_calls is not None:
            values["usd_per_call"] = _EXACT.divide(
                _tier_price(per_1000_calls, start), Decimal(1000)
            )
        _complete_hour_writes(values, question.model)
        tiers.append(TokenPrices(**values))
    return _Tiers(tuple(sorted(starts)), tuple(tiers))


def _tier_price(value: Any, start: int) -> Any:
    """A price in the tier that begins after so many tokens."""
    if value is None or isinstance(value, Decimal):
        return value
    price = value.base
    for tier in value.tiers:
        if tier.start <= start:
            price = tier.price
    return price


def _complete_hour_writes(values: dict[str, Any], model: str) -> None:
    """Add the price of Anthropic's writes that are kept for an hour, where the list has only those of five minutes."""
    five_minutes = values["cache_write_usd_per_1m"]
    if (
        values["cache_write_1h_usd_per_1m"] is None
        and five_minutes is not None
        and "claude" in model.lower()
    ):
        values["cache_write_1h_usd_per_1m"] = _EXACT.multiply(five_minutes, _HOUR_WRITE_FACTOR)


def _highest(choices: list[TokenPrices]) -> TokenPrices:
    """The highest price of every kind."""
    highest: dict[str, Decimal] = {}
    for prices in choices:
        for name, value in prices.complete().model_dump().items():
            highest[name] = max(value, highest.get(name, value))
    return TokenPrices(**highest)
