"""LangChain's messages in OpenAI's form, what of them another expert can read, and the mark on replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ContentBlock,
    convert_to_openai_messages,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from routoo_core.errors import InvalidRequest
from routoo_core.money import decimal_usd
from routoo_core.record import DecisionRecord

RECORD_KEY = "routoo"
"""Where a reply's ``response_metadata`` holds its decision record."""

_PORTABLE_BLOCKS = frozenset({"text", "text-plain", "image", "audio", "video", "file"})
_BOUND_FIELDS = frozenset({"id", "index", "annotations", "extras"})
"""Fields of a content block that only the provider that wrote it can read."""


# Messages on their way in


def openai_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Messages as the router reads them, in OpenAI's form; an expert's reply says whose it is.

    Raises:
        InvalidRequest: One has a form that cannot be converted.
    """
    converted: list[dict[str, Any]] = []
    for message in messages:
        try:
            plain = convert_to_openai_messages(message)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InvalidRequest(f"messages: {error}") from error
        parts = [plain] if isinstance(plain, dict) else plain
        expert = answering_expert(message)
        if expert:
            parts = [{**part, "expert": expert} for part in parts]
        converted += parts
    return converted


def portable_messages(messages: Sequence[BaseMessage], expert: str) -> list[BaseMessage]:
    """Messages without what only another expert can read: its reasoning, its signatures, its ids."""
    portable: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, AIMessage) and answering_expert(message) not in {None, expert}:
            message = _without_bound_parts(message)
        portable.append(message)
    return portable


def answering_expert(message: BaseMessage) -> str | None:
    """The expert whose reply a message is, as its decision record says."""
    record = message.response_metadata.get(RECORD_KEY)
    return record.get("expert") if isinstance(record, Mapping) else None


def _without_bound_parts(message: AIMessage) -> AIMessage:
    blocks = [block for block in message.content_blocks if block["type"] in _PORTABLE_BLOCKS]
    content: Any = str(message.text)
    if any(block["type"] != "text" for block in blocks):
        content = [_without_bound_fields(block) for block in blocks]
    return AIMessage(content, tool_calls=message.tool_calls, name=message.name)


def _without_bound_fields(block: ContentBlock) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name not in _BOUND_FIELDS}


# Replies on their way out


def written_text(message: BaseMessage) -> str:
    """Everything the expert wrote in a message or chunk: text, and the arguments of tool calls."""
    calls: Sequence[Any] = getattr(message, "tool_calls", [])
    if isinstance(message, AIMessageChunk):
        calls = message.tool_call_chunks
    text = str(message.text)
    for call in calls:
        text += str(call["args"])
    return text


def stamp_message(message: BaseMessage, record: DecisionRecord) -> None:
    """Put the decision record into the message's ``response_metadata``."""
    message.response_metadata = {**message.response_metadata, RECORD_KEY: record.to_dict()}


def closing_chunk(record: DecisionRecord) -> ChatGenerationChunk:
    """The chunk that ends a stream: no text, and the decision record."""
    message = AIMessageChunk(
        content="", chunk_position="last", response_metadata={RECORD_KEY: record.to_dict()}
    )
    return ChatGenerationChunk(message=message)


def uncharged(generation: ChatGeneration) -> ChatGeneration:
    """An answer from a cache, whose record says that it cost nothing."""
    record = generation.message.response_metadata.get(RECORD_KEY)
    if record is None:
        return generation
    nothing = decimal_usd(0)
    cached = {
        **record,
        "cached": True,
        "held_usd": nothing,
        "settled_usd": nothing,
        "attempts": [],
        "total_usd": nothing,
    }
    metadata = {**generation.message.response_metadata, RECORD_KEY: cached}
    message = generation.message.model_copy(update={"response_metadata": metadata})
    return generation.model_copy(update={"message": message})
