"""Structured output: what is bound to a model so that its replies have a form, and what reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage, BaseMessageChunk
from langchain_core.output_parsers import (
    BaseCumulativeTransformOutputParser,
    BaseOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from routoo_core.errors import ReplyRefused
from routoo_core.experts import Pool
from routoo_integrations.langchain.messages import answering_expert, refusal_text
from routoo_integrations.langchain.tools import json_schema_format

Method = Literal["function_calling", "json_schema", "json_mode"]

_TOOL_CHOICES = frozenset({"auto", "any", "required", "none"})


def check_tool_choice(tool_choice: str, tools: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a choice that is neither a mode nor a tool.

    Raises:
        ValueError: It is none of them.
    """
    names = [tool["function"]["name"] for tool in tools if "function" in tool]
    if tool_choice in _TOOL_CHOICES or tool_choice in names:
        return
    choices = ", ".join([*sorted(_TOOL_CHOICES), *names])
    raise ValueError(f"tool_choice: {tool_choice!r} is none of {choices}")


@dataclass(frozen=True)
class OutputForm:
    """The form that replies shall have.

    Attributes:
        schema: A Pydantic or TypedDict class, or a JSON schema; optional for ``json_mode``.
        method: How it is asked for.
        strict: Whether the provider must keep to the schema.
        keywords: Passed to the experts.

    Raises:
        ValueError: Unknown method, or no schema for a method that needs one.
    """

    schema: dict[str, Any] | type | None
    method: Method
    strict: bool | None = None
    keywords: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in {"function_calling", "json_schema", "json_mode"}:
            raise ValueError(
                f"method: {self.method!r} is none of function_calling, json_schema, json_mode"
            )
        if self.schema is None and self.method != "json_mode":
            raise ValueError(
                f"schema: needed for method {self.method!r}; give one, or use method='json_mode'"
            )

    def bind_to(self, model: BaseChatModel) -> Runnable[LanguageModelInput, Any]:
        """The model, asked for this form in every call."""
        trace = {
            "kwargs": {"method": self.method, "strict": self.strict},
            "schema": self.schema,
        }
        if self.method != "function_calling":
            return model.bind(
                response_format=self._response_format(),
                ls_structured_output_format=trace,
                **self.keywords,
            )
        schema = cast("type", self.schema)
        return model.bind_tools(
            [schema],
            tool_choice=convert_to_openai_tool(schema)["function"]["name"],
            strict=self.strict,
            ls_structured_output_format=trace,
            **self.keywords,
        )

    def parser(self) -> BaseOutputParser[Any]:
        """What reads a reply of this form."""
        schema = cast("Any", self.schema)
        is_pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
        if self.method != "function_calling":
            return PydanticParser(pydantic_object=schema) if is_pydantic else JsonParser()
        if is_pydantic:
            return PydanticCallParser(tools=[schema], first_tool_only=True)
        name = convert_to_openai_tool(schema)["function"]["name"]
        return JsonCallParser(key_name=name, first_tool_only=True)

    def _response_format(self) -> dict[str, Any]:
        """OpenAI's ``response_format``."""
        if self.method == "json_mode":
            return {"type": "json_object"}
        return json_schema_format(self.schema, self.strict)


# What reads replies: LangChain's parsers, for which a refusal is a refusal


class _RefusalParser(BaseCumulativeTransformOutputParser[Any]):
    """A parser that raises ``ReplyRefused`` where the expert refused to answer: of a stream, at its end."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        generation = result[0]
        if not partial and isinstance(generation, ChatGeneration):
            _check_refusal(generation.message)
        return super().parse_result(result, partial=partial)

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:  # noqa: A002
        return super()._transform(_check_stream(input))

    async def _atransform(
        self,
        input: AsyncIterator[str | BaseMessage],  # noqa: A002
    ) -> AsyncIterator[Any]:
        async for partial in super()._atransform(_check_astream(input)):
            yield partial


class PydanticParser(_RefusalParser, PydanticOutputParser[Any]):
    """Reads a text as an object."""


class JsonParser(_RefusalParser, JsonOutputParser):
    """Reads a text as JSON."""


class PydanticCallParser(_RefusalParser, PydanticToolsParser):
    """Reads the arguments of a call as an object."""


class JsonCallParser(_RefusalParser, JsonOutputKeyToolsParser):
    """Reads the arguments of a call as JSON."""


def _check_stream(chunks: Iterator[str | BaseMessage]) -> Iterator[str | BaseMessage]:
    """The chunks of a reply, then an error where they are a refusal."""
    reply = None
    for chunk in chunks:
        yield chunk
        reply = _add_chunk(reply, chunk)
    if reply is not None:
        _check_refusal(reply)


async def _check_astream(
    chunks: AsyncIterator[str | BaseMessage],
) -> AsyncIterator[str | BaseMessage]:
    """:func:`_check_stream`, async."""
    reply = None
    async for chunk in chunks:
        yield chunk
        reply = _add_chunk(reply, chunk)
    if reply is not None:
        _check_refusal(reply)


def _add_chunk(reply: BaseMessage | None, chunk: str | BaseMessage) -> BaseMessage | None:
    """What a reply is with one more chunk of it."""
    if isinstance(reply, BaseMessageChunk) and isinstance(chunk, BaseMessageChunk):
        return reply + chunk
    return chunk if isinstance(chunk, BaseMessage) else reply


def _check_refusal(reply: BaseMessage) -> None:
    """Let through what is no refusal.

    Raises:
        ReplyRefused: The expert refused.
    """
    refusal = refusal_text(reply)
    if refusal:
        raise ReplyRefused(answering_expert(reply), refusal)


def preferred_method(pool: Pool) -> Method:
    """A schema or a tool, whichever more experts of a pool can do."""
    with_schema = 0
    with_tools = 0
    for expert in pool:
        with_schema += "json_schema" in expert.capabilities
        with_tools += "tools" in expert.capabilities
    return "json_schema" if with_schema >= with_tools else "function_calling"


def structured_model(
    model: BaseChatModel, form: OutputForm, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """A model whose replies have a form.

    Args:
        model: The model.
        form: The form.
        include_raw: Return ``{"raw": message, "parsed": …, "parsing_error": …}`` and raise no parsing error. A refusal
            is one.
    """
    bound = form.bind_to(model)
    parser = form.parser()
    if not include_raw:
        return bound | parser
    parse = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    fallback = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parse.with_fallbacks([fallback], exception_key="parsing_error")
