"""What replies of LangChain's models say: text, usage, who answered, and whether a stream came to its end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from langchain_core.language_models import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from routoo_core.answer import Answer, ToolCall
from routoo_core.calling.readings import (
    AnswerParts,
    PieceReading,
    Reading,
    StreamEnd,
    end_reason,
    is_cut,
)
from routoo_core.record import DecisionRecord
from routoo_core.usage import Usage, field_of, read_usage, usage_with_part
from routoo_integrations.langchain.messages import refusal_text, stamp_generation, written_text

_MODEL_FIELDS = ("model_name", "model", "model_version", "model_id")
"""Where integrations put the name of the model that answered."""
_END_FIELDS = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")
"""Where they put why a reply ended."""
_LAST: Literal["last"] = "last"
"""What LangChain says of the last chunk, whatever ended it."""
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\s*```\s*", re.DOTALL | re.IGNORECASE)


def read_result(result: ChatResult) -> Reading:
    """What a whole reply says: the text of every generation, and the usage of all, which each reports."""
    first = result.generations[0].message
    text = ""
    for generation in result.generations:
        text += written_text(generation.message)
    usage = read_usage(first.usage_metadata) if isinstance(first, AIMessage) else None
    model = _model_name(first.response_metadata) or _model_name(result.llm_output or {})
    generation = result.generations[0]
    reasons = _reasons_in(first.response_metadata) + _reasons_in(generation.generation_info or {})
    return Reading(
        text,
        usage,
        model,
        answer=_answer_of(first, is_cut(reasons)),
        shown=str(first.text),
        end=end_reason(reasons),
    )


def _answer_of(message: BaseMessage, was_cut: bool) -> Answer:
    """A message as checks see it."""
    calls = []
    if isinstance(message, AIMessage):
        for call in message.tool_calls:
            calls.append(ToolCall(call["name"], call["args"]))
        for invalid in message.invalid_tool_calls:
            calls.append(ToolCall.read(invalid["name"], invalid["args"] or ""))
    is_refusal = bool(refusal_text(message))
    return Answer(without_fence(str(message.text)), tuple(calls), is_refusal, was_cut)


def without_fence(text: str) -> str:
    """What stands in a Markdown fence that a text is: LangChain's parsers read it."""
    match = _FENCE.fullmatch(text)
    return text if match is None else match[1]


def read_result_usage(result: ChatResult) -> Usage | None:
    """The usage that a result reports beside its replies."""
    return read_usage(field_of(result.llm_output, "token_usage"))


def read_message(message: BaseMessage) -> Reading:
    """What a single message says."""
    usage = read_usage(message.usage_metadata) if isinstance(message, AIMessage) else None
    return Reading(written_text(message), usage, _model_name(message.response_metadata))


class ChunkReader:
    """Reads the chunks of one stream.

    Args:
        marks_end: Whether the expert says why its streams end, so that one without a reason was cut off.
        traced_as: How the expert's model is called in traces.
    """

    def __init__(self, marks_end: bool, traced_as: LangSmithParams) -> None:
        self._traced_as = traced_as
        self._usage: Usage | None = None
        self._model: str | None = None
        self._end = StreamEnd(marks_end)
        self._parts = AnswerParts()
        self._is_refusal = False

    def read(self, piece: ChatGenerationChunk) -> PieceReading:
        """What a chunk adds."""
        message = piece.message
        reasons = _end_reasons(piece)
        for metadata in _metadata(piece):
            self._model = _model_name(metadata) or self._model
        if isinstance(message, AIMessageChunk) and message.usage_metadata:
            self._usage = usage_with_part(self._usage, read_usage(message.usage_metadata))
        is_visible = _shows_anything(message)
        is_usage_alone = not is_visible and _reports_usage(message)
        self._end.note(reasons, is_visible, is_usage_alone)
        self._add(message)
        return PieceReading(
            written_text(message), is_visible, self._end.is_announced, self._parts.calls_tool
        )

    def finish(self) -> Reading:
        """What all chunks say together."""
        answer = self._parts.answer(self._is_refusal, self._end.is_cut)
        text = answer.text
        answer = replace(answer, text=without_fence(text))
        end = "" if self._end.reason == _LAST else self._end.reason
        return Reading(
            "", self._usage, self._model, self._end.is_reached, answer, shown=text, end=end
        )

    def _add(self, message: BaseMessage) -> None:
        """Add what a chunk says to what is checked."""
        self._parts.add_text(str(message.text))
        self._is_refusal = self._is_refusal or bool(refusal_text(message))
        if isinstance(message, AIMessageChunk):
            for call in message.tool_call_chunks:
                place = call["id"] if call["index"] is None else call["index"]
                self._parts.add_call(place, call["name"], call["args"])

    def stamp(self, piece: ChatGenerationChunk, record: DecisionRecord) -> ChatGenerationChunk:
        """The last chunk, with the record; LangChain sends none of its own behind one that says it is the last.

        One with a part of a tool call must not say so: LangChain would not read that part any more.
        """
        message = piece.message
        if isinstance(message, AIMessageChunk) and not message.tool_call_chunks:
            message.chunk_position = _LAST
        stamp_generation(piece, record, self._traced_as)
        return piece

    def closing_piece(self) -> ChatGenerationChunk:
        """An empty chunk."""
        return ChatGenerationChunk(message=AIMessageChunk(content=""))


def _metadata(piece: ChatGenerationChunk) -> Iterator[Mapping[str, Any]]:
    """Where a chunk may say who wrote it and why it ended."""
    yield piece.message.response_metadata
    if piece.generation_info:
        yield piece.generation_info


def _end_reasons(piece: ChatGenerationChunk) -> list[Any]:
    """The reasons for a stream's end that a chunk gives."""
    reasons: list[Any] = []
    for metadata in _metadata(piece):
        reasons += _reasons_in(metadata)
    message = piece.message
    if isinstance(message, AIMessageChunk) and message.chunk_position == _LAST:
        reasons.append(message.chunk_position)
    return reasons


def _reasons_in(metadata: Mapping[str, Any]) -> list[Any]:
    """The reasons for its end that the metadata of a reply gives."""
    reasons = []
    for field in _END_FIELDS:
        reason = metadata.get(field)
        if reason:
            reasons.append(reason)
    return reasons


def _model_name(metadata: Mapping[str, Any]) -> str | None:
    """The model that a reply names, where it names one."""
    for field in _MODEL_FIELDS:
        name = metadata.get(field)
        if isinstance(name, str) and name:
            return name
    return None


def _reports_usage(message: BaseMessage) -> bool:
    return isinstance(message, AIMessageChunk) and bool(message.usage_metadata)


def _shows_anything(message: BaseMessage) -> bool:
    """Whether a chunk has something in it: text, reasoning, media, a call of a tool."""
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        return True
    if any(message.additional_kwargs.values()):
        return True
    if isinstance(message.content, str):
        return message.content != ""
    return any(_is_filled(block) for block in message.content)


def _is_filled(block: str | Mapping[str, Any]) -> bool:
    """Whether a content block is more than the announcement of a text."""
    if isinstance(block, str):
        return block != ""
    return block.get("type") != "text" or bool(block.get("text"))
