"""The LangChain model behind each expert, as it is called."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from functools import cached_property, partial
from inspect import signature
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableSequence
from pydantic import BaseModel

from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert, Pool
from routoo_integrations.building import build_clients
from routoo_integrations.call_arguments import (
    read_reply_limit,
    without_parameters,
    without_reply_limits,
)
from routoo_integrations.connections import is_a
from routoo_integrations.langchain.added_tokens import check_added_tokens
from routoo_integrations.langchain.connections import ModelConnections
from routoo_integrations.langchain.protocols import build_chat_model
from routoo_integrations.langchain.retries import without_retries
from routoo_integrations.langchain.runnables import as_chunk, speaks_openai, unwrap_bindings
from routoo_integrations.langchain.tools import own_tool, plain_response_format

_BOUND = ("tools", "tool_choice", "strict", "response_format")
"""Arguments of a call that a model's own methods bind."""
_END_MARKING_MODELS = (
    "BaseChatOpenAI",
    "ChatAnthropic",
    "ChatBedrockConverse",
    "ChatGoogleGenerativeAI",
    "ChatMistralAI",
)
"""Classes of models that hand on why a stream ended."""
_CACHE_MARKED_MODELS = ("ChatAnthropic", "BaseChatAnthropic", "ChatAnthropicVertex")
"""Classes of models whose calls may be marked for a cached prompt."""
_LIMIT_FIELDS = ("max_tokens", "max_output_tokens", "num_predict", "max_new_tokens")
"""What models call the limit on a reply, as a field and as an argument of a call."""
_TRACED = ("ls_structured_output_format", "structured_output_format")


