"""LlamaIndex's messages as the router reads them, and the mark that Routoo leaves on messages and responses.

The mark stands under one key of ``additional_kwargs``. On a whole response, and on the last piece of a stream, it is
the decision record; on the other pieces it names the expert. A message carries the few fields of it that a conversation
needs later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import is_
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    ChatResponse,
    CitableBlock,
    CitationBlock,
    CompletionResponse,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic import BaseModel

from routoo_core.record import DecisionRecord
from routoo_core.text import well_formed_value
from routoo_integrations.llama_index.tools import tool_call_block

MARK_KEY = "routoo"
"""The key of the mark in ``additional_kwargs``."""

_REMEMBERED_FIELDS = ("expert", "model", "settled_usd")
"""Fields of the decision record that a message carries; memories count the tokens of each."""
_ROLES_IN_OPENAI_FORM = {"chatbot": "assistant", "model": "assistant"}
_MEDIA_FIELDS = {"image": "image", "audio": "audio", "video": "video", "document": "data"}
"""Type of a block → its field with the encoded data."""
_QUESTION_VARIABLES = ("query_str", "question", "query")
"""What LlamaIndex's templates call the question."""
_PROVIDER_BLOCKS = (ThinkingBlock, CitationBlock, CachePoint)
"""Blocks that only the provider that wrote them can read."""


# Messages on their way in


def router_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Messages as the router reads them: in OpenAI's form, each with the expert or the question its mark names."""
    return [_router_message(message) for message in messages]


def _router_message(message: ChatMessage) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in message.blocks:
        parts.extend(_content_parts(block))
        if isinstance(block, ToolCallBlock):
            calls.append(block.model_dump())
    role = message.role.value
    mark = read_mark(message)
    return {
        "role": _ROLES_IN_OPENAI_FORM.get(role, role),
        "content": parts,
        "tool_calls": calls or message.additional_kwargs.get("tool_calls"),
        "expert": mark.get("expert"),
        "plan": mark.get("plan"),
        "question": mark.get("question"),
    }


def _content_parts(block: Any) -> Iterator[dict[str, Any]]:
    """The content parts that a block becomes: usually one, none for what is no content."""
    if isinstance(block, TextBlock):
        yield {"type": "text", "text": block.text}
    elif isinstance(block, CitableBlock):
        for inner_block in block.content:
            yield from _content_parts(inner_block)
    elif isinstance(block, ThinkingBlock):
        yield {"type": "thinking", "thinking": block.content}
    elif not isinstance(block, ToolCallBlock | CachePoint):
        yield _media_part(block)


def _media_part(block: Any) -> dict[str, Any]:
    if block.block_type not in _MEDIA_FIELDS:
        fields: dict[str, Any] = block.model_dump()
        return {"type": block.block_type, **fields}
    part = {"type": block.block_type}
    data = getattr(block, _MEDIA_FIELDS[block.block_type], None)
    if isinstance(data, bytes):
        part["data"] = data.decode(errors="replace")
    return part


def mark_template_question(
    messages: Sequence[ChatMessage], variables: Mapping[str, Any]
) -> list[ChatMessage]:
    """Messages of a template; the last user message is marked with the question that the template was filled with."""
    new_messages = list(messages)
    question = _template_question(variables)
    if question is None or not messages:
        return new_messages
    last = messages[-1]
    if last.role.value == "user":
        new_messages[-1] = marked_message(last, {"question": question})
    return new_messages


def _template_question(variables: Mapping[str, Any]) -> str | None:
    for name in _QUESTION_VARIABLES:
        value = variables.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


# Messages on their way to an expert


def portable_chat_messages(messages: Sequence[ChatMessage], expert: str) -> list[ChatMessage]:
    """Messages without our marks, and without what only another expert can read: its reasoning, its objects.

    Lone surrogates in them, which no provider can be sent, become U+FFFD.
    """
    portable = []
    for message in messages:
        if MARK_KEY in message.additional_kwargs:
            message = _portable_chat_message(message, expert)
        portable.append(_well_formed(message))
    return portable


def _well_formed(value: Any) -> Any:
    """A message, a block of one or a value in it, without lone surrogates; the same object where it has none."""
    if isinstance(value, list):
        items = [_well_formed(item) for item in value]
        is_same = all(map(is_, items, value))
        return value if is_same else items
    if not isinstance(value, BaseModel):
        return well_formed_value(value)

    changes = {}
    for name, field_value in value.__dict__.items():
        new_value = _well_formed(field_value)
        if new_value is not field_value:
            changes[name] = new_value
    return value.model_copy(update=changes) if changes else value


def _portable_chat_message(message: ChatMessage, expert: str) -> ChatMessage:
    additional_kwargs = dict(message.additional_kwargs)
    del additional_kwargs[MARK_KEY]
    author = read_mark(message).get("expert")
    if author is None or author == expert:
        return message.model_copy(update={"additional_kwargs": additional_kwargs})

    blocks = []
    call_ids = set()
    for block in message.blocks:
        if not isinstance(block, _PROVIDER_BLOCKS):
            blocks.append(block)
        if isinstance(block, ToolCallBlock):
            call_ids.add(block.tool_call_id)
    for call in additional_kwargs.get("tool_calls") or ():
        call_block = tool_call_block(call)
        if call_block.tool_call_id not in call_ids:
            blocks.append(call_block)
    return ChatMessage(role=message.role, blocks=blocks)


# The mark


def read_mark(message: ChatMessage | ChatResponse | CompletionResponse) -> Mapping[str, Any]:
    """The mark of a message or response; empty where it has none."""
    mark = message.additional_kwargs.get(MARK_KEY)
    return mark if isinstance(mark, Mapping) else {}


def marked_message(message: ChatMessage, mark: Mapping[str, Any]) -> ChatMessage:
    """A copy of the message with this mark."""
    additional_kwargs = {**message.additional_kwargs, MARK_KEY: dict(mark)}
    return message.model_copy(update={"additional_kwargs": additional_kwargs})


def mark_response(response: ChatResponse | CompletionResponse, mark: Mapping[str, Any]) -> None:
    """Put a mark on a response, or on a piece of one, in place."""
    additional_kwargs = {**response.additional_kwargs, MARK_KEY: dict(mark)}
    response.additional_kwargs = additional_kwargs


def stamp_response(response: ChatResponse | CompletionResponse, record: DecisionRecord) -> None:
    """Mark a response with its decision record, and its message with what a conversation needs of it."""
    mark = record.to_dict()
    mark_response(response, mark)
    if isinstance(response, ChatResponse):
        memory = {name: mark[name] for name in _REMEMBERED_FIELDS}
        if record.plan is not None:
            memory["plan"] = record.plan
        response.message = marked_message(response.message, memory)


def response_expert(response: ChatResponse) -> str | None:
    """The expert that gave a response, or a piece of one; ``None`` where neither it nor its message says."""
    mark = read_mark(response) or read_mark(response.message)
    return mark.get("expert")
