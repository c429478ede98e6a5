"""Step 2 of the path: who can answer, at what price.

Money is counted in integer nano-USD (10⁻⁹ USD) from here on; prices are exact decimals.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from routoo_core.errors import ConfigurationError
from routoo_core.prices import list_price as list_price
from routoo_core.request import RoutedRequest
from routoo_core.settings import Settings, read_toml
from routoo_core.usage import Usage as Usage

TYPICAL_OUTPUT_TOKENS = 300
NO_KEY = (
    "not-needed"  # OpenAI's client insists on a key; endpoints without authentication ignore it
)
_NANO_PER_MILLIONTH = 1000  # USD per 1M tokens → nano-USD per token

Capability = Literal["tools", "json_schema", "json_mode", "images", "audio", "files", "video"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)
UsdPerMillion = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class Expert(Settings):
    """One LLM of the pool: where it is reached, what it costs, what it can do.

    ``Expert(name="gpt-4o", model="gpt-4o", api_key_env="OPENAI_API_KEY")`` looks its price up.

    Attributes:
        provider: Whose protocol the endpoint speaks, in LangChain's words ("anthropic", "google_genai"); by default
            OpenAI's.
        capabilities: What it can take and give; ``json_schema`` includes ``json_mode``.
        tokens_per_image: The most that one image is billed as.
        timeout_s: Seconds after which a call has failed.
        max_retries: How often its client tries again before the router moves on to another expert.
        requests_per_minute: The most calls that ``routoo score`` starts in a minute.
        tokens_per_minute: The most tokens, of prompts and replies, that it asks for in a minute.
        expected_output_tokens: What a reply usually takes. By default what the router predicts for the prompt, or
            300 tokens where the router has not learnt lengths.

    Raises:
        ConfigurationError: A field is missing, unknown or out of range.
        UnknownPrice: No price given and none found for ``model``.
    """

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    provider: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    input_usd_per_1m: UsdPerMillion
    output_usd_per_1m: UsdPerMillion
    cached_usd_per_1m: UsdPerMillion | None = None
    context_window: Annotated[int, Field(gt=0)] = 8192
    max_output_tokens: Annotated[int, Field(gt=0)] = 4096
    expected_output_tokens: Annotated[int, Field(gt=0)] | None = None
    capabilities: frozenset[Capability] = frozenset()
    tokens_per_image: Annotated[int, Field(gt=0)] = 2500
    router_name: str = ""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    max_retries: Annotated[int, Field(ge=0)] = 0
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    client: Any = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _look_up_price(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = [values.get(key) is not None for key in ("input_usd_per_1m", "output_usd_per_1m")]
        if all(given) or not values.get("model"):
            return values
        if any(given):
            raise ValueError(
                "give both input_usd_per_1m and output_usd_per_1m, or neither to look them up"
            )
        prices = asdict(list_price(str(values["model"])))
        return {**values, **{key: usd for key, usd in prices.items() if usd is not None}}

    @model_validator(mode="after")
    def _check_window(self) -> Expert:
        if self.max_output_tokens > self.context_window:
            raise ValueError(
                f"max_output_tokens {self.max_output_tokens} exceeds context_window {self.context_window}"
            )
        return self

    @property
    def predicted_as(self) -> str:
        """The name the router's checkpoint knows this expert by."""
        return self.router_name or self.name

    def lacks(self, needs: frozenset[str]) -> list[str]:
        """Which of the needs it cannot serve, by name."""
        can = self.capabilities | ({"json_mode"} if "json_schema" in self.capabilities else set())
        return sorted(needs - can)

    def prompt_tokens(self, request: RoutedRequest) -> int:
        """Estimated tokens of the prompt, images included."""
        return request.prompt_tokens + request.images * self.tokens_per_image

    def prompt_token_bound(self, request: RoutedRequest) -> int:
        """The most tokens the prompt can be, images included."""
        return request.prompt_token_bound + request.images * self.tokens_per_image

    @property
    def speaks_openai_natively(self) -> bool:
        """Whether the endpoint is OpenAI's own, which takes ``max_completion_tokens`` instead of ``max_tokens``."""
        return self.base_url is None or urlsplit(self.base_url).hostname == "api.openai.com"

    def api_key(self) -> str | None:
        """The key, read from the environment now; ``None`` if the expert needs none or it is not set."""
        return os.environ.get(self.api_key_env) if self.api_key_env else None

    def check_key(self) -> None:
        """Refuse a key that is needed and not there.

        Raises:
            ConfigurationError: It is not in the environment.
        """
        if self.api_key_env and not self.api_key():
            raise ConfigurationError(
                f"expert {self.name!r}: api_key_env: {self.api_key_env} is not set; export it, or remove the expert"
            )

    def cost(self, usage: Usage) -> int:
        """What ``usage`` costs at list price, in nano-USD, rounded up."""
        cached_price = (
            self.input_usd_per_1m if self.cached_usd_per_1m is None else self.cached_usd_per_1m
        )
        exact = (
            self.input_usd_per_1m * (usage.prompt_tokens - usage.cached_tokens)
            + cached_price * usage.cached_tokens
            + self.output_usd_per_1m * usage.completion_tokens
        )
        return int((exact * _NANO_PER_MILLIONTH).to_integral_value(rounding=ROUND_CEILING))

    def affordable_tokens(self, nano: int, prompt_tokens: int) -> int:
        """How many reply tokens ``nano`` pays for after ``prompt_tokens``; never above the expert's limit."""
        left = nano - self.cost(Usage(prompt_tokens, 0))
        if not self.output_usd_per_1m:
            return self.max_output_tokens
        return min(
            self.max_output_tokens, int(left / (self.output_usd_per_1m * _NANO_PER_MILLIONTH))
        )


