"""Profiles of LangChain models, and the abilities of a pool of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.runnables import Runnable

from routoo_core.endpoint import Endpoint
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_integrations.call_arguments import read_reply_limit
from routoo_integrations.langchain.added_tokens import added_prompt_tokens
from routoo_integrations.langchain.protocols import PROTOCOLS, check_provider, init_named_model
from routoo_integrations.langchain.retries import retries_of
from routoo_integrations.langchain.runnables import speaks_openai, unwrap_bindings

_PROFILE_FIELDS = {
    "tool_calling": "tools",
    "structured_output": "json_schema",
    "image_inputs": "images",
    "audio_inputs": "audio",
    "pdf_inputs": "files",
    "video_inputs": "video",
}
"""Field of LangChain's model profiles → our capability."""
_REPLY_PROVIDERS: dict[str, frozenset[str]] = {
    "amazon_bedrock": frozenset({"bedrock", "bedrock_converse"}),
    "azure": frozenset({"openai"}),
}
"""A provider as traces call it → as replies call it, where they differ."""


def describe_model(model: Any) -> dict[str, Any]:
    """What a chat model, or ``"provider:model"``, says of itself: an expert's settings.

    Raises:
        ConfigurationError: A text that is no ``"provider:model"``.
    """
    if isinstance(model, str):
        return _describe_named_model(model)
    chat_model, bound = unwrap_bindings(model) if isinstance(model, Runnable) else (model, {})
    profile = getattr(chat_model, "profile", None) or {}
    settings: dict[str, Any] = {
        "client": model,
        "capabilities": _capabilities(chat_model, profile),
    }
    retries = retries_of(model)
    if retries:
        settings["max_retries"] = retries
    added_tokens = added_prompt_tokens(model)
    if added_tokens is not None:
        settings["added_prompt_tokens"] = added_tokens
    window = profile.get("max_input_tokens")
    if window:
        settings["context_window"] = window
    limit = read_reply_limit(bound, _model_limit(chat_model)) or profile.get("max_output_tokens")
    if isinstance(limit, int):
        settings["max_output_tokens"] = min(limit, window or limit)
    return settings


def _model_limit(chat_model: Any) -> int | None:
    """The limit on every reply that a model has as a field."""
    for name in ("max_tokens", "max_output_tokens"):
        limit = getattr(chat_model, name, None)
        if isinstance(limit, int) and limit > 0:
            return limit
    return None


def _describe_named_model(name: str) -> dict[str, Any]:
    provider, _, model = name.partition(":")
    if not model:
        raise ConfigurationError(
            f"experts: {name!r} is no chat model; write 'provider:model', as 'openai:gpt-4o'"
        )
    endpoint = Endpoint(name=name, model=model, provider=provider)
    check_provider(endpoint)
    if provider in PROTOCOLS:
        endpoint.check_key()
    settings = describe_model(init_named_model(model, provider, {}))
    return {**settings, "client": None, "model": model, "provider": provider}


def _capabilities(chat_model: Any, profile: Mapping[str, Any]) -> set[str]:
    """What a model can do: by its profile; where that says nothing of tools and schemas, by the model's methods."""
    capabilities = set()
    for profile_field, capability in _PROFILE_FIELDS.items():
        if profile.get(profile_field):
            capabilities.add(capability)
    if not isinstance(chat_model, BaseChatModel):
        return capabilities
    binds_tools = type(chat_model).bind_tools is not BaseChatModel.bind_tools
    if "tool_calling" not in profile and binds_tools:
        capabilities.add("tools")
    if "structured_output" not in profile and speaks_openai(chat_model):
        capabilities.add("json_schema")
    return capabilities


class PoolProvider(str):
    """What traces call the provider of a pool; equal to the name of each provider in it.

    LangChain takes the tokens that a reply reports for this model's if the reply names this model's provider.

    Args:
        name: For traces.
        members: What the providers in the pool are called, in traces and in their replies.
    """

    _members: frozenset[str]

    def __new__(cls, name: str, members: Iterable[str] = ()) -> PoolProvider:
        """A text is made here, as it cannot be changed afterwards."""
        provider = super().__new__(cls, name)
        provider._members = frozenset(members)
        return provider

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) or other in self._members

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def pool_provider(providers: Iterable[str | None]) -> str:
    """The provider of all experts, if it is one; else that of the pool."""
    names: set[str] = set()
    for provider in providers:
        if provider:
            names.add(provider)
            names |= _REPLY_PROVIDERS.get(provider, frozenset())
    if len(names) == 1:
        return names.pop()
    return PoolProvider("routoo", names)


def pool_profile(pool: Pool) -> ModelProfile:
    """What a pool can serve: a call that needs something goes to an expert that has it."""
    capabilities: set[str] = set()
    for expert in pool:
        capabilities |= expert.capabilities
    profile: dict[str, Any] = {
        "max_input_tokens": max(expert.context_window for expert in pool),
        "max_output_tokens": max(expert.max_output_tokens for expert in pool),
        "text_inputs": True,
        "text_outputs": True,
    }
    for profile_field, capability in _PROFILE_FIELDS.items():
        profile[profile_field] = capability in capabilities
    return cast("ModelProfile", profile)
