"""Structured output by the providers' own schemas, beside LlamaIndex's ways."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, closing
from typing import Any, NamedTuple

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.program.streaming_utils import process_streaming_content_incremental
from llama_index.core.prompts import PromptTemplate
from openai import pydantic_function_tool
from pydantic import BaseModel

from routoo_integrations.llama_index.events import dispatcher
from routoo_integrations.llama_index.refusals import RefusalWatch


class SchemaCall(NamedTuple):
    """A chat that answers with an object.

    Attributes:
        messages: The filled template.
        keywords: Keyword arguments of the chat, among them the schema.
    """

    messages: list[ChatMessage]
    keywords: dict[str, Any]


class SchemaLLM(FunctionCallingLLM):
    """Fills objects by their schema, sent as ``response_format``, if :meth:`_uses_schemas`; else as LlamaIndex does."""

    def _uses_schemas(self) -> bool:
        raise NotImplementedError

    @dispatcher.span
    def structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """An object of ``output_cls``.

        Raises:
            ReplyRefused: The expert refused to answer.
        """
        with RefusalWatch().calls():
            if not self._uses_schemas():
                return super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)

            dispatcher.event(_start_event(output_cls, prompt, prompt_args))
            call = self._schema_call(output_cls, prompt, llm_kwargs, prompt_args)
            response = self.chat(call.messages, **call.keywords)
            return _parse_object(output_cls, response)

    @dispatcher.span
    async def astructured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """:meth:`structured_predict`, async."""
        with RefusalWatch().calls():
            if not self._uses_schemas():
                return await super().astructured_predict(
                    output_cls, prompt, llm_kwargs, **prompt_args
                )

            dispatcher.event(_start_event(output_cls, prompt, prompt_args))
            call = self._schema_call(output_cls, prompt, llm_kwargs, prompt_args)
            response = await self.achat(call.messages, **call.keywords)
            return _parse_object(output_cls, response)

    def _structured_stream_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        watch = RefusalWatch()
        with closing(self._objects(output_cls, prompt, llm_kwargs, prompt_args)) as objects:
            while True:
                with watch.calls():  # at a yield, the context is the consumer's
                    try:
                        partial = next(objects)
                    except StopIteration:
                        break
                yield partial
        watch.check()

    def _objects(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> Generator[Any, None, None]:
        """An object that fills while it is streamed."""
        if not self._uses_schemas():
            yield from super()._structured_stream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
            return

        call = self._schema_call(output_cls, prompt, llm_kwargs, prompt_args)
        partial = None
        for piece in self.stream_chat(call.messages, **call.keywords):
            partial = process_streaming_content_incremental(piece, output_cls, partial)
            yield partial

    async def _structured_astream_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        watch = RefusalWatch()
        objects = self._aobjects(output_cls, prompt, llm_kwargs, prompt_args)

        async def watched_objects() -> AsyncGenerator[Any, None]:
            async with aclosing(objects):
                while True:
                    with watch.calls():
                        try:
                            partial = await anext(objects)
                        except StopAsyncIteration:
                            break
                    yield partial
            watch.check()

        return watched_objects()

    async def _aobjects(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> AsyncGenerator[Any, None]:
        """:meth:`_objects`, async."""
        if not self._uses_schemas():
            objects = await super()._structured_astream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
            async for partial_object in objects:
                yield partial_object
            return

        call = self._schema_call(output_cls, prompt, llm_kwargs, prompt_args)
        partial = None
        async for piece in await self.astream_chat(call.messages, **call.keywords):
            partial = process_streaming_content_incremental(piece, output_cls, partial)
            yield partial

    def _schema_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: Mapping[str, Any] | None,
        prompt_args: Mapping[str, Any],
    ) -> SchemaCall:
        function = pydantic_function_tool(output_cls)["function"]
        json_schema = {
            "name": function["name"],
            "strict": True,
            "schema": function["parameters"],
        }
        keywords = dict(llm_kwargs or {})
        keywords["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        keywords.pop("tool_choice", None)
        return SchemaCall(self._get_messages(prompt, **prompt_args), keywords)


def _start_event(
    output_cls: type[BaseModel], prompt: PromptTemplate, prompt_args: Mapping[str, Any]
) -> BaseEvent:
    return LLMStructuredPredictStartEvent(
        output_cls=output_cls, template=prompt, template_args=dict(prompt_args)
    )


def _parse_object(output_cls: type[BaseModel], response: ChatResponse) -> BaseModel:
    output = output_cls.model_validate_json(str(response.message.content))
    dispatcher.event(LLMStructuredPredictEndEvent(output=output))
    return output