class Pool:
    """The experts at hand, in a fixed order, each under a name of its own.

    Raises:
        ConfigurationError: No expert, or two of the same name.
    """

    def __init__(self, experts: Iterable[Expert]) -> None:
        self.experts = tuple(experts)
        names = [expert.name for expert in self.experts]
        if not names:
            raise ConfigurationError("pool: no experts; name at least one")
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(
                f"pool: {', '.join(repeated)} named twice; each name must be its own"
            )

    def __iter__(self) -> Iterator[Expert]:
        return iter(self.experts)

    def __len__(self) -> int:
        return len(self.experts)

    def __getitem__(self, name: str) -> Expert:
        for expert in self.experts:
            if expert.name == name:
                return expert
        raise ConfigurationError(
            f"expert {name!r} is not in the pool ({', '.join(e.name for e in self)})"
        )

    def __repr__(self) -> str:
        return f"Pool({', '.join(expert.name for expert in self)})"

    @classmethod
    def from_toml(cls, path: str | Path) -> Pool:
        """Read ``experts.toml``: one table ``[experts."name"]`` for each expert.

        Raises:
            ConfigurationError: The file is missing or malformed; the message names file, expert and field.
        """
        table = read_toml(path)
        unknown = sorted(set(table) - {"experts"})
        if unknown or not isinstance(table.get("experts"), dict):
            extra = f"unknown table {unknown[0]!r}; " if unknown else ""
            raise ConfigurationError(f'{path}: {extra}name each expert in a table [experts."name"]')
        return cls.read(str(path), table["experts"])

    @classmethod
    def read(cls, where: str, tables: Mapping[str, Any]) -> Pool:
        """Check the experts' tables of a file, or of anything else that says ``where`` they come from.

        Raises:
            ConfigurationError: See :meth:`from_toml`.
        """
        return cls(cls._expert(where, name, values) for name, values in tables.items())

    @staticmethod
    def _expert(path: str, name: str, values: Any) -> Expert:
        if not isinstance(values, dict):
            raise ConfigurationError(
                f'{path}: experts.{name}: write it as a table [experts."{name}"]'
            )
        return Expert.read(f"{path}: experts.{name}", {"name": name, "model": name, **values})
