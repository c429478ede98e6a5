"""What responses of LlamaIndex's LLMs say: text, usage, who answered, and whether a stream came to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import (
    ChatResponse,
    CompletionResponse,
    TextBlock,
    ToolCallBlock,
)

from routoo_core.answer import Answer
from routoo_core.calling.readings import PieceReading, Reading, StreamEnd, end_reason, is_cut
from routoo_core.errors import ReplyCutOff
from routoo_core.record import DecisionRecord
from routoo_core.usage import Usage, field_of, read_usage, usage_so_far
from routoo_integrations.llama_index.messages import mark_response, stamp_response
from routoo_integrations.llama_index.refusals import note_refusal, refusal_text
from routoo_integrations.llama_index.tools import read_tool_calls, written_tool_calls

Response = TypeVar("Response", ChatResponse, CompletionResponse)

_MODEL_FIELDS = ("model", "model_version", "modelVersion")
"""Where providers put the name of the model that answered."""
_END_FIELDS = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "done")
"""Where they put why a reply ended."""


class PieceReader(Generic[Response]):
    """Reads the pieces of one stream; marks each with the expert, so that its tool calls can be read.

    Args:
        expert: Whose stream it is.
        marks_end: Whether the expert says why its streams end, so that one without a reason was cut off.
    """

    def __init__(self, expert: str, marks_end: bool) -> None:
        self._mark = {"expert": expert}
        self._usage: Usage | None = None
        self._model: str | None = None
        self._end = StreamEnd(marks_end)
        self._latest: Response | None = None
        self._refusal = ""
        self._calls_tool = False

    def read(self, piece: Response) -> PieceReading:
        """What a piece adds."""
        self._latest = piece
        report = read_usage(piece)
        self._usage = usage_so_far(self._usage, report)
        self._model = model_name(piece) or self._model
        is_visible = _shows_anything(piece)
        is_usage_alone = report is not None and _has_no_choices(piece.raw)
        self._end.note(_end_reasons(piece.raw), is_visible, is_usage_alone)
        mark_response(piece, self._mark)
        refusal = refusal_text(piece)
        self._refusal += refusal
        self._calls_tool = self._calls_tool or _calls_tool(piece)
        return PieceReading(
            piece.delta or refusal, is_visible, self._end.is_announced, self._calls_tool
        )

    def finish(self) -> Reading:
        """What all pieces say together; the arguments of tool calls, which no piece adds as text, where it matters."""
        text = ""
        if self._usage is None and self._latest is not None:
            text = tool_arguments(self._latest)
        answer = Answer()
        if self._latest is not None:
            answer = answer_of(self._latest, bool(self._refusal), self._end.is_cut)
        return Reading.of_stream(answer, self._usage, self._model, self._end, text)

    def stamp(self, piece: Response, record: DecisionRecord) -> Response:
        """The last piece, with the record."""
        note_refusal(self._mark["expert"], self._refusal)
        stamp_response(piece, record)
        return piece

    def closing_piece(self) -> Response:
        """A piece with the whole reply so far, which adds nothing: no text, no reasoning, no usage."""
        latest = self._latest
        if latest is None:
            raise ReplyCutOff(self._mark["expert"], "an empty stream")
        return latest.model_copy(update={"delta": "", "raw": None, "additional_kwargs": {}})


def read_response(response: ChatResponse | CompletionResponse) -> Reading:
    """What a whole response says."""
    text = response_text(response) + tool_arguments(response)
    reasons = _end_reasons(response.raw)
    answer = answer_of(response, bool(refusal_text(response)), is_cut(reasons))
    return Reading(
        text,
        read_usage(response),
        model_name(response),
        answer=answer,
        shown=answer.text,
        end=end_reason(reasons),
    )


def answer_of(
    response: ChatResponse | CompletionResponse, is_refusal: bool, was_cut: bool
) -> Answer:
    """A response, or all of a stream that its last piece holds, as checks see it."""
    if isinstance(response, CompletionResponse):
        return Answer(response.text or "", (), is_refusal, was_cut)
    text = response.message.content or ""
    return Answer(text, tuple(written_tool_calls(response)), is_refusal, was_cut)


def _calls_tool(piece: ChatResponse | CompletionResponse) -> bool:
    """Whether a piece holds a call of a tool, or has begun one."""
    if isinstance(piece, CompletionResponse):
        return False
    if piece.message.additional_kwargs.get("tool_calls"):
        return True
    return any(isinstance(block, ToolCallBlock) for block in piece.message.blocks)


def model_name(response: ChatResponse | CompletionResponse) -> str | None:
    """The model that a response names, where it names one."""
    for field in _MODEL_FIELDS:
        name = field_of(response.raw, field)
        if isinstance(name, str) and name:
            return name
    return None


def _end_reasons(raw: Any) -> list[Any]:
    """The reasons for a stream's end that a provider's own piece of it gives."""
    reasons = []
    for holder in _end_holders(raw):
        for field in _END_FIELDS:
            reason = field_of(holder, field)
            if reason:
                reasons.append(reason)
    return reasons


def _has_no_choices(raw: Any) -> bool:
    """Whether it is OpenAI's piece behind the end, which has usage alone."""
    choices = field_of(raw, "choices")
    return isinstance(choices, list) and not choices


def _end_holders(raw: Any) -> Iterator[Any]:
    """Where providers put the reason: OpenAI in the choices, Google in the candidates, Anthropic in the delta."""
    yield raw
    yield field_of(raw, "delta")
    for name in ("choices", "candidates"):
        choices = field_of(raw, name)
        if isinstance(choices, list):
            yield from choices


def _shows_anything(piece: ChatResponse | CompletionResponse) -> bool:
    """Whether a piece has something in it: text, reasoning, media, a call of a tool."""
    if piece.delta:
        return True
    if isinstance(piece, CompletionResponse):
        return False
    if piece.message.additional_kwargs.get("tool_calls"):
        return True
    return any(not isinstance(block, TextBlock) or block.text for block in piece.message.blocks)


def response_text(response: ChatResponse | CompletionResponse) -> str:
    """The text or refusal that an expert wrote; other replies than the first stand in the provider's own."""
    if isinstance(response, CompletionResponse):
        text = response.text or ""
    else:
        text = response.message.content or refusal_text(response)
    choices = getattr(response.raw, "choices", None)
    if isinstance(choices, list) and len(choices) > 1:
        for choice in choices[1:]:
            text += _choice_text(choice)
    return text


def _choice_text(choice: Any) -> str:
    """The text of one reply in OpenAI's form."""
    message = getattr(choice, "message", None)
    return getattr(message, "content", None) or getattr(choice, "text", None) or ""


def tool_arguments(response: ChatResponse | CompletionResponse) -> str:
    """The arguments of tool calls, which an expert wrote as well."""
    if isinstance(response, CompletionResponse):
        return ""
    text = ""
    for selection in read_tool_calls(response):
        text += json.dumps(selection.tool_kwargs, default=str)
    return text
