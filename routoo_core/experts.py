"""Who can answer, at what price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from routoo_core.described_ability import DescribedAbility
from routoo_core.endpoint import Endpoint
from routoo_core.errors import ConfigurationError, UnknownPrice
from routoo_core.expert_defaults import catalogue_defaults, catalogue_prices
from routoo_core.expert_variants import expand_table
from routoo_core.hosts import Address, client_address
from routoo_core.limits import Limits, ReplyLimit
from routoo_core.list_prices import ListPrices, Moment, find_list_prices
from routoo_core.money import NanoUsd
from routoo_core.prices import TokenPrices
from routoo_core.request import RoutedRequest
from routoo_core.settings import read_toml
from routoo_core.text import first_duplicate
from routoo_core.usage import Usage as Usage

_CLAUDES_TOOL_TOKENS = 600
"""Tokens of the instructions that Anthropic adds where tools are offered; up to 530 are documented."""
PRICE_FIELDS = frozenset(TokenPrices.model_fields)


class Expert(DescribedAbility, Limits, TokenPrices, Endpoint):
    """One LLM of the pool: where it is reached, what it costs, what it can do.

    ``Expert(name="gpt-4o", model="gpt-4o", api_key_env="OPENAI_API_KEY")`` looks its price up. All fields stand side
    by side; see :class:`~routoo_core.endpoint.Endpoint`, :class:`~routoo_core.prices.TokenPrices` and
    :class:`~routoo_core.limits.Limits`.

    Attributes:
        router_name: What the router's checkpoint calls it, where that is not ``name``.
        client: The framework's own object that calls it, instead of one built from these settings.

    Raises:
        ConfigurationError: A field is missing, unknown or out of range.
        UnknownPrice: No price given and none found for ``model``.
    """

    router_name: str = ""
    client: Any = Field(default=None, exclude=True, repr=False)
    _list_prices: ListPrices | None = PrivateAttr(default=None)
    _defaults: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="wrap")
    @classmethod
    def _look_up(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Add what the catalogue and the price list know, as defaults that nobody set."""
        if not isinstance(values, Mapping):
            return handler(values)
        has_input = values.get("input_usd_per_1m") is not None
        has_output = values.get("output_usd_per_1m") is not None
        if has_input != has_output:
            raise ValueError(
                "give both input_usd_per_1m and output_usd_per_1m, or neither to look them up"
            )
        defaults = catalogue_defaults(values)
        description = {**values, **defaults}
        if not description.get("model"):
            return handler(values)  # a missing model is refused with its own message

        list_prices = None
        if not has_input:
            list_prices = _find_list_prices(description)
            defaults.update(_listed_prices(list_prices, description))
        for name, value in values.items():
            if value is not None and name != "model":
                defaults.pop(name, None)
        expert = handler({**values, **defaults})
        # What was looked up is not what somebody set: it changes with the list.
        expert.model_fields_set.difference_update(defaults)
        expert._list_prices = list_prices
        expert._defaults = frozenset(defaults)
        return expert

    @model_serializer(mode="wrap")
    def _leave_out_list_prices(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is written down is what was set; prices of the list are looked up again."""
        values: dict[str, Any] = serialize(self)
        looked_up = self._defaults - {"model"}
        if self._list_prices is not None:
            looked_up |= PRICE_FIELDS
        for name in looked_up:
            if name not in self.model_fields_set:
                values.pop(name, None)
        return values

    @property
    def predicted_as(self) -> str:
        """The name the router's checkpoint knows this expert by."""
        return self.router_name or self.name

    @property
    def address(self) -> Address:
        """The address of the expert, which decides its price."""
        return _address_of(
            {"base_url": self.base_url, "provider": self.provider, "client": self.client}
        )

    @property
    def is_free(self) -> bool:
        """Whether no call can cost anything, as on a machine of one's own."""
        return self._list_prices is None and not any(getattr(self, name) for name in PRICE_FIELDS)

    def prices_at(self, moment: Moment | None = None, prompt_tokens: int = 0) -> TokenPrices:
        """The prices of a call; those that were set, and for the others what the list says.

        Args:
            moment: When it was answered, an aware datetime or seconds since the epoch; by default now.
            prompt_tokens: Of its whole prompt.
        """
        list_prices = self._list_prices
        if list_prices is None:
            return self
        try:
            list_price = list_prices.at(moment, prompt_tokens)
        except UnknownPrice:  # another process, with an older list
            return self
        return self._with_own_prices(list_price)

    def dearest_prices(self, prompt_bound: int) -> TokenPrices:
        """The highest price of every kind that can apply within a day.

        Args:
            prompt_bound: The most tokens that the prompt can be.
        """
        list_prices = self._list_prices
        if list_prices is None:
            return self
        try:
            list_price = list_prices.dearest(prompt_bound)
        except UnknownPrice:
            return self
        return self._with_own_prices(list_price)

    def cost(self, usage: Usage, at: Moment | None = None) -> NanoUsd:
        """What ``usage`` cost, rounded up.

        Args:
            usage: Of the call.
            at: When it was answered, an aware datetime or seconds since the epoch; by default now.
        """
        prices = self.prices_at(at, usage.prompt_tokens)
        return TokenPrices.cost(prices, usage)

    def maximum_cost(self, prompt_tokens: int, completion_tokens: int) -> NanoUsd:
        """The most a call can cost within a day, whatever kinds its tokens are, rounded up."""
        prices = self.dearest_prices(prompt_tokens)
        return TokenPrices.maximum_cost(prices, prompt_tokens, completion_tokens)

    def affordable_tokens(self, amount: NanoUsd, prompt_tokens: int, completions: int = 1) -> int:
        """How many tokens of each reply an amount pays for after the prompt; never above the expert's limit."""
        prices = self.dearest_prices(prompt_tokens)
        affordable = prices.affordable_reply(amount, prompt_tokens)
        if affordable is None:
            return self.max_output_tokens
        return min(self.max_output_tokens, affordable // completions)

    def reply_within(self, amount: NanoUsd, request: RoutedRequest) -> ReplyLimit:
        """The limit on each reply that the window has room for and an amount pays for.

        Args:
            amount: What is held for the call.
            request: The call.
        """
        limit = self.reply_limit(request)
        prompt_bound = self.prompt_token_bound(request)
        affordable = self.affordable_tokens(amount, prompt_bound, request.completions)
        if affordable < limit:
            return ReplyLimit(max(1, affordable), "budget")
        return ReplyLimit(limit, self.reply_limiter(request))

    @property
    def caches_on_request(self) -> bool:
        """Whether its provider caches what a call marks for it, rather than any long prompt by itself."""
        return self._is_claude

    @property
    def _is_claude(self) -> bool:
        return "claude" in self.model.lower()

    def _added_tokens(self, request: RoutedRequest) -> int:
        tokens = super()._added_tokens(request)
        if "tools" in request.needs and self._is_claude:
            tokens += _CLAUDES_TOOL_TOKENS
        return tokens

    def _with_own_prices(self, list_price: TokenPrices) -> TokenPrices:
        if self.model_fields_set.isdisjoint(PRICE_FIELDS):
            return list_price
        own_prices = []
        for name in PRICE_FIELDS:
            value = getattr(self, name)
            if name in self.model_fields_set and value is not None:
                own_prices.append((name, value))
        return _replace_prices(list_price, tuple(own_prices))


def _find_list_prices(settings: Mapping[str, Any]) -> ListPrices | None:
    """The entry of the price list; ``None`` where only the catalogue has a price.

    Raises:
        UnknownPrice: Neither has one.
    """
    try:
        return find_list_prices(str(settings["model"]), _address_of(settings))
    except UnknownPrice:
        if not catalogue_prices(settings):
            raise
        return None  # the catalogue has its provider's price


def _listed_prices(list_prices: ListPrices | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    if list_prices is None:
        return catalogue_prices(settings)
    return list_prices.at().model_dump(exclude_none=True)


def _address_of(settings: Mapping[str, Any]) -> Address:
    """Where an expert is called by its settings, else by its client."""
    base_url = settings.get("base_url")
    provider = settings.get("provider")
    client = settings.get("client")
    if client is not None and base_url is None and provider is None:
        return client_address(client)
    return Address(str(base_url) if base_url else None, str(provider) if provider else None)


@lru_cache(maxsize=1024)
def _replace_prices(
    prices: TokenPrices, own_prices: tuple[tuple[str, Decimal], ...]
) -> TokenPrices:
    return prices.model_copy(update=dict(own_prices))


class Pool:
    """The experts at hand, in a fixed order, each under a name of its own.

    Raises:
        ConfigurationError: No expert, or two of the same name.
    """

    def __init__(self, experts: Iterable[Expert]) -> None:
        self.experts = tuple(experts)
        if not self.experts:
            raise ConfigurationError("pool: there are no experts; add at least one")
        duplicate = first_duplicate(expert.name for expert in self.experts)
        if duplicate is not None:
            raise ConfigurationError(
                f"pool: {duplicate} is listed twice; give each expert its own name"
            )

    def __iter__(self) -> Iterator[Expert]:
        return iter(self.experts)

    def __len__(self) -> int:
        return len(self.experts)

    def __getitem__(self, name: str) -> Expert:
        for expert in self.experts:
            if expert.name == name:
                return expert
        names = ", ".join(expert.name for expert in self.experts)
        raise ConfigurationError(f"expert {name!r} is not in the pool ({names})")

    def __repr__(self) -> str:
        names = ", ".join(expert.name for expert in self.experts)
        return f"Pool({names})"

    def siblings(self) -> dict[str, frozenset[str]]:
        """Expert → all that share its server, itself too; experts of a server of their own are left out."""
        by_server: dict[str, set[str]] = {}
        for expert in self.experts:
            if expert.server is not None:
                by_server.setdefault(expert.server, set()).add(expert.name)
        siblings = {}
        for names in by_server.values():
            for name in names:
                siblings[name] = frozenset(names)
        return siblings

    @classmethod
    def from_toml(cls, path: str | Path) -> Pool:
        """Read ``experts.toml``: one table ``[experts."name"]`` for each expert.

        Raises:
            ConfigurationError: The file is missing or malformed; the message names file, expert and field.
        """
        content = read_toml(path)
        unknown = sorted(set(content) - {"experts"})
        if unknown:
            raise ConfigurationError(
                f'{path}: unknown table {unknown[0]!r}; name each expert in a table [experts."name"]'
            )
        if not isinstance(content.get("experts"), dict):
            raise ConfigurationError(f'{path}: name each expert in a table [experts."name"]')
        return cls.read(str(path), content["experts"])

    @classmethod
    def read(cls, origin: str, tables: Mapping[str, Any]) -> Pool:
        """Check the experts' tables of a file, or of whatever else ``origin`` names in errors.

        Raises:
            ConfigurationError: See :meth:`from_toml`.
        """
        experts = []
        for name, values in tables.items():
            for own_name, own_values in expand_table(origin, name, values).items():
                experts.append(_read_expert(origin, own_name, own_values))
        return cls(experts)


def _read_expert(origin: str, name: str, values: Any) -> Expert:
    if not isinstance(values, dict):
        raise ConfigurationError(
            f'{origin}: experts.{name}: write it as a table [experts."{name}"]'
        )
    expert = Expert.read(f"{origin}: experts.{name}", {"name": name, "model": name, **values})
    expert._origin = origin
    return expert
