"""The LlamaIndex LLM behind each expert: how it is built, what it can do, and what a call of it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property, partial
from typing import Any

import openai
from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import CompletionToPromptType

from routoo_core.endpoint import AZURE, NO_KEY
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.experts import Expert, Pool
from routoo_core.redaction import looks_like_key
from routoo_integrations.building import build_clients, unknown_provider
from routoo_integrations.call_arguments import without_parameters
from routoo_integrations.connections import is_a
from routoo_integrations.llama_index.connections import LLMConnections, without_retries

_DEFAULT_REPLY_TOKENS = 4096
"""The reply limit of an LLM that states none."""
_OPENAI_PROTOCOL = "openai"
_OTHER_LIMIT_KEYWORD = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
_END_MARKING_LLMS = ("OpenAI", "Anthropic", "GoogleGenAI", "MistralAI", "BedrockConverse")
"""Classes of LLMs that hand on why a stream ended."""


class LlamaIndexClient:
    """The LLM that answers for an expert.

    Args:
        expert: Its settings.
        llm: The LLM.
        rebuild: Builds an LLM like it, with connections of its own; ``None`` for an object that was given.

    Attributes:
        llm: The LLM.
        limit_keyword: The keyword argument that limits its replies, unless the expert refuses it.

    Raises:
        ConfigurationError: The expert's capabilities name tools, and its LLM takes none.
    """

    def __init__(self, expert: Expert, llm: LLM, rebuild: Callable[[], LLM] | None = None) -> None:
        if "tools" in expert.capabilities and not isinstance(llm, FunctionCallingLLM):
            raise ConfigurationError(
                f"expert {expert.name!r}: capabilities: {type(llm).__name__} is no FunctionCallingLLM; "
                "take 'tools' out"
            )
        if rebuild is None:
            llm = without_retries(llm)
        self.llm = llm
        self.limit_keyword = "max_tokens"
        if expert.client is None and PROTOCOLS.get(_protocol(expert)) is _build_openai_like:
            self.limit_keyword = expert.limits_replies_by
        self._connections = LLMConnections(llm, rebuild)

    @property
    def marks_stream_end(self) -> bool:
        """Whether the LLM says why its streams end: those that speak a provider's own protocol do."""
        return is_a(self.llm, *_END_MARKING_LLMS)

    @cached_property
    def chats(self) -> bool:
        """Whether the LLM takes messages as they are, rather than one text."""
        try:
            return self.llm.metadata.is_chat_model
        except ValueError:  # LlamaIndex's OpenAI does not know its model
            return True

    def arguments(
        self, keywords: Mapping[str, Any], max_tokens: int, withheld: frozenset[str]
    ) -> dict[str, Any]:
        """The keyword arguments of a call, without those that the expert does not take.

        Args:
            keywords: What the call says.
            max_tokens: The limit on the reply.
            withheld: Arguments that it does not take, see :data:`routoo_core.parameters.DISPENSABLE`.
        """
        arguments = without_parameters(keywords, withheld)
        if "temperature" in withheld and is_a(self.llm, "OpenAI"):
            arguments["temperature"] = openai.omit  # or the LLM sends its own
        limit_keyword = self.limit_keyword
        if limit_keyword in withheld:
            limit_keyword = _OTHER_LIMIT_KEYWORD[limit_keyword]
        arguments[limit_keyword] = max_tokens
        return arguments

    def llm_for_call(
        self,
        max_tokens: int,
        callbacks: CallbackManager,
        withheld: frozenset[str] = frozenset(),
        is_async: bool = False,
    ) -> LLM:
        """The LLM, or a copy of it for one call that shares its connections.

        The copy sets what no keyword argument can: the callback manager, and a reply limit that the LLM has as a field.

        Args:
            max_tokens: The limit on the reply.
            callbacks: Told of the call, if it has handlers.
            withheld: Arguments that the expert does not take.
            is_async: Whether it is called in the running event loop, whose connections it then has.
        """
        llm = self._connections.of_loop() if is_async else self._connections.of_process()
        changes: dict[str, Any] = {}
        if getattr(llm, "max_tokens", None) is not None:
            # LlamaIndex prefers the field to the keyword.
            changes["max_tokens"] = None if "max_tokens" in withheld else max_tokens
        additional = getattr(llm, "additional_kwargs", None)
        if additional and withheld & set(additional):
            changes["additional_kwargs"] = without_parameters(additional, withheld)
        if callbacks.handlers and llm.callback_manager is not callbacks:
            changes["callback_manager"] = callbacks
        if not changes:
            return llm

        copy = llm.model_copy(update=changes)
        object.__setattr__(copy, "__pydantic_private__", llm.__pydantic_private__)
        return copy


def common_completion_format(
    clients: Iterable[LlamaIndexClient],
) -> CompletionToPromptType | None:
    """How all LLMs put a text into a prompt, where they complete texts; ``None`` where one chats, or they differ."""
    formats = set()
    for client in clients:
        formats.add(None if client.chats else client.llm.completion_to_prompt)
    return formats.pop() if len(formats) == 1 else None


# LLMs from an expert's settings