class LangChainClient:
    """The model that answers for an expert, with what its owner bound to it.

    Args:
        model: A chat model, or any runnable from messages to a message or text.
        rebuild: Builds a chat model like it, with connections of its own; ``None`` for an object that was given.
        withheld: Arguments that it does not take, see :data:`routoo_core.parameters.DISPENSABLE`.

    Attributes:
        model: The chat model inside.
        bound: What its owner bound to it, but the limit on the reply.
        bound_limit: The limit on the reply that its owner bound to it.
        limit_keyword: What the model calls the limit on a reply.
    """

    def __init__(
        self,
        model: Runnable[Any, Any],
        rebuild: Callable[[], BaseChatModel] | None = None,
        withheld: frozenset[str] = frozenset(),
    ) -> None:
        self.model, bound = unwrap_bindings(model)
        if rebuild is None:
            self.model = without_retries(self.model)
        self.bound = without_reply_limits(bound)
        self.bound_limit = read_reply_limit(bound)
        self.limit_keyword = _limit_keyword(self.model)
        self._rebuild = rebuild
        self._withheld = withheld | _unsupported_by_profile(self.model)
        self._narrower_clients: dict[frozenset[str], LangChainClient] = {}
        self._connections = ModelConnections(self.model, rebuild)

    def without(self, parameters: frozenset[str]) -> LangChainClient:
        """The client of the same model that is not sent these arguments, whoever sets them."""
        if parameters <= self._withheld:
            return self
        client = self._narrower_clients.get(parameters)
        if client is None:
            client = self._make_narrower_client(parameters)
            self._narrower_clients[parameters] = client
        return client

    def _make_narrower_client(self, parameters: frozenset[str]) -> LangChainClient:
        rebuild = self._rebuild
        rebuild_narrower = None
        if rebuild is not None:
            rebuild_narrower = partial(_rebuild_without, rebuild, parameters)
        model = _without_fields(self.model, parameters)
        client = LangChainClient(model, rebuild_narrower, self._withheld | parameters)
        client.bound = self.bound
        client.bound_limit = self.bound_limit
        return client

    def arguments(
        self, stop: list[str] | None, keywords: Mapping[str, Any], max_tokens: int
    ) -> dict[str, Any]:
        """A call's arguments as this model's own.

        Args:
            stop: Stop sequences; ``None`` for those that its owner bound.
            keywords: Tools and response format as ``bind_tools`` takes them, and whatever else was bound.
            max_tokens: The limit on the reply; what its owner bound counts where it is less.

        Raises:
            ConfigurationError: The model takes no tools or schema with a call, whatever its expert's capabilities say.
        """
        to_bind: dict[str, Any] = {}
        rest: dict[str, Any] = {"stop": stop or self.bound.get("stop")}
        for name, value in keywords.items():
            if name not in _BOUND:
                rest[name] = value
            elif value is not None:
                to_bind[name] = value
        arguments = {**self.bound, **self._own_form(to_bind), **rest}
        arguments = without_parameters(arguments, self._withheld | self._unknown_marks)
        limit = min(max_tokens, self.bound_limit or max_tokens)
        if "max_tokens" in self._withheld:
            arguments["max_completion_tokens"] = limit
        elif "max_completion_tokens" in self._withheld and speaks_openai(self.model):
            extra_body = arguments.get("extra_body") or getattr(self.model, "extra_body", None)
            # ChatOpenAI renames the argument.
            arguments["extra_body"] = {**(extra_body or {}), "max_tokens": limit}
        else:
            arguments[self.limit_keyword] = limit
        return arguments

    @property
    def marks_stream_end(self) -> bool:
        """Whether the model says why its streams end: those that speak a provider's own protocol do."""
        return is_a(self.model, *_END_MARKING_MODELS)

    @cached_property
    def _unknown_marks(self) -> frozenset[str]:
        """The mark for a cached prompt, where its provider does not know it."""
        knows_mark = is_a(self.model, *_CACHE_MARKED_MODELS, "RunnableChatModel")
        return frozenset() if knows_mark else frozenset({"cache_control"})

    @cached_property
    def traced_as(self) -> LangSmithParams:
        """How the model is called in traces."""
        return self.model._get_ls_params()

    def generate(
        self,
        messages: list[BaseMessage],
        run_manager: CallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> ChatResult:
        """The whole reply."""
        if self.model.rate_limiter:
            self.model.rate_limiter.acquire(blocking=True)
        return self._connections.of_process()._generate(
            messages, run_manager=run_manager, **arguments
        )

    async def agenerate(
        self,
        messages: list[BaseMessage],
        run_manager: AsyncCallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> ChatResult:
        """:meth:`generate`, async."""
        if self.model.rate_limiter:
            await self.model.rate_limiter.aacquire(blocking=True)
        return await self._connections.of_loop()._agenerate(
            messages, run_manager=run_manager, **arguments
        )

    def stream(
        self,
        messages: list[BaseMessage],
        run_manager: CallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> Generator[ChatGenerationChunk, None, None]:
        """The reply in chunks; of a model that cannot stream, in one."""
        if not self._streams():
            result = self.generate(messages, run_manager, arguments)
            yield as_chunk(result.generations[0].message)
            return
        if self.model.rate_limiter:
            self.model.rate_limiter.acquire(blocking=True)
        model = self._connections.of_process()
        yield from model._stream(messages, run_manager=run_manager, **arguments)

    async def astream(
        self,
        messages: list[BaseMessage],
        run_manager: AsyncCallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """:meth:`stream`, async."""
        if not self.streams:
            result = await self.agenerate(messages, run_manager, arguments)
            yield as_chunk(result.generations[0].message)
            return
        if self.model.rate_limiter:
            await self.model.rate_limiter.aacquire(blocking=True)
        model = self._connections.of_loop()
        async for chunk in model._astream(messages, run_manager=run_manager, **arguments):
            yield chunk

    def rehearse(self, messages: list[BaseMessage], arguments: Mapping[str, Any]) -> None:
        """Put a call into its provider's form once more, and send nothing: what fails here failed before it was sent.

        Models that have no such step by itself do nothing.
        """
        make_payload = getattr(self.model, "_get_request_payload", None)
        if make_payload is not None:
            make_payload(messages, **arguments)

    @property
    def streams(self) -> bool:
        """Whether the model has replies in chunks at all."""
        return self._streams() or self._streams_async()

    def _streams(self) -> bool:
        return type(self.model)._stream is not BaseChatModel._stream

    def _streams_async(self) -> bool:
        return type(self.model)._astream is not BaseChatModel._astream

    def _own_form(self, to_bind: Mapping[str, Any]) -> dict[str, Any]:
        """Tools and response format as this model's own arguments."""
        keywords = dict(to_bind)
        response_format = keywords.get("response_format")
        if response_format is not None and not self._parses(response_format):
            response_format = plain_response_format(response_format)
            keywords["response_format"] = response_format
        binds_tools = type(self.model).bind_tools is not BaseChatModel.bind_tools
        if keywords.get("tools") and binds_tools:
            return self._bound_arguments(self._bind_tools(keywords))
        if not response_format or speaks_openai(self.model):
            return keywords
        if response_format["type"] == "json_schema":
            named_schema = response_format["json_schema"]
            schema = {"title": named_schema["name"], **named_schema["schema"]}
            runnable = self.model.with_structured_output(schema, method="json_schema")
        else:
            runnable = self.model.with_structured_output(cast("Any", None), method="json_mode")
        return self._bound_arguments(runnable)

    def _parses(self, response_format: Any) -> bool:
        """Whether the model's own client takes this class as a response format, and parses replies by it."""
        is_pydantic = isinstance(response_format, type) and issubclass(response_format, BaseModel)
        return is_pydantic and speaks_openai(self.model)

    @property
    def _has_strict_tools_only(self) -> bool:
        """Whether tools beside a response format must be strict; older langchain-openai does not see to it."""
        return speaks_openai(self.model) and not getattr(self.model, "use_responses_api", False)

    def _bind_tools(self, keywords: dict[str, Any]) -> Runnable[Any, Any]:
        """The model with the caller's own tools bound by its own method."""
        strict = keywords.pop("strict", None)
        tools = keywords.pop("tools")
        if strict is None and keywords.get("response_format") and self._has_strict_tools_only:
            strict = True
        if strict is None:
            own_tools = [own_tool(tool) for tool in tools]
            return self.model.bind_tools(own_tools, **keywords)
        if "strict" in signature(self.model.bind_tools).parameters:
            own_tools = [own_tool(tool) for tool in tools]
            return self.model.bind_tools(own_tools, strict=strict, **keywords)
        # Their form says that they are strict.
        return self.model.bind_tools(tools, **keywords)

    def _bound_arguments(self, runnable: Runnable[Any, Any]) -> dict[str, Any]:
        """The arguments that a model's own ``bind_tools`` or ``with_structured_output`` would call it with."""
        if isinstance(runnable, RunnableSequence):
            runnable = runnable.first
        model, arguments = unwrap_bindings(runnable)
        if model is not self.model:
            raise ConfigurationError(
                f"{type(self.model).__name__} returns another model when tools or a schema are bound; take 'tools' and "
                "'json_schema' out of the capabilities of its expert"
            )
        return {name: value for name, value in arguments.items() if name not in _TRACED}


# Arguments that a model does not take


def _unsupported_by_profile(model: BaseChatModel) -> frozenset[str]:
    """Arguments that LangChain's profile of a model says it does not take."""
    profile = getattr(model, "profile", None) or {}
    if profile.get("temperature") is False:
        return frozenset({"temperature"})
    return frozenset()


def _limit_keyword(model: BaseChatModel) -> str:
    """What a model calls the limit on a reply: the field it has for it, else as OpenAI does."""
    fields = type(model).model_fields
    for name in _LIMIT_FIELDS:
        if name in fields:
            return name
    return _LIMIT_FIELDS[0]


def _without_fields(model: BaseChatModel, parameters: frozenset[str]) -> BaseChatModel:
    """A model that does not send these arguments by itself: a copy, unless none of its fields sets one."""
    changes: dict[str, Any] = {}
    for name in parameters:
        if name in type(model).model_fields and getattr(model, name) is not None:
            changes[name] = None
    if "stream_options" in parameters and hasattr(model, "stream_usage"):
        changes["stream_usage"] = False
    model_kwargs = getattr(model, "model_kwargs", None)
    if model_kwargs and parameters & set(model_kwargs):
        changes["model_kwargs"] = without_parameters(model_kwargs, parameters)
    return model.model_copy(update=changes) if changes else model


def _rebuild_without(
    rebuild: Callable[[], BaseChatModel], parameters: frozenset[str]
) -> BaseChatModel:
    return _without_fields(rebuild(), parameters)


def make_clients(pool: Pool, settings: Mapping[str, Any]) -> dict[str, LangChainClient]:
    """The client of every expert; see :func:`~routoo_integrations.building.build_clients`."""
    rebuilds: dict[str, Callable[[], BaseChatModel]] = {}

    def build(expert: Expert) -> BaseChatModel:
        rebuilds[expert.name] = partial(build_chat_model, expert)
        return build_chat_model(expert)

    clients = {}
    for name, model in build_clients(pool, Runnable, build, settings).items():
        check_added_tokens(pool[name])
        clients[name] = LangChainClient(model, rebuilds.get(name))
    return clients
