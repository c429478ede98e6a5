"""The LangChain model behind each expert: how it is built, what it says of itself, and how it is called."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    message_chunk_to_message,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from pydantic import SecretStr

from routoo_core.endpoint import AZURE, NO_KEY, Endpoint
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.experts import Expert, Pool
from routoo_integrations.building import (
    build_clients,
    read_reply_limit,
    without_parameters,
    without_reply_limits,
)
from routoo_integrations.langchain.connections import ModelConnections
from routoo_integrations.langchain.providers import check_package

QUIET: RunnableConfig = {"callbacks": []}  # the router's run is the only one a caller sees
_TRANSLATED = ("tools", "tool_choice", "response_format")
_END_MARKING_MODELS = frozenset(
    {
        "BaseChatOpenAI",
        "ChatAnthropic",
        "ChatBedrockConverse",
        "ChatGoogleGenerativeAI",
        "ChatMistralAI",
    }
)
"""Classes of models that hand on why a stream ended."""
_TRACED = ("ls_structured_output_format", "structured_output_format")
_PROFILE_FIELDS = {
    "tool_calling": "tools",
    "structured_output": "json_schema",
    "image_inputs": "images",
    "audio_inputs": "audio",
    "pdf_inputs": "files",
    "video_inputs": "video",
}
"""Field of LangChain's model profiles → our capability."""


