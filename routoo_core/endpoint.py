"""Where an expert is reached, with which key, and how many calls it takes."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, field_validator, model_validator

from routoo_core.errors import ConfigurationError
from routoo_core.hosts import Address, is_web_address, is_within
from routoo_core.redaction import has_secret, redacted_url, shown_variable
from routoo_core.settings import Settings

NO_KEY = "not-needed"
"""OpenAI's client insists on a key; endpoints without authentication ignore this one."""
AZURE = "azure_openai"
"""``provider`` of OpenAI's models at Azure, reached by deployment and version."""

ReplyLimitParameter = Literal["max_tokens", "max_completion_tokens"]

_OPENAI_PROVIDERS = (None, "openai")
_OPENAI_DOMAIN = "api.openai.com"
_OPENAI_KEY = "OPENAI_API_KEY"
OPENAI_ADDRESS_VARIABLES = ("OPENAI_API_BASE", "OPENAI_BASE_URL")
"""They name another address than OpenAI's own; the first counts, as in LangChain."""
_AZURE_KEY = "AZURE_OPENAI_API_KEY"
_AZURE_ADDRESS = "AZURE_OPENAI_ENDPOINT"
_AZURE_VERSION = "OPENAI_API_VERSION"
_AZURE_DOMAINS = ("azure.com", "azure.us", "azure.cn", "azure-api.net")
_AZURE_PATH = re.compile(r"/openai(/.*)?$")
_REASONING_NAME = re.compile(r"(?:^|[^a-z0-9])(?:gpt-?[5-9]|o[1-9])(?![0-9a-z])", re.IGNORECASE)
"""In the name of a model or deployment at Azure that takes ``max_completion_tokens`` alone."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Endpoint(Settings):
    """Where an expert is reached.

    Attributes:
        name: What the pool, decisions and records call the expert.
        model: What the endpoint calls it.
        provider: Whose protocol the endpoint speaks, in LangChain's words ("anthropic", "google_genai"); by default
            OpenAI's. With "azure_openai", ``base_url`` is the resource's address.
        base_url: The address; by default the provider's own. It holds no key.
        api_key_env: The environment variable that holds the key. By default ``OPENAI_API_KEY`` at OpenAI's own address
            and ``AZURE_OPENAI_API_KEY`` at Azure's; elsewhere no key is sent.
        reply_limit_parameter: What the endpoint calls the limit on a reply, ``max_tokens`` or
            ``max_completion_tokens``; by default decided by host and model.
        deployment: Of the model at Azure; by default ``model``.
        api_version: Of Azure's API, such as "2024-10-21"; by default ``$OPENAI_API_VERSION``.
        timeout_s: Seconds after which a call has failed.
        max_retries: How often it is asked again after a failure that may pass, before another expert takes over. Each
            try is held and booked by itself.
        strict_model: Whether a reply of another model than was asked is refused; else it is booked, with a warning.
        answers_as: Other names by which replies call this very model, such as that of an alias or a deployment.
        unsupported_parameters: Arguments that the model does not take, beyond those that are known or that it refuses.
        pass_through: Arguments of calls that may cost more than is held, such as ``prediction`` or
            ``tools.web_search``, and may reach this expert all the same. Others are refused.
        silent_stream_end: Whether its streams end without a finish reason and usage, which else means that they were
            cut off.
        server: Names a server that several experts share, such as the adapters of one model: what it fails with holds
            for all of them.
        swap_s: Seconds that the server takes to load this expert's weights when another of its experts was used last.
        requests_per_minute: The most calls that ``routoo score`` starts in a minute.
        tokens_per_minute: The most tokens, of prompts and replies, that it asks for in a minute.
    """

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    provider: Annotated[str, Field(min_length=1)] | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    reply_limit_parameter: ReplyLimitParameter | None = None
    deployment: Annotated[str, Field(min_length=1)] | None = None
    api_version: Annotated[str, Field(min_length=1)] | None = None
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    max_retries: Annotated[int, Field(ge=0)] = 0
    strict_model: bool = False
    answers_as: frozenset[str] = frozenset()
    unsupported_parameters: frozenset[str] = frozenset()
    pass_through: frozenset[str] = frozenset()
    silent_stream_end: bool = False
    server: Annotated[str, Field(min_length=1)] | None = None
    swap_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    _origin: str = PrivateAttr(default="")

    @field_validator("base_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if has_secret(value):
            raise ValueError(
                "take the key out of the address; put it into an environment variable and name that by api_key_env"
            )
        if not is_web_address(value):
            raise ValueError("is no address of a server; write one such as https://host/v1")
        return value

    @field_validator("api_key_env")
    @classmethod
    def _check_variable(cls, value: str | None) -> str | None:
        if value and not _VARIABLE.fullmatch(value):
            raise ValueError(
                "is no name of an environment variable; put the key into one, and write its name here"
            )
        return value

    @model_validator(mode="after")
    def _check_swap(self) -> Endpoint:
        if self.swap_s and self.server is None:
            raise ValueError("swap_s: is for experts that share a server; name it as server")
        return self

    @model_validator(mode="after")
    def _check_azure(self) -> Endpoint:
        if self.provider != AZURE and (self.deployment or self.api_version):
            name = "deployment" if self.deployment else "api_version"
            raise ValueError(f'{name}: is for provider = "{AZURE}"; set that, or remove the key')
        return self

    def __repr_args__(self) -> Any:
        """The fields, without what may be a key."""
        for name, value in super().__repr_args__():
            if name == "api_key_env" and value:
                yield name, shown_variable(value)
            elif name == "base_url" and value:
                yield name, redacted_url(value)
            else:
                yield name, value

    @property
    def place(self) -> str:
        """The expert, with the file that it is written in, for errors."""
        if self._origin:
            return f"{self._origin}: expert {self.name!r}"
        return f"expert {self.name!r}"

    @property
    def speaks_openai_natively(self) -> bool:
        """Whether the endpoint is OpenAI's own, a regional one too."""
        if self.provider not in _OPENAI_PROVIDERS:
            return False
        base_url = self.base_url
        if not base_url:
            base_url = (
                first_set_variable(OPENAI_ADDRESS_VARIABLES) or f"https://{_OPENAI_DOMAIN}/v1"
            )
        return is_within(_host_of(base_url), (_OPENAI_DOMAIN,))

    @property
    def is_azure(self) -> bool:
        """Whether the endpoint is reached by Azure's deployments and versions."""
        return self.provider == AZURE

    @property
    def limits_replies_by(self) -> ReplyLimitParameter:
        """What the endpoint calls the limit on a reply.

        OpenAI takes ``max_completion_tokens`` for every model, Azure for those that reason; others know
        ``max_tokens``.
        """
        if self.reply_limit_parameter is not None:
            return self.reply_limit_parameter
        if self.speaks_openai_natively:
            return "max_completion_tokens"
        is_at_azure = self.is_azure or is_within(_host_of(self.base_url or ""), _AZURE_DOMAINS)
        names = f"{self.model} {self.deployment or ''}"
        if is_at_azure and _REASONING_NAME.search(names):
            return "max_completion_tokens"
        return "max_tokens"

    @property
    def azure_settings(self) -> dict[str, Any]:
        """The arguments of OpenAI's Azure clients: address, deployment and version.

        Raises:
            ConfigurationError: The address or the version is missing.
        """
        base_url = self.base_url or os.environ.get(_AZURE_ADDRESS)
        version = self.api_version or os.environ.get(_AZURE_VERSION)
        if not base_url:
            raise ConfigurationError(
                f"{self.place}: base_url: missing; write the address of the Azure resource, such as "
                "https://my-resource.openai.azure.com"
            )
        if not version:
            raise ConfigurationError(
                f'{self.place}: api_version: missing; write the version of Azure\'s API, such as "2024-10-21"'
            )
        parts = urlsplit(base_url)
        path = _AZURE_PATH.sub("", parts.path.rstrip("/"))
        return {
            "azure_endpoint": f"{parts.scheme}://{parts.netloc}{path}",
            "azure_deployment": self.deployment or self.model,
            "api_version": version,
        }

    @property
    def key_variable(self) -> str | None:
        """The environment variable that holds the key; ``None`` where no key is needed."""
        if self.api_key_env:
            return self.api_key_env
        if self.is_azure:
            return _AZURE_KEY
        return _OPENAI_KEY if self.speaks_openai_natively else None

    def api_key(self) -> str | None:
        """The key, read from the environment now; ``None`` if the expert needs none or it is not set."""
        if self.key_variable is None:
            return None
        return os.environ.get(self.key_variable, "").strip() or None

    def check_key(self) -> None:
        """Refuse a key that is needed and not there, and an incomplete address at Azure.

        Raises:
            ConfigurationError: It is not in the environment, or cannot be a key.
        """
        if self.is_azure:
            self.azure_settings  # noqa: B018
        if self.key_variable is None:
            return
        key = self.api_key()
        variable = shown_variable(self.key_variable)
        if key is None:
            raise ConfigurationError(
                f"{self.place}: api_key_env: {variable} is not set; export it, or remove the expert"
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigurationError(
                f"{self.place}: api_key_env: {variable} holds something else than a key; export the key alone"
            )


def first_set_variable(variables: tuple[str, ...]) -> str | None:
    """The value of the first of these environment variables that has one."""
    for name in variables:
        value = os.environ.get(name)
        if value:
            return value
    return None


@lru_cache(maxsize=1024)
def _host_of(base_url: str) -> str:
    return Address(base_url).host_name or ""