def make_clients(pool: Pool, settings: Mapping[str, Any]) -> dict[str, LlamaIndexClient]:
    """The client of every expert; see :func:`~routoo_integrations.building.build_clients`."""
    rebuilds: dict[str, Callable[[], LLM]] = {}

    def build(expert: Expert) -> LLM:
        rebuilds[expert.name] = partial(build_llm, expert)
        return build_llm(expert)

    llms = build_clients(pool, LLM, build, settings)
    clients = {}
    for expert in pool:
        name = expert.name
        clients[name] = LlamaIndexClient(expert, llms[name], rebuilds.get(name))
    return clients


def _build_openai_like(expert: Expert) -> LLM:
    """An LLM for an endpoint that speaks OpenAI's protocol.

    Raises:
        MissingDependency: LlamaIndex's integration package is not installed.
    """
    try:
        from llama_index.llms.openai_like import OpenAILike
    except ImportError as error:
        raise MissingDependency(
            "llama_index.llms.openai_like", "llama-index", f"call {expert.place}"
        ) from error
    clients: dict[str, Any] = {}
    if expert.is_azure:
        clients = _azure_clients(expert)
    additional: dict[str, Any] = {"stream_options": {"include_usage": True}}
    if expert.sent_effort is not None:
        # LlamaIndex's own field reaches only models whose names it knows.
        additional["reasoning_effort"] = expert.sent_effort
    llm: LLM = OpenAILike(
        model=expert.model,
        api_base=expert.base_url,
        api_key=expert.api_key() or NO_KEY,
        **clients,
        context_window=expert.context_window,
        is_chat_model=True,
        is_function_calling_model="tools" in expert.capabilities,
        max_retries=expert.max_retries,
        timeout=expert.timeout_s,
        additional_kwargs=additional,
    )
    return llm


def _azure_clients(expert: Expert) -> dict[str, Any]:
    """OpenAI's clients for a deployment at Azure."""
    from openai import AsyncAzureOpenAI, AzureOpenAI

    settings: dict[str, Any] = {
        "api_key": expert.api_key() or NO_KEY,
        "timeout": expert.timeout_s,
        "max_retries": expert.max_retries,
        **expert.azure_settings,
    }
    return {
        "openai_client": AzureOpenAI(**settings),
        "async_openai_client": AsyncAzureOpenAI(**settings),
    }


PROTOCOLS: dict[str, Callable[[Expert], LLM]] = {
    _OPENAI_PROTOCOL: _build_openai_like,
    AZURE: _build_openai_like,
}
"""An expert's ``provider`` → what builds its LLM from its settings; an expert without one speaks OpenAI's protocol."""


def build_llm(expert: Expert) -> LLM:
    """The LLM that an expert's settings describe.

    Raises:
        ConfigurationError: No protocol goes by the expert's ``provider``.
        MissingDependency: The integration package is not installed.
    """
    check_provider(expert)
    return PROTOCOLS[_protocol(expert)](expert)


def check_provider(expert: Expert) -> None:
    """Refuse an expert whose provider nothing builds an LLM for.

    Raises:
        ConfigurationError: No protocol goes by that name.
    """
    protocol = _protocol(expert)
    if protocol in PROTOCOLS:
        return
    if get_close_matches(protocol, PROTOCOLS, n=1) or looks_like_key(protocol):
        raise unknown_provider(expert, PROTOCOLS)
    raise ConfigurationError(
        f"{expert.place}: provider: no LlamaIndex LLM is built for {protocol!r}; pass the object: "
        f"experts={{{expert.name!r}: Expert(…, client={protocol.title()}(…))}}, or add a builder to "
        f"{__name__}.PROTOCOLS"
    )


def _protocol(expert: Expert) -> str:
    return expert.provider or _OPENAI_PROTOCOL


# An expert's settings from an LLM


def describe_llm(llm: Any) -> dict[str, Any]:
    """Settings of an expert that its LLM knows: its window, its reply limit and what it can do.

    Raises:
        ConfigurationError: It does not know them, as LlamaIndex's ``OpenAI`` with models newer than itself.
    """
    if not isinstance(llm, LLM):
        return {}
    try:
        metadata = llm.metadata
    except ValueError as error:
        raise ConfigurationError(f"experts: {type(llm).__name__}: {error}") from error
    return {
        "context_window": metadata.context_window,
        "max_output_tokens": min(_reply_tokens(llm, metadata), metadata.context_window),
        "capabilities": _llm_capabilities(llm, metadata),
    }


def _reply_tokens(llm: LLM, metadata: LLMMetadata) -> int:
    """The longest reply, tokens."""
    limit = getattr(llm, "max_tokens", None) or metadata.num_output
    if isinstance(limit, int) and limit > 0:
        return limit
    return _DEFAULT_REPLY_TOKENS


def _llm_capabilities(llm: LLM, metadata: LLMMetadata) -> set[str]:
    capabilities = set()
    if isinstance(llm, FunctionCallingLLM) and metadata.is_function_calling_model:
        capabilities.add("tools")
    uses_schemas = getattr(llm, "_should_use_structure_outputs", None)  # OpenAI's and its kin
    if uses_schemas is not None and uses_schemas():
        capabilities.add("json_schema")
    return capabilities
