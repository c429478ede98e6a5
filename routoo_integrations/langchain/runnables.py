"""Any runnable from messages to a message or text, as a chat model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    message_chunk_to_message,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase

from routoo_integrations.connections import is_a

_LIMITS = ("max_tokens", "max_completion_tokens")

QUIET: RunnableConfig = {"callbacks": []}
"""The router's run is the only one that a caller sees."""


class RunnableChatModel(BaseChatModel):
    """Any runnable from messages to a message or text, as a chat model.

    A chain takes no arguments of a call but the limit on its reply, which its models get; wrapped models (with retries,
    with fallbacks) are passed all of them.
    """

    runnable: Runnable[Any, Any]

    @property
    def _llm_type(self) -> str:
        return "runnable"

    def _call(
        self, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[Runnable[Any, Any], dict[str, Any]]:
        """What to call, and with what arguments."""
        is_model = isinstance(self.runnable, RunnableBindingBase)
        if is_model or hasattr(self.runnable, "bind_tools"):
            return self.runnable, {**kwargs, "stop": stop}
        limits = {name: kwargs[name] for name in _LIMITS if name in kwargs}
        return _with_limits(self.runnable, limits), {}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        runnable, arguments = self._call(stop, kwargs)
        return as_result(runnable.invoke(messages, QUIET, **arguments))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        runnable, arguments = self._call(stop, kwargs)
        return as_result(await runnable.ainvoke(messages, QUIET, **arguments))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        runnable, arguments = self._call(stop, kwargs)
        for output in runnable.stream(messages, QUIET, **arguments):
            yield as_chunk(output)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        runnable, arguments = self._call(stop, kwargs)
        async for output in runnable.astream(messages, QUIET, **arguments):
            yield as_chunk(output)


def _with_limits(runnable: Runnable[Any, Any], limits: Mapping[str, Any]) -> Runnable[Any, Any]:
    """A chain whose models keep to the limits on the reply."""
    if isinstance(runnable, RunnableSequence):
        return RunnableSequence(*[_with_limits(step, limits) for step in runnable.steps])
    if isinstance(runnable, BaseChatModel | RunnableBinding):
        return runnable.bind(**limits)
    return runnable


def unwrap_bindings(model: Runnable[Any, Any]) -> tuple[BaseChatModel, dict[str, Any]]:
    """The chat model inside bindings, and what they bind, the outermost first."""
    arguments: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        arguments = {**model.kwargs, **arguments}
        model = model.bound
    if isinstance(model, BaseChatModel):
        return model, arguments
    return RunnableChatModel(runnable=model), arguments


def speaks_openai(model: BaseChatModel) -> bool:
    """Whether a model is one of LangChain's for OpenAI's protocol."""
    return is_a(model, "BaseChatOpenAI")


def as_result(output: Any) -> ChatResult:
    """A runnable's output as a whole reply."""
    if isinstance(output, AIMessageChunk):
        output = message_chunk_to_message(output)
    elif isinstance(output, str):
        output = AIMessage(output)
    return ChatResult(generations=[ChatGeneration(message=output)])


def as_chunk(output: Any) -> ChatGenerationChunk:
    """A runnable's output as a chunk of a reply; a whole message is the last one."""
    if isinstance(output, ChatGenerationChunk):
        return output
    if isinstance(output, str):
        return ChatGenerationChunk(message=AIMessageChunk(content=output))
    if isinstance(output, AIMessage) and not isinstance(output, AIMessageChunk):
        fields = output.model_dump(exclude={"type"})
        output = AIMessageChunk(**fields, chunk_position="last")
    return ChatGenerationChunk(message=output)
