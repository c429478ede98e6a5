"""Who can answer, at what price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from routoo_core.endpoint import Endpoint
from routoo_core.errors import ConfigurationError
from routoo_core.limits import Limits
from routoo_core.money import NanoUsd
from routoo_core.prices import NANO_PER_MICRO_USD, TokenPrices
from routoo_core.prices import list_price as list_price
from routoo_core.settings import read_toml
from routoo_core.text import first_repeated
from routoo_core.usage import Usage as Usage


class Expert(Limits, TokenPrices, Endpoint):
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

    @model_validator(mode="before")
    @classmethod
    def _look_up_price(cls, values: dict[str, Any]) -> dict[str, Any]:
        has_input = values.get("input_usd_per_1m") is not None
        has_output = values.get("output_usd_per_1m") is not None
        if has_input and has_output:
            return values
        if has_input or has_output:
            raise ValueError(
                "give both input_usd_per_1m and output_usd_per_1m, or neither to look them up"
            )
        if not values.get("model"):
            return values  # a missing model is refused with its own message

        prices = list_price(str(values["model"]))
        return {**values, **prices.model_dump(exclude_none=True)}

    @property
    def predicted_as(self) -> str:
        """The name the router's checkpoint knows this expert by."""
        return self.router_name or self.name

    def affordable_tokens(self, amount: NanoUsd, prompt_tokens: int, completions: int = 1) -> int:
        """How many tokens of each reply an amount pays for after the prompt; never above the expert's limit."""
        if not self.dearest_output_usd_per_1m:
            return self.max_output_tokens
        remaining = amount - self.maximum_cost(prompt_tokens, 0)
        nano_per_token = self.dearest_output_usd_per_1m * NANO_PER_MICRO_USD
        return min(self.max_output_tokens, int(remaining / nano_per_token) // completions)


class Pool:
    """The experts at hand, in a fixed order, each under a name of its own.

    Raises:
        ConfigurationError: No expert, or two of the same name.
    """

    def __init__(self, experts: Iterable[Expert]) -> None:
        self.experts = tuple(experts)
        if not self.experts:
            raise ConfigurationError("pool: no experts; name at least one")
        repeated = first_repeated(expert.name for expert in self.experts)
        if repeated is not None:
            raise ConfigurationError(f"pool: {repeated} named twice; each name must be its own")

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
            experts.append(_read_expert(origin, name, values))
        return cls(experts)


def _read_expert(origin: str, name: str, values: Any) -> Expert:
    if not isinstance(values, dict):
        raise ConfigurationError(
            f'{origin}: experts.{name}: write it as a table [experts."{name}"]'
        )
    return Expert.read(f"{origin}: experts.{name}", {"name": name, "model": name, **values})