class RunnableChatModel(BaseChatModel):
    """Any runnable from messages to a message or text, as a chat model.

    A chain takes no arguments of a call; only wrapped models (with retries, with fallbacks) are passed them.
    """

    runnable: Runnable[Any, Any]

    @property
    def _llm_type(self) -> str:
        return "runnable"

    def _arguments(self, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        is_model = isinstance(self.runnable, RunnableBindingBase)
        if is_model or hasattr(self.runnable, "bind_tools"):
            return {**kwargs, "stop": stop}
        return {}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return _as_result(self.runnable.invoke(messages, QUIET, **self._arguments(stop, kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        arguments = self._arguments(stop, kwargs)
        return _as_result(await self.runnable.ainvoke(messages, QUIET, **arguments))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for output in self.runnable.stream(messages, QUIET, **self._arguments(stop, kwargs)):
            yield _as_chunk(output)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        arguments = self._arguments(stop, kwargs)
        async for output in self.runnable.astream(messages, QUIET, **arguments):
            yield _as_chunk(output)


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
    """

    def __init__(
        self,
        model: Runnable[Any, Any],
        rebuild: Callable[[], BaseChatModel] | None = None,
        withheld: frozenset[str] = frozenset(),
    ) -> None:
        self.model, bound = _unwrap_bindings(model)
        self.bound = without_reply_limits(bound)
        self.bound_limit = read_reply_limit(bound)
        self._rebuild = rebuild
        self._withheld = withheld | _unsupported_by_profile(self.model)
        self._sparing_clients: dict[frozenset[str], LangChainClient] = {}
        self._connections = ModelConnections(self.model, rebuild)

    def without(self, parameters: frozenset[str]) -> LangChainClient:
        """The client of the same model that is not sent these arguments, whoever sets them."""
        if parameters <= self._withheld:
            return self
        client = self._sparing_clients.get(parameters)
        if client is None:
            client = self._make_sparing_client(parameters)
            self._sparing_clients[parameters] = client
        return client

    def _make_sparing_client(self, parameters: frozenset[str]) -> LangChainClient:
        rebuild = self._rebuild
        rebuild_sparing = None
        if rebuild is not None:
            rebuild_sparing = partial(_rebuild_without, rebuild, parameters)
        model = _without_fields(self.model, parameters)
        client = LangChainClient(model, rebuild_sparing, self._withheld | parameters)
        client.bound = self.bound
        client.bound_limit = self.bound_limit
        return client

    def arguments(
        self, stop: list[str] | None, keywords: Mapping[str, Any], max_tokens: int
    ) -> dict[str, Any]:
        """A call in OpenAI's form as this model's own arguments.

        Args:
            stop: Stop sequences.
            keywords: ``tools``, ``tool_choice`` and ``response_format`` in OpenAI's form, and whatever else was bound.
            max_tokens: The limit on the reply.

        Raises:
            ConfigurationError: The model takes no tools or schema with a call, whatever its expert's capabilities say.
        """
        openai_form: dict[str, Any] = {}
        rest: dict[str, Any] = {"stop": stop}
        for name, value in keywords.items():
            if name in _TRANSLATED:
                openai_form[name] = value
            else:
                rest[name] = value
        arguments = {**self.bound, **self._own_form(openai_form), **rest}
        arguments = without_parameters(arguments, self._withheld)
        return {**arguments, **self._limit_arguments(self.reply_limit(max_tokens))}

    def _limit_arguments(self, max_tokens: int) -> dict[str, Any]:
        """The limit on the reply, by the name that the endpoint takes."""
        if "max_tokens" in self._withheld:
            return {"max_completion_tokens": max_tokens}
        if "max_completion_tokens" in self._withheld and _speaks_openai(self.model):
            return {"extra_body": {"max_tokens": max_tokens}}  # ChatOpenAI renames the argument
        return {"max_tokens": max_tokens}

    @property
    def marks_stream_end(self) -> bool:
        """Whether the model says why its streams end: those that speak a provider's own protocol do."""
        return any(kind.__name__ in _END_MARKING_MODELS for kind in type(self.model).__mro__)

    def reply_limit(self, max_tokens: int) -> int:
        """The limit on a reply: the call's, or what its owner bound where that is less."""
        return min(max_tokens, self.bound_limit or max_tokens)

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
            yield _as_chunk(result.generations[0].message)
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
        if not self._streams() and not self._streams_async():
            result = await self.agenerate(messages, run_manager, arguments)
            yield _as_chunk(result.generations[0].message)
            return
        if self.model.rate_limiter:
            await self.model.rate_limiter.aacquire(blocking=True)
        model = self._connections.of_loop()
        async for chunk in model._astream(messages, run_manager=run_manager, **arguments):
            yield chunk

    def _streams(self) -> bool:
        return type(self.model)._stream is not BaseChatModel._stream

    def _streams_async(self) -> bool:
        return type(self.model)._astream is not BaseChatModel._astream

    def _own_form(self, openai_form: Mapping[str, Any]) -> dict[str, Any]:
        """Tools and response format as this model's own arguments."""
        keywords = {name: value for name, value in openai_form.items() if value is not None}
        if keywords.get("tools"):
            return self._bound_arguments(self.model.bind_tools(**keywords))
        response_format = keywords.get("response_format")
        if not response_format or _speaks_openai(self.model):
            return keywords
        if response_format["type"] == "json_schema":
            named_schema = response_format["json_schema"]
            schema = {"title": named_schema["name"], **named_schema["schema"]}
            structured = self.model.with_structured_output(schema, method="json_schema")
        else:
            structured = self.model.with_structured_output(cast("Any", None), method="json_mode")
        return self._bound_arguments(structured)

    def _bound_arguments(self, runnable: Runnable[Any, Any]) -> dict[str, Any]:
        """The arguments that a model's own ``bind_tools`` or ``with_structured_output`` would call it with."""
        if isinstance(runnable, RunnableSequence):
            runnable = runnable.first
        model, arguments = _unwrap_bindings(runnable)
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


def _without_fields(model: BaseChatModel, parameters: frozenset[str]) -> BaseChatModel:
    """A model that does not send these arguments by itself: a copy, unless none of its fields sets one."""
    changes: dict[str, Any] = {}
    for name in parameters:
        if name in type(model).model_fields and getattr(model, name) is not None:
            changes[name] = None
    if "stream_options" in parameters and hasattr(model, "stream_usage"):
        changes["stream_usage"] = False
    others = getattr(model, "model_kwargs", None)
    if others and parameters & set(others):
        changes["model_kwargs"] = without_parameters(others, parameters)
    return model.model_copy(update=changes) if changes else model


def _rebuild_without(
    rebuild: Callable[[], BaseChatModel], parameters: frozenset[str]
) -> BaseChatModel:
    return _without_fields(rebuild(), parameters)


# Models from an expert's settings


def make_clients(pool: Pool, settings: Mapping[str, Any]) -> dict[str, LangChainClient]:
    """The client of every expert; see :func:`~routoo_integrations.building.build_clients`."""
    rebuilds: dict[str, Callable[[], BaseChatModel]] = {}

    def build(expert: Expert) -> BaseChatModel:
        rebuilds[expert.name] = partial(build_chat_model, expert)
        return build_chat_model(expert)

    clients = {}
    for name, model in build_clients(pool, Runnable, build, settings).items():
        clients[name] = LangChainClient(model, rebuilds.get(name))
    return clients


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
    return _init_chat_model(expert.model, expert.provider or "", settings)


def _connection(expert: Expert) -> dict[str, Any]:
    settings: dict[str, Any] = {"timeout": expert.timeout_s, "max_retries": expert.max_retries}
    if expert.base_url:
        settings["base_url"] = expert.base_url
    return settings


def _init_chat_model(model: str, provider: str, settings: Mapping[str, Any]) -> BaseChatModel:
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


# What models say of themselves


def describe_model(model: Any) -> dict[str, Any]:
    """What a chat model, or ``"provider:model"``, says of itself: an expert's settings.

    Raises:
        ConfigurationError: A text that is no ``"provider:model"``.
    """
    if isinstance(model, str):
        return _describe_named_model(model)
    chat_model, bound = _unwrap_bindings(model) if isinstance(model, Runnable) else (model, {})
    profile = getattr(chat_model, "profile", None) or {}
    settings: dict[str, Any] = {
        "client": model,
        "capabilities": _capabilities(chat_model, profile),
    }
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
    settings = describe_model(_init_chat_model(model, provider, {}))
    return {**settings, "client": None, "model": model, "provider": provider}


def _capabilities(chat_model: Any, profile: Mapping[str, Any]) -> set[str]:
    """What a model can do: by its profile, else by its methods."""
    capabilities = set()
    for profile_field, capability in _PROFILE_FIELDS.items():
        if profile.get(profile_field):
            capabilities.add(capability)
    if profile or not isinstance(chat_model, BaseChatModel):
        return capabilities
    if type(chat_model).bind_tools is not BaseChatModel.bind_tools:
        capabilities.add("tools")
    if _speaks_openai(chat_model):
        capabilities.add("json_schema")
    return capabilities


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


def _unwrap_bindings(model: Runnable[Any, Any]) -> tuple[BaseChatModel, dict[str, Any]]:
    """The chat model inside bindings, and what they bind, the outermost first."""
    arguments: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        arguments = {**model.kwargs, **arguments}
        model = model.bound
    if isinstance(model, BaseChatModel):
        return model, arguments
    return RunnableChatModel(runnable=model), arguments


def _speaks_openai(model: BaseChatModel) -> bool:
    return any(kind.__name__ == "BaseChatOpenAI" for kind in type(model).__mro__)


# Outputs of runnables as chat results


def _as_result(output: Any) -> ChatResult:
    if isinstance(output, AIMessageChunk):
        output = message_chunk_to_message(output)
    elif isinstance(output, str):
        output = AIMessage(output)
    return ChatResult(generations=[ChatGeneration(message=output)])


def _as_chunk(output: Any) -> ChatGenerationChunk:
    if isinstance(output, ChatGenerationChunk):
        return output
    if isinstance(output, str):
        return ChatGenerationChunk(message=AIMessageChunk(content=output))
    if isinstance(output, AIMessage) and not isinstance(output, AIMessageChunk):
        output = AIMessageChunk(**output.model_dump(exclude={"type"}))
    return ChatGenerationChunk(message=output)
