"""LangChain models from an expert's settings, by the protocol that its provider speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from routoo_core.endpoint import AZURE, NO_KEY, Endpoint
from routoo_core.errors import MissingDependency
from routoo_core.experts import Expert
from routoo_integrations.langchain.providers import check_package

_COUNT_FIRST_TRY = frozenset({"google_genai", "google_vertexai"})
"""Providers whose ``max_retries`` counts the first try; 0 would be Google's own number of them."""


def build_chat_model(expert: Expert) -> BaseChatModel:
    """The chat model that an expert's settings describe: by its provider's protocol, else OpenAI's.

    Raises:
        MissingDependency: Its integration package is not installed.
    """
    if expert.provider is None:
        return _build_openai(expert)
    build = PROTOCOLS.get(expert.provider, _build_provider)
    return build(expert)


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
    return settings


def init_named_model(model: str, provider: str, settings: Mapping[str, Any]) -> BaseChatModel:
    """The model of a name, as LangChain builds it for a provider.

    Raises:
        MissingDependency: ``langchain`` is not installed.
    """
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingDependency("langchain", "langchain", f"call {provider}:{model}") from error
    built: BaseChatModel = init_chat_model(model, model_provider=provider, **settings)
    return built


PROTOCOLS: dict[str, Callable[[Expert], BaseChatModel]] = {
    "openai": _build_openai,
    AZURE: _build_azure,
}
"""``provider`` in experts.toml → what builds its model; any other goes to LangChain's ``init_chat_model``."""
