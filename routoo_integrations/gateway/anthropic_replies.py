"""What replies of Anthropic's messages say, whole or in events, as they come over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from routoo_core.answer import Answer, ToolCall
from routoo_core.calling.readings import AnswerParts, Reading, StreamEnd, is_cut
from routoo_core.usage import Usage, field_of, read_usage, usage_so_far
from routoo_integrations.gateway.events import JsonObject

_REFUSAL = "refusal"
"""The reason of an end where the model refused to answer."""
_DELTA_TEXTS = ("text", "partial_json", "thinking")
"""Where a delta holds what was written."""


def read_message(reply: Mapping[str, Any]) -> Reading:
    """What a whole reply says."""
    texts = []
    for block in blocks_of(reply):
        for name in ("text", "thinking"):
            if isinstance(block.get(name), str):
                texts.append(block[name])
        if block.get("type") == "tool_use":
            texts.append(json.dumps(block.get("input")))
    answer = _answer_of(reply)
    return Reading(
        "".join(texts),
        read_usage(reply),
        _text_field(reply, "model"),
        answer=answer,
        shown=answer.text,
        end=_text_field(reply, "stop_reason") or "",
    )


def _answer_of(reply: Mapping[str, Any]) -> Answer:
    """A reply as checks see it."""
    calls = []
    for block in blocks_of(reply):
        if block.get("type") == "tool_use":
            calls.append(ToolCall.read(_text_field(block, "name"), block.get("input")))
    reason = reply.get("stop_reason")
    return Answer(plain_text(reply), tuple(calls), reason == _REFUSAL, is_cut([reason]))


def blocks_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The blocks of a message whose content is a list of them."""
    content = message.get("content")
    if isinstance(content, list):
        for block in content:
            if isinstance(block, dict):
                yield block


def plain_text(reply: Mapping[str, Any]) -> str:
    """The text of a whole reply, or what an event adds to it."""
    texts = [_text_field(reply.get("delta"), "text") or ""]
    for block in blocks_of(reply):
        texts.append(_text_field(block, "text") or "")
    return "".join(texts)


class MessageEventReader:
    """Adds up the events of one stream.

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
        """Whether the stream has given the reason for its end."""
        return self._end.is_announced

    def read(self, event: JsonObject) -> tuple[str, bool]:
        """The text that an event adds, and whether it shows the caller anything."""
        delta = event.get("delta")
        text = ""
        for name in _DELTA_TEXTS:
            value = field_of(delta, name) if isinstance(delta, dict) else None
            if isinstance(value, str):
                text += value
        reason = _text_field(delta, "stop_reason")
        message = event.get("message")
        self._model = _text_field(message, "model") or self._model
        self._usage = usage_so_far(self._usage, read_usage(event))
        self._add(event)
        self._is_refusal = self._is_refusal or reason == _REFUSAL
        is_visible = _shows_anything(event)
        self._end.note([reason] if reason else [], is_visible, is_usage_alone=False)
        return text, is_visible

    def finish(self) -> Reading:
        """What all events say together."""
        answer = self._parts.answer(self._is_refusal, self._end.is_cut)
        return Reading.of_stream(answer, self._usage, self._model, self._end)

    def _add(self, event: JsonObject) -> None:
        """Add what an event says to what is checked."""
        delta = event.get("delta")
        self._parts.add_text(_text_field(delta, "text") or "")
        block = event.get("content_block")
        if _text_field(block, "type") == "tool_use":
            self._parts.add_call(event.get("index"), _text_field(block, "name"), None)
        elif _text_field(delta, "type") == "input_json_delta":
            self._parts.add_call(event.get("index"), None, _text_field(delta, "partial_json"))


def _shows_anything(event: Mapping[str, Any]) -> bool:
    """Whether an event is more than the announcement of a text."""
    if event.get("type") == "content_block_delta":
        return True
    block = event.get("content_block")
    return isinstance(block, Mapping) and block.get("type") != "text"


def _text_field(holder: Any, name: str) -> str | None:
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return value if isinstance(value, str) and value else None
