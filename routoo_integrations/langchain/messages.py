"""LangChain's messages and replies in Routoo's words, and Routoo's marks on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    convert_to_openai_messages,
)
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from routoo_core.calling.attempt import Attempt
from routoo_core.money import decimal_usd
from routoo_core.usage import Usage

MARK = "routoo"  # our key in ``response_metadata``
_PORTABLE = frozenset({"text", "text-plain", "image", "audio", "video", "file"})
_FREE = {"cached": True, "held_usd": decimal_usd(0), "settled_usd": decimal_usd(0)}


# Messages on their way in


def in_openai_form(message: BaseMessage) -> list[dict[str, Any]]:
    """A message as the router reads it, with who wrote it; some become several."""
    plain = convert_to_openai_messages(message)
    said = [plain] if isinstance(plain, dict) else plain
    return [{**one, "expert": expert} for one in said] if (expert := author(message)) else said


def portable(messages: Sequence[BaseMessage], expert: str) -> list[BaseMessage]:
    """Messages without what only another expert can read: its reasoning, its signatures, its ids."""
    return [
        _without_bound_parts(message)
        if isinstance(message, AIMessage) and author(message) not in {None, expert}
        else message
        for message in messages
    ]


def author(message: BaseMessage) -> str | None:
    """The expert whose reply a message is, as its decision record says."""
    record = message.response_metadata.get(MARK)
    return record.get("expert") if isinstance(record, Mapping) else None


def _without_bound_parts(message: AIMessage) -> AIMessage:
    kept = [block for block in message.content_blocks if block["type"] in _PORTABLE]
    only_text = all(block["type"] == "text" for block in kept)
    content: Any = str(message.text) if only_text else [_plain(block) for block in kept]
    return AIMessage(content, tool_calls=message.tool_calls, name=message.name)


def _plain(block: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in block.items()
        if key not in {"id", "index", "annotations", "extras"}
    }


# Replies on their way out


def heard(reply: BaseMessage, attempt: Attempt) -> Usage | None:
    """Note the whole reply; return the usage it reports."""
    attempt.received(_said_in(reply))
    return usage_of(reply.usage_metadata if isinstance(reply, AIMessage) else None)


def stamp(reply: BaseMessage, attempt: Attempt) -> None:
    """Put the decision record where everybody looks for it."""
    reply.response_metadata = {**reply.response_metadata, MARK: attempt.record().to_dict()}


def note(
    chunk: ChatGenerationChunk, attempt: Attempt, usage: UsageMetadata | None
) -> UsageMetadata | None:
    """Note a chunk on its way to the caller; the last one is ours to send."""
    attempt.received(_said_in(chunk.message))
    if not isinstance(chunk.message, AIMessageChunk):
        return usage
    chunk.message.chunk_position = None
    reported = chunk.message.usage_metadata
    return add_usage(usage, reported) if reported else usage


def _said_in(message: BaseMessage) -> str:
    """Everything the expert wrote: text, and the arguments of tool calls."""
    calls = (
        message.tool_call_chunks
        if isinstance(message, AIMessageChunk)
        else getattr(message, "tool_calls", [])
    )
    return str(message.text) + "".join(str(call["args"]) for call in calls)


def usage_of(reported: UsageMetadata | None) -> Usage | None:
    """What a reply reports; ``None`` where it reports nothing."""
    if not reported:
        return None
    cached = reported.get("input_token_details", {}).get("cache_read") or 0
    return Usage(
        reported["input_tokens"], reported["output_tokens"], min(cached, reported["input_tokens"])
    )


def last_chunk(attempt: Attempt) -> ChatGenerationChunk:
    """What ends a stream: no text, and the decision record."""
    metadata = {MARK: attempt.record().to_dict()}
    return ChatGenerationChunk(
        message=AIMessageChunk(content="", chunk_position="last", response_metadata=metadata)
    )


def uncharged(generation: ChatGeneration) -> ChatGeneration:
    """A cached answer, whose record says that it cost nothing."""
    record = generation.message.response_metadata.get(MARK)
    if record is None:
        return generation
    metadata = {**generation.message.response_metadata, MARK: {**record, **_FREE}}
    message = generation.message.model_copy(update={"response_metadata": metadata})
    return generation.model_copy(update={"message": message})
