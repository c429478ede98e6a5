"""The LlamaIndex LLM behind each expert: how it is built, what it says of itself, and how it is called."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from routoo_core.endpoint import NO_KEY
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.experts import Expert
from routoo_integrations.llama_index.messages import as_tools, portable

Way = Literal[
    "chat",
    "achat",
    "stream_chat",
    "astream_chat",
    "complete",
    "acomplete",
    "stream_complete",
    "astream_complete",
]
"""The names of an LLM's methods."""
_USUAL_LIMIT = 4096  # reply tokens of an LLM that does not say
_FOR_TOOLS = frozenset({"tool_choice", "tool_required", "allow_parallel_tool_calls"})


class Client:
    """The LLM that answers for an expert.

    Args:
        expert: Its settings.
        llm: The LLM.

    Attributes:
        llm: The LLM.

    Raises:
        ConfigurationError: The expert is said to take tools, and its LLM cannot.
    """

    def __init__(self, expert: Expert, llm: LLM) -> None:
        if "tools" in expert.capabilities and not isinstance(llm, FunctionCallingLLM):
            raise ConfigurationError(
                f"expert {expert.name!r}: capabilities: {type(llm).__name__} is no FunctionCallingLLM; take 'tools' out"
            )
        self.llm, self._name = llm, expert.name
        self._is_ours = expert.client is None
        self._limit = (
            "max_completion_tokens"
            if self._is_ours and expert.speaks_openai_natively
            else "max_tokens"
        )
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    def call(
        self,
        way: Way,
        said: Sequence[ChatMessage] | str,
        arguments: Mapping[str, Any],
        max_tokens: int,
        callbacks: CallbackManager,
    ) -> Any:
        """Delegate a whole call, so that LlamaIndex's events and token counts are those of one LLM.

        Args:
            way: The method; a chat with ``tools`` goes to its sister ``…_with_tools``.
            said: Messages, or a prompt.
            arguments: Of the method; ``tools`` are LlamaIndex's, or descriptions in OpenAI's form.
            max_tokens: The limit on the reply.
            callbacks: Who is told, if it has handlers.
        """
        if self._is_ours and way.startswith("a"):
            self._connect_in(asyncio.get_running_loop())
        llm = self._ready(max_tokens, callbacks)
        arguments = {**arguments, self._limit: max_tokens}
        if isinstance(said, str):
            return getattr(llm, way)(said, **arguments)
        tools, messages = as_tools(arguments.pop("tools", None)), portable(said, self._name)
        if not tools:
            rest = {key: value for key, value in arguments.items() if key not in _FOR_TOOLS}
            return getattr(llm, way)(messages, **rest)
        parallel = arguments.pop("parallel_tool_calls", False)
        arguments.setdefault("allow_parallel_tool_calls", parallel)
        return getattr(llm, f"{way}_with_tools")(tools, chat_history=messages, **arguments)

    def _connect_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connections live in one event loop; in the next, LlamaIndex's client would fail on the first it reuses."""
        if self._loop is None or self._loop() is not loop:
            llm: Any = self.llm
            llm._aclient, self._loop = None, weakref.ref(loop)

    def _ready(self, max_tokens: int, callbacks: CallbackManager) -> LLM:
        """The LLM; for what only its fields can tell it, a copy of this call's own that shares its connections."""
        fields: dict[str, Any] = {}
        if (
            getattr(self.llm, "max_tokens", None) is not None
        ):  # LlamaIndex lets the field win over the keyword
            fields["max_tokens"] = max_tokens
        if callbacks.handlers and self.llm.callback_manager is not callbacks:
            fields["callback_manager"] = callbacks
        if not fields:
            return self.llm
        copy = self.llm.model_copy(update=fields)
        object.__setattr__(copy, "__pydantic_private__", self.llm.__pydantic_private__)
        return copy


def build_client(expert: Expert) -> LLM:
    """The LLM that an expert's settings describe.

    Raises:
        ConfigurationError: The settings name a provider.
        MissingDependency: Its integration package is not installed.
    """
    if expert.provider:
        raise ConfigurationError(
            f"expert {expert.name!r}: provider: LlamaIndex builds no LLM from a provider's name; pass the object: "
            f"experts={{{expert.name!r}: Expert(…, client={expert.provider.title()}(…))}}"
        )
    try:
        from llama_index.llms.openai_like import OpenAILike
    except ImportError as error:
        raise MissingDependency(
            "llama_index.llms.openai_like", "llama-index", f"call {expert.name!r}"
        ) from error
    client: LLM = OpenAILike(
        model=expert.model,
        api_base=expert.base_url,
        api_key=expert.api_key() or NO_KEY,
        context_window=expert.context_window,
        is_chat_model=True,
        is_function_calling_model="tools" in expert.capabilities,
        max_retries=expert.max_retries,
        timeout=expert.timeout_s,
        additional_kwargs={"stream_options": {"include_usage": True}},
    )
    return client


def settings_of(llm: Any) -> dict[str, Any]:
    """What an LLM says of itself: an expert's settings.

    Raises:
        ConfigurationError: It does not know itself, as LlamaIndex's ``OpenAI`` does with models newer than it.
    """
    if not isinstance(llm, LLM):
        return {}
    try:
        known = llm.metadata
    except ValueError as error:
        raise ConfigurationError(f"experts: {type(llm).__name__}: {error}") from error
    limit = getattr(llm, "max_tokens", None) or known.num_output
    limit = limit if isinstance(limit, int) and limit > 0 else _USUAL_LIMIT
    takes_tools = isinstance(llm, FunctionCallingLLM) and known.is_function_calling_model
    takes_schemas = getattr(llm, "_should_use_structure_outputs", bool)()  # OpenAI's and its kin
    return {
        "context_window": known.context_window,
        "max_output_tokens": min(limit, known.context_window),
        "capabilities": {
            *(("tools",) if takes_tools else ()),
            *(("json_schema",) if takes_schemas else ()),
        },
    }
