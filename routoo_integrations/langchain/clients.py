"""The LangChain model behind each expert, and how a call is said in its words."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from pydantic import SecretStr

from routoo_core.endpoint import NO_KEY
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.experts import Expert, Pool

QUIET: RunnableConfig = {"callbacks": []}  # the router's run is the only one a caller sees
_TRANSLATED = ("tools", "tool_choice", "response_format")
_TRACED = ("ls_structured_output_format", "structured_output_format")
_PROFILED = {
    "tool_calling": "tools",
    "structured_output": "json_schema",
    "image_inputs": "images",
    "audio_inputs": "audio",
    "pdf_inputs": "files",
    "video_inputs": "video",
}
"""What LangChain's model profiles call our capabilities."""


class RunnableChatModel(BaseChatModel):
    """Any runnable from messages to a message or text, as a chat model.

    A chain takes no arguments of a call; only models in disguise (with retries, with fallbacks) are passed them.
    """

    runnable: Runnable[Any, Any]

    @property
    def _llm_type(self) -> str:
        return "runnable"

    def _arguments(self, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        is_model = isinstance(self.runnable, RunnableBindingBase) or hasattr(
            self.runnable, "bind_tools"
        )
        return {**kwargs, "stop": stop} if is_model else {}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return _result(self.runnable.invoke(messages, QUIET, **self._arguments(stop, kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return _result(
            await self.runnable.ainvoke(messages, QUIET, **self._arguments(stop, kwargs))
        )

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in self.runnable.stream(messages, QUIET, **self._arguments(stop, kwargs)):
            yield _chunk(piece)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for piece in self.runnable.astream(messages, QUIET, **self._arguments(stop, kwargs)):
            yield _chunk(piece)


class Client:
    """The model that answers for an expert, with what its owner bound to it.

    Args:
        model: A chat model, or any runnable from messages to a message or text.

    Attributes:
        model: The chat model inside.
        bound: What its owner bound to it.
    """

    def __init__(self, model: Runnable[Any, Any]) -> None:
        self.model, self.bound = _unbound(model, {})

    def arguments(
        self, stop: list[str] | None, kwargs: Mapping[str, Any], max_tokens: int
    ) -> dict[str, Any]:
        """A call in OpenAI's words as this model's own arguments.

        Args:
            stop: Stop sequences.
            kwargs: ``tools``, ``tool_choice`` and ``response_format`` in OpenAI's form, and whatever else was bound.
            max_tokens: The limit on the reply.

        Raises:
            ConfigurationError: The model cannot be told in one call, whatever its expert's capabilities say.
        """
        rest = {"max_tokens": max_tokens, "stop": stop, **kwargs}
        said: dict[str, Any] = {key: rest.pop(key) for key in _TRANSLATED if key in rest}
        return {**self.bound, **self._in_own_words(said), **rest, "max_tokens": max_tokens}

    def generate(
        self,
        messages: list[BaseMessage],
        run_manager: CallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> ChatResult:
        """The whole reply."""
        if self.model.rate_limiter:
            self.model.rate_limiter.acquire(blocking=True)
        return self.model._generate(messages, run_manager=run_manager, **arguments)

    async def agenerate(
        self,
        messages: list[BaseMessage],
        run_manager: AsyncCallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> ChatResult:
        """:meth:`generate`, async."""
        if self.model.rate_limiter:
            await self.model.rate_limiter.aacquire(blocking=True)
        return await self.model._agenerate(messages, run_manager=run_manager, **arguments)

    def stream(
        self,
        messages: list[BaseMessage],
        run_manager: CallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> Generator[ChatGenerationChunk]:
        """The reply in chunks; of a model that cannot stream, in one."""
        if type(self.model)._stream is BaseChatModel._stream:
            yield _chunk(self.generate(messages, run_manager, arguments).generations[0].message)
            return
        if self.model.rate_limiter:
            self.model.rate_limiter.acquire(blocking=True)
        yield from self.model._stream(messages, run_manager=run_manager, **arguments)

    async def astream(
        self,
        messages: list[BaseMessage],
        run_manager: AsyncCallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> AsyncGenerator[ChatGenerationChunk]:
        """:meth:`stream`, async."""
        kind, base = type(self.model), BaseChatModel
        if kind._stream is base._stream and kind._astream is base._astream:
            yield _chunk(
                (await self.agenerate(messages, run_manager, arguments)).generations[0].message
            )
            return
        if self.model.rate_limiter:
            await self.model.rate_limiter.aacquire(blocking=True)
        async for chunk in self.model._astream(messages, run_manager=run_manager, **arguments):
            yield chunk

    def _in_own_words(self, said: Mapping[str, Any]) -> dict[str, Any]:
        said = {key: value for key, value in said.items() if value is not None}
        if said.get("tools"):
            return self._peeled(self.model.bind_tools(**said))
        form = said.get("response_format")
        if not form or _speaks_openai(self.model):
            return dict(said)
        if form["type"] == "json_schema":
            named = form["json_schema"]
            schema = {"title": named["name"], **named["schema"]}
            return self._peeled(self.model.with_structured_output(schema, method="json_schema"))
        return self._peeled(self.model.with_structured_output(None, method="json_mode"))  # type: ignore[arg-type]

    def _peeled(self, bound: Runnable[Any, Any]) -> dict[str, Any]:
        """The arguments that a model's own ``bind_tools`` or ``with_structured_output`` would call it with."""
        model, arguments = _unbound(
            bound.first if isinstance(bound, RunnableSequence) else bound, {}
        )
        if model is not self.model:
            name = type(self.model).__name__
            raise ConfigurationError(
                f"{name} wraps itself to be given tools or a schema; take 'tools' and 'json_schema' out of the "
                "capabilities of its expert"
            )
        return {key: value for key, value in arguments.items() if key not in _TRACED}


def build_client(expert: Expert) -> BaseChatModel:
    """The chat model that an expert's settings describe.

    Raises:
        MissingDependency: Its integration package is not installed.
    """
    settings: dict[str, Any] = {"timeout": expert.timeout_s, "max_retries": expert.max_retries}
    if expert.base_url:
        settings["base_url"] = expert.base_url
    if expert.provider:
        if key := expert.api_key():
            settings["api_key"] = key
        return _of_provider(expert.model, expert.provider, settings)
    try:
        from langchain_openai import ChatOpenAI
        from langchain_openai.chat_models.base import BaseChatOpenAI
    except ImportError as error:
        raise MissingDependency(
            "langchain_openai", "langchain", f"call expert {expert.name!r}"
        ) from error
    kind = ChatOpenAI if expert.speaks_openai_natively else BaseChatOpenAI
    return kind(
        model=expert.model,
        api_key=SecretStr(expert.api_key() or NO_KEY),
        stream_usage=True,
        **settings,
    )


def _of_provider(model: str, provider: str, settings: dict[str, Any]) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingDependency("langchain", "langchain", f"call {provider}:{model}") from error
    found: BaseChatModel = init_chat_model(model, model_provider=provider, **settings)
    return found


def settings_of(model: Any) -> dict[str, Any]:
    """What a chat model, or ``"provider:model"``, says of itself: an expert's settings."""
    if isinstance(model, str):
        provider, named, name = model.partition(":")
        if not named:
            raise ConfigurationError(
                f"experts: {model!r} is no chat model; write 'provider:model', as 'openai:gpt-4o'"
            )
        found = settings_of(_of_provider(name, provider, {}))
        return {**found, "client": None, "model": name, "provider": provider}
    settings: dict[str, Any] = {"client": model}
    inner, _ = _unbound(model, {}) if isinstance(model, Runnable) else (model, {})
    profile = getattr(inner, "profile", None) or {}
    capabilities = {ours for theirs, ours in _PROFILED.items() if profile.get(theirs)}
    if not profile and isinstance(inner, BaseChatModel):
        capabilities |= (
            {"tools"} if type(inner).bind_tools is not BaseChatModel.bind_tools else set()
        )
        capabilities |= {"json_schema"} if _speaks_openai(inner) else set()
    if window := profile.get("max_input_tokens"):
        settings["context_window"] = window
    limit = getattr(inner, "max_tokens", None) or profile.get("max_output_tokens")
    if isinstance(limit, int):
        settings["max_output_tokens"] = min(limit, window or limit)
    return {**settings, "capabilities": capabilities}


def profile_of(pool: Pool) -> ModelProfile:
    """What a pool can serve: a call that needs something goes to an expert that has it."""
    able = {name for expert in pool for name in expert.capabilities}
    return {
        "max_input_tokens": max(expert.context_window for expert in pool),
        "max_output_tokens": max(expert.max_output_tokens for expert in pool),
        "text_inputs": True,
        "text_outputs": True,
        **{theirs: ours in able for theirs, ours in _PROFILED.items()},  # type: ignore[typeddict-item]
    }


def _unbound(
    model: Runnable[Any, Any], arguments: dict[str, Any]
) -> tuple[BaseChatModel, dict[str, Any]]:
    """The chat model inside bindings, and what they bind, the outermost first."""
    while isinstance(model, RunnableBinding):
        arguments = {**model.kwargs, **arguments}
        model = model.bound
    return model if isinstance(model, BaseChatModel) else RunnableChatModel(
        runnable=model
    ), arguments


def _speaks_openai(model: BaseChatModel) -> bool:
    return any(kind.__name__ == "BaseChatOpenAI" for kind in type(model).__mro__)


def _result(reply: Any) -> ChatResult:
    message = message_chunk_to_message(reply) if isinstance(reply, AIMessageChunk) else reply
    message = AIMessage(message) if isinstance(message, str) else message
    return ChatResult(generations=[ChatGeneration(message=message)])


def _chunk(piece: Any) -> ChatGenerationChunk:
    if isinstance(piece, AIMessage) and not isinstance(piece, AIMessageChunk):
        piece = AIMessageChunk(**piece.model_dump(exclude={"type"}))
    return ChatGenerationChunk(
        message=AIMessageChunk(content=piece) if isinstance(piece, str) else piece
    )
