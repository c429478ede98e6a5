"""Structured output by the providers' own schemas, beside LlamaIndex's ways."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

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


class SchemaLLM(FunctionCallingLLM):
    """Fills objects by their schema, sent as ``response_format``, where :meth:`_by_schema`; else as LlamaIndex does."""

    def _by_schema(self) -> bool:
        raise NotImplementedError

    @dispatcher.span
    def structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """An object of ``output_cls``."""
        if not self._by_schema():
            return super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        dispatcher.event(_start(output_cls, prompt, prompt_args))
        messages, arguments = self._asked_for(output_cls, prompt, llm_kwargs, prompt_args)
        return _parsed(output_cls, self.chat(messages, **arguments))

    @dispatcher.span
    async def astructured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """:meth:`structured_predict`, async."""
        if not self._by_schema():
            return await super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        dispatcher.event(_start(output_cls, prompt, prompt_args))
        messages, arguments = self._asked_for(output_cls, prompt, llm_kwargs, prompt_args)
        return _parsed(output_cls, await self.achat(messages, **arguments))

    def _structured_stream_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        if not self._by_schema():
            yield from super()._structured_stream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
            return
        messages, arguments = self._asked_for(output_cls, prompt, llm_kwargs, prompt_args)
        known = None
        for piece in self.stream_chat(messages, **arguments):
            known = process_streaming_content_incremental(piece, output_cls, known)
            yield known

    async def _structured_astream_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        if not self._by_schema():
            return await super()._structured_astream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        messages, arguments = self._asked_for(output_cls, prompt, llm_kwargs, prompt_args)

        async def objects() -> AsyncGenerator[Any, None]:
            known = None
            async for piece in await self.astream_chat(messages, **arguments):
                known = process_streaming_content_incremental(piece, output_cls, known)
                yield known

        return objects()

    def _asked_for(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> tuple[list[ChatMessage], dict[str, Any]]:
        function = pydantic_function_tool(output_cls)["function"]
        form = {"name": function["name"], "strict": True, "schema": function["parameters"]}
        arguments = {
            **(llm_kwargs or {}),
            "response_format": {"type": "json_schema", "json_schema": form},
        }
        arguments.pop("tool_choice", None)
        return self._get_messages(prompt, **prompt_args), arguments


def _start(
    output_cls: type[BaseModel], prompt: PromptTemplate, values: dict[str, Any]
) -> BaseEvent:
    return LLMStructuredPredictStartEvent(
        output_cls=output_cls, template=prompt, template_args=values
    )


def _parsed(output_cls: type[BaseModel], response: ChatResponse) -> BaseModel:
    found = output_cls.model_validate_json(str(response.message.content))
    dispatcher.event(LLMStructuredPredictEndEvent(output=found))
    return found
