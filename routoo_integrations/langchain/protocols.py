"""LangChain models from an expert's settings, by the protocol that its provider speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr, ValidationError

from routoo_core.endpoint import AZURE, NO_KEY, Endpoint
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.experts import Expert
from routoo_integrations.langchain.providers import check_package

_NO_EFFORT_NONE = frozenset({"anthropic"})
"""Providers that know no word for not reasoning."""
_COUNT_FIRST_TRY = frozenset({"google_genai", "google_vertexai"})
"""Providers whose ``max_retries`` counts the first try; 0 would be Google's own number of them."""


def build_chat_model(expert: Expert) -> BaseChatModel:
    """The chat model that an expert's settings describe: by its provider's protocol, else OpenAI's.

    Raises:
        MissingDependency: Its integration package is not installed.
        ConfigurationError: The package refuses a setting, such as an effort that its provider does not know.
    """
    build = PROTOCOLS.get(expert.provider or "openai", _build_provider)
    try:
        return build(expert)
    except ValidationError as error:
        raise ConfigurationError(f"{expert.place}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    """The setting that the integration refuses, and why."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    name = "effort" if field == "reasoning_effort" else field
    return f"{name}: {first['msg']}"


def check_provider(expert: Endpoint) -> None:
    """Refuse an expert that no model can be built for; see :func:`check_package`."""
    check_package(expert, PROTOCOLS)


def _build_openai(expert: Expert) -> BaseChatModel:
    try:
        from langchain_openai import ChatOpenAI
        from langchain_openai.chat_models.base import BaseChatOpenAI
    except ImportError as error:
        purpose = f"call {expert.place}"
        raise MissingDependency("langchain_openai", "langchain", purpose) from error
    # LangChain's ChatOpenAI calls the limit of a reply max_completion_tokens, its base class max_tokens.
    kind = ChatOpenAI if expert.limits_replies_by == "max_completion_tokens" else BaseChatOpenAI
    key = SecretStr(expert.api_key() or NO_KEY)
    return kind(model=expert.model, api_key=key, stream_usage=True, **_connection(expert))


def _build_azure(expert: Expert) -> BaseChatModel:
    """A model at Azure, reached by its deployment and the version of the API."""
    try:
        from routoo_integrations.langchain.azure import AzureModel
    except ImportError as error:
        purpose = f"call {expert.place}"
        raise MissingDependency("langchain_openai", "langchain", purpose) from error
    model: BaseChatModel = AzureModel(
        model=expert.model,
        api_key=SecretStr(expert.api_key() or NO_KEY),
        stream_usage=True,
        timeout=expert.timeout_s,
        max_retries=expert.max_retries,
        reply_limit_parameter=expert.limits_replies_by,
        **_reasoning(expert),
        **expert.azure_settings,
    )
    return model


def _build_provider(expert: Expert) -> BaseChatModel:
    """A model of any provider that LangChain has an integration for."""
    settings = _connection(expert)
    key = expert.api_key()
    if key:
        settings["api_key"] = key
    check_provider(expert)
    return init_named_model(expert.model, expert.provider or "", settings)


def _connection(expert: Expert) -> dict[str, Any]:
    settings: dict[str, Any] = {"timeout": expert.timeout_s, "max_retries": expert.max_retries}
    if expert.provider in _COUNT_FIRST_TRY:
        settings["max_retries"] += 1
    if expert.base_url:
        settings["base_url"] = expert.base_url
    settings.update(_reasoning(expert))
    return settings


def _reasoning(expert: Expert) -> dict[str, Any]:
    """How much the model reasons, as every integration of LangChain's calls it."""
    if expert.sent_effort is None:
        return {}
    if expert.provider in _NO_EFFORT_NONE and expert.sent_effort == "none":
        return {}  # those models reason only when they are asked to
    return {"reasoning_effort": expert.sent_effort}


def init_named_model(model: str, provider: str, settings: Mapping[str, Any]) -> BaseChatModel:
    """The model of a name, as LangChain builds it for a provider.

    Raises:
        MissingDependency: ``langchain`` is not installed.
    """
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingDependency("langchain", "langchain", f"call {provider}:{model}") from error
    chat_model: BaseChatModel = init_chat_model(model, model_provider=provider, **settings)
    return chat_model


PROTOCOLS: dict[str, Callable[[Expert], BaseChatModel]] = {
    "openai": _build_openai,
    AZURE: _build_azure,
}
"""``provider`` in experts.toml → what builds its model; any other goes to LangChain's ``init_chat_model``."""
