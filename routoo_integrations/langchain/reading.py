"""What replies of LangChain's models say: text, usage, who answered, and whether a stream came to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.language_models import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from routoo_core.calling.readings import PieceReading, Reading, StreamEnd
from routoo_core.record import DecisionRecord
from routoo_core.usage import Usage, field_of, read_usage, usage_with_part
from routoo_integrations.langchain.messages import stamp_generation, written_text

_MODEL_FIELDS = ("model_name", "model", "model_version", "model_id")
"""Where integrations put the name of the model that answered."""
_END_FIELDS = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")
"""Where they put why a reply ended."""


def read_result(result: ChatResult) -> Reading:
    """What a whole reply says: the text of every generation, and the usage of all, which each reports."""
    first = result.generations[0].message
    text = ""
    for generation in result.generations:
        text += written_text(generation.message)
    reported = read_usage(first.usage_metadata) if isinstance(first, AIMessage) else None
    model = _model_name(first.response_metadata) or _model_name(result.llm_output or {})
    return Reading(text, reported, model)


def read_result_usage(result: ChatResult) -> Usage | None:
    """The usage that a result reports beside its replies."""
    return read_usage(field_of(result.llm_output, "token_usage"))


def read_message(message: BaseMessage) -> Reading:
    """What a single message says."""
    reported = read_usage(message.usage_metadata) if isinstance(message, AIMessage) else None
    return Reading(written_text(message), reported, _model_name(message.response_metadata))


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
        return PieceReading(written_text(message), is_visible, self._end.is_announced)

    def finish(self) -> Reading:
        """What all chunks say together."""
        return Reading("", self._usage, self._model, self._end.is_reached)

    def stamp(self, piece: ChatGenerationChunk, record: DecisionRecord) -> ChatGenerationChunk:
        """The last chunk, with the record; LangChain sends none of its own behind one that says it is the last.

        One with a part of a tool call must not say so: LangChain would not read that part any more.
        """
        message = piece.message
        if isinstance(message, AIMessageChunk) and not message.tool_call_chunks:
            message.chunk_position = "last"
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
        for field in _END_FIELDS:
            reason = metadata.get(field)
            if reason:
                reasons.append(reason)
    message = piece.message
    if isinstance(message, AIMessageChunk) and message.chunk_position == "last":
        reasons.append(message.chunk_position)
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
