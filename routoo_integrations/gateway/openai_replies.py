"""What replies of OpenAI's chat completions say, whole or in chunks, as they come over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from routoo_core.answer import Answer
from routoo_core.calling.readings import AnswerParts, Reading, StreamEnd, end_reason, is_cut
from routoo_core.usage import Usage, read_usage, usage_so_far
from routoo_integrations.gateway.events import JsonObject

_TEXT_FIELDS = ("content", "refusal", "reasoning_content", "reasoning")
"""Where a message or a delta holds what was written."""
_EMPTY_FIELDS = frozenset({"role"})
"""What a delta may hold without showing anything."""


def read_completion(reply: Mapping[str, Any]) -> Reading:
    """What a whole reply says."""
    texts = []
    for choice in choices_of(reply):
        texts.append(_text_of(choice.get("message")))
    answer = _answer_of(reply)
    return Reading(
        "".join(texts),
        read_usage(reply),
        _model_of(reply),
        answer=answer,
        shown=answer.text,
        end=end_reason([choice.get("finish_reason") for choice in choices_of(reply)]),
    )


def _answer_of(reply: Mapping[str, Any]) -> Answer:
    """The first choice of a reply as checks see it."""
    for choice in choices_of(reply):
        message = choice.get("message")
        if not isinstance(message, Mapping):
            break
        parts = AnswerParts()
        _add_to(parts, message)
        return parts.answer(bool(message.get("refusal")), is_cut([choice.get("finish_reason")]))
    return Answer()


def _add_to(parts: AnswerParts, message: Mapping[str, Any]) -> None:
    """Add what a message or a delta says to what is checked."""
    content = message.get("content")
    if isinstance(content, str):
        parts.add_text(content)
    for place, call in enumerate(_list_of(message.get("tool_calls"))):
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            own_place = call.get("index")
            if not isinstance(own_place, int):
                own_place = place
            parts.add_call(
                own_place, function.get("name"), function.get("arguments"), call.get("id")
            )


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def choices_of(reply: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The choices of a reply or of a chunk that have the form of one."""
    choices = reply.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, Mapping):
                yield choice


def first_content(reply: Mapping[str, Any]) -> str:
    """What the first choice of a reply or of a chunk says."""
    for choice in choices_of(reply):
        if choice.get("index", 0) == 0:
            message = choice.get("message") or choice.get("delta")
            content = message.get("content") if isinstance(message, Mapping) else None
            return content if isinstance(content, str) else ""
    return ""


class ChunkReader:
    """Adds up the chunks of one stream.

    Args:
        marks_end: Whether the expert says why its streams end, so that one without a reason was cut off.
    """

    def __init__(self, marks_end: bool) -> None:
        self._usage: Usage | None = None
        self._model: str | None = None
        self._end = StreamEnd(marks_end)
        self._parts = AnswerParts()
        self._is_refusal = False

    @property
    def calls_tool(self) -> bool:
        """Whether a call of a tool has begun."""
        return self._parts.calls_tool

    @property
    def has_announced_end(self) -> bool:
        """Whether the stream has given a reason for its end, or its usage behind all else."""
        return self._end.is_announced

    def read(self, chunk: JsonObject) -> tuple[str, bool]:
        """The text that a chunk adds, and whether it shows the caller anything."""
        texts = []
        reasons = []
        is_visible = False
        for choice in choices_of(chunk):
            delta = choice.get("delta")
            texts.append(_text_of(delta))
            if isinstance(delta, Mapping) and choice.get("index", 0) == 0:
                _add_to(self._parts, delta)
                self._is_refusal = self._is_refusal or bool(delta.get("refusal"))
            is_visible = is_visible or _shows_anything(delta)
            if choice.get("finish_reason"):
                reasons.append(choice["finish_reason"])
        usage = read_usage(chunk)
        self._usage = usage_so_far(self._usage, usage)
        self._model = _model_of(chunk) or self._model
        is_usage_alone = usage is not None and not is_visible
        self._end.note(reasons, is_visible, is_usage_alone)
        return "".join(texts), is_visible

    def finish(self) -> Reading:
        """What all chunks say together."""
        answer = self._parts.answer(self._is_refusal, self._end.is_cut)
        return Reading.of_stream(answer, self._usage, self._model, self._end)


def _text_of(message: Any) -> str:
    """Everything that a message or a delta says, the arguments of tool calls too."""
    if not isinstance(message, Mapping):
        return ""
    texts = []
    for name in _TEXT_FIELDS:
        if isinstance(message.get(name), str):
            texts.append(message[name])
    for call in _list_of(message.get("tool_calls")):
        function = call.get("function") if isinstance(call, Mapping) else None
        arguments = function.get("arguments") if isinstance(function, Mapping) else None
        if isinstance(arguments, str):
            texts.append(arguments)
    return "".join(texts)


def _shows_anything(delta: Any) -> bool:
    if not isinstance(delta, Mapping):
        return False
    return any(value and name not in _EMPTY_FIELDS for name, value in delta.items())


def _model_of(reply: Mapping[str, Any]) -> str | None:
    model = reply.get("model")
    return model if isinstance(model, str) and model else None


def openai_usage(usage: Usage | None) -> JsonObject | None:
    """Usage as chat completions report it; ``None`` where there is none."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
