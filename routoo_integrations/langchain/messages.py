"""LangChain's messages in OpenAI's form, what of them another expert can read, and the mark on replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.language_models import LangSmithParams
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ContentBlock,
)
from langchain_core.outputs import ChatGeneration

from routoo_core.money import decimal_usd
from routoo_core.record import DecisionRecord
from routoo_core.text import well_formed_value

MessageT = TypeVar("MessageT", bound=BaseMessage)

RECORD_KEY = "routoo"
"""Where a reply's ``response_metadata`` holds its decision record."""
GATEWAY_KEY = "lc_gateway_metadata"
"""Where LangChain's tracers look for the model behind a gateway, in a reply's ``generation_info``."""

_ROLES = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "model": "assistant",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
    "FunctionMessageChunk": "function",
}
"""Type of a message, or role of a ``ChatMessage``, → its role in OpenAI's form; any other stays as it is."""
_CALL_BLOCKS = frozenset({"tool_use", "tool_call", "invalid_tool_call", "function_call"})
_TEXT_FIELDS = (
    "content",
    "tool_calls",
    "invalid_tool_calls",
    "additional_kwargs",
    "name",
    "tool_call_id",
)
"""Fields of a message that are sent."""
_PORTABLE_BLOCKS = frozenset({"text", "text-plain", "image", "audio", "video", "file"})
_BOUND_FIELDS = frozenset({"id", "index", "annotations", "extras"})
"""Fields of a content block that only the provider that wrote it can read."""


# Messages on their way in


def openai_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Messages as the router reads them, in OpenAI's form; an expert's reply says whose it is.

    Content stays as it is, whatever its form: the expert's own integration converts it.
    """
    return [_openai_message(message) for message in messages]


def _openai_message(message: BaseMessage) -> dict[str, Any]:
    role = message.role if isinstance(message, ChatMessage) else message.type
    plain: dict[str, Any] = {"role": _ROLES.get(role, role), "content": message.content}
    if isinstance(message, AIMessage):
        calls = _tool_calls(message)
        if calls:
            plain["tool_calls"] = calls
            plain["content"] = _without_calls(message.content)
    if message.response_metadata:
        record = decision_record(message)
        plain["expert"] = record.get("expert")
        plain["plan"] = record.get("plan")
    return plain


def _tool_calls(message: AIMessage) -> list[Any]:
    """All calls of tools in a message, also those that could not be parsed."""
    calls: list[Any] = [*message.tool_calls, *message.invalid_tool_calls]
    return calls or message.additional_kwargs.get("tool_calls") or []


def _without_calls(content: str | list[Any]) -> str | list[Any]:
    """Content without the parts that say calls of tools a second time."""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") not in _CALL_BLOCKS:
            parts.append(part)
    return parts


def portable_messages(messages: Sequence[BaseMessage], expert: str) -> list[BaseMessage]:
    """Messages without what only another expert can read: its reasoning, its signatures, its ids; all well formed."""
    portable: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, AIMessage) and answering_expert(message) not in {None, expert}:
            message = _without_bound_parts(message)
        portable.append(well_formed_message(message))
    return portable


def well_formed_message(message: MessageT) -> MessageT:
    """A message without lone surrogates, which no provider can be sent; the same object where it has none."""
    changes = {}
    fields = message.__dict__
    for name in _TEXT_FIELDS:
        value = fields.get(name)
        if value:
            new_value = well_formed_value(value)
            if new_value is not value:
                changes[name] = new_value
    return message.model_copy(update=changes) if changes else message


def answering_expert(message: BaseMessage) -> str | None:
    """The expert whose reply a message is, as its decision record says."""
    return decision_record(message).get("expert")


def decision_record(message: BaseMessage) -> Mapping[str, Any]:
    """The decision record of a reply; empty where it has none."""
    record = message.response_metadata.get(RECORD_KEY)
    return record if isinstance(record, Mapping) else {}


def _without_bound_parts(message: AIMessage) -> AIMessage:
    blocks = [block for block in message.content_blocks if block["type"] in _PORTABLE_BLOCKS]
    content: Any = str(message.text)
    if any(block["type"] != "text" for block in blocks):
        content = [_without_bound_fields(block) for block in blocks]
    return AIMessage(
        content,
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
        name=message.name,
    )


def _without_bound_fields(block: ContentBlock) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name not in _BOUND_FIELDS}


# Replies on their way out


def written_text(message: BaseMessage) -> str:
    """Everything the expert wrote in a message or chunk: text or refusal, and the arguments of tool calls."""
    calls: Sequence[Any] = getattr(message, "tool_calls", [])
    if isinstance(message, AIMessageChunk):
        calls = message.tool_call_chunks
    text = str(message.text) + refusal_field(message)
    for call in calls:
        text += str(call["args"])
    return text


def refusal_text(message: BaseMessage) -> str:
    """What the expert said instead of an answer; empty where it did not refuse."""
    refusal = refusal_field(message)
    if not refusal and message.response_metadata.get("stop_reason") == "refusal":  # Anthropic
        refusal = str(message.text) or "no words"
    return refusal


def refusal_field(message: BaseMessage) -> str:
    """A refusal that stands in a field of its own, as OpenAI's; empty where there is none."""
    refusal = message.additional_kwargs.get("refusal")
    if isinstance(refusal, str):
        return refusal
    if isinstance(message.content, str):
        return ""
    text = ""
    for block in message.content:
        if isinstance(block, Mapping):
            text += _refusal_of_block(block)
    return text


def _refusal_of_block(block: Mapping[str, Any]) -> str:
    """A refusal in a block of OpenAI's responses, or in LangChain's standard form of one."""
    value = block.get("value") if block.get("type") == "non_standard" else block
    refusal = value.get("refusal") if isinstance(value, Mapping) else None
    return refusal if isinstance(refusal, str) else ""


def stamp_message(message: BaseMessage, record: DecisionRecord) -> None:
    """Put the decision record into the message's ``response_metadata``."""
    message.response_metadata = {**message.response_metadata, RECORD_KEY: record.to_dict()}


def stamp_generation(
    generation: ChatGeneration, record: DecisionRecord, traced_as: LangSmithParams
) -> None:
    """Stamp a reply, or the last chunk of one, and say to traces of its run which model answered."""
    stamp_message(generation.message, record)
    author = {
        "provider": traced_as.get("ls_provider"),
        "model": record.answered_model or traced_as.get("ls_model_name"),
    }
    generation.generation_info = {GATEWAY_KEY: author, **(generation.generation_info or {})}


def uncharged(generation: ChatGeneration) -> ChatGeneration:
    """An answer from a cache: it cost nothing, and the account that paid for it stays private."""
    record = generation.message.response_metadata.get(RECORD_KEY)
    if record is None:
        return generation
    nothing = decimal_usd(0)
    hit_record = {
        **record,
        "cached": True,
        "account": None,
        "spent_usd": None,
        "remaining_usd": None,
        "held_usd": nothing,
        "settled_usd": nothing,
        "attempts": [],
        "total_usd": nothing,
    }
    metadata = {**generation.message.response_metadata, RECORD_KEY: hit_record}
    message = generation.message.model_copy(update={"response_metadata": metadata})
    return generation.model_copy(update={"message": message})
