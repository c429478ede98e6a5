"""The events of a streamed response, made of the chunks of a chat completion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from routoo_core.usage import Usage, read_usage
from routoo_integrations.gateway.events import JsonObject, json_field
from routoo_integrations.gateway.openai_replies import choices_of
from routoo_integrations.gateway.response_form import (
    call_item,
    final_response,
    message_item,
    response_head,
    text_part,
)

_TEXT_KINDS = (("content", "output_text"), ("refusal", "refusal"))
"""Where a delta has a text, and what the part of a response is called that it becomes."""


@dataclass(slots=True)
class _OpenItem:
    """An item that is being written.

    Attributes:
        key: ``output_text``, ``refusal``, or the number of a tool call.
        item: As it was announced.
        text: Written so far.
    """

    key: int | str
    item: JsonObject
    text: str = ""


class ResponseEvents:
    """Makes the events of a response of the chunks of a chat completion.

    Args:
        body: The call.
        response_id: Of the response.
    """

    def __init__(self, body: Mapping[str, Any], response_id: str) -> None:
        self._body = body
        self._response_id = response_id
        self._head: JsonObject = {}
        self._output: list[JsonObject] = []
        self._open: _OpenItem | None = None
        self._reason: Any = None
        self._usage: Usage | None = None
        self._event_count = 0

    def of_chunk(self, chunk: JsonObject) -> Iterator[JsonObject]:
        """The events that follow from a chunk."""
        if not self._head:
            self._head = response_head(self._body, self._response_id, chunk.get("model"))
            yield self._event("response.created", response=self._head)
            yield self._event("response.in_progress", response=self._head)
        self._usage = read_usage(chunk) or self._usage
        for choice in choices_of(chunk):
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta")
            for field_name, kind in _TEXT_KINDS:
                text = json_field(delta, field_name)
                if isinstance(text, str) and text:
                    yield from self._write_text(kind, text)
            for call in json_field(delta, "tool_calls") or ():
                yield from self._write_call(call)
            self._reason = choice.get("finish_reason") or self._reason

    def ending(self) -> Iterator[JsonObject]:
        """The events that end the response."""
        yield from self._close()
        response = final_response(self._head, self._output, self._reason, self._usage)
        yield self._event(f"response.{response['status']}", response=response)

    def failure(self, code: str | None, message: str) -> JsonObject:
        """The event of a response that broke off."""
        error = {"code": code, "message": message}
        response = {**self._head, "status": "failed", "error": error, "output": self._output}
        return self._event("response.failed", response=response)

    # Texts

    def _write_text(self, kind: str, text: str) -> Iterator[JsonObject]:
        if self._open is None or self._open.key != kind:
            yield from self._open_text(kind)
        open_item = self._open
        assert open_item is not None  # noqa: S101
        open_item.text += text
        event = self._event(f"response.{kind}.delta", **self._place(open_item), delta=text)
        if kind == "output_text":
            event["logprobs"] = []
        yield event

    def _open_text(self, kind: str) -> Iterator[JsonObject]:
        yield from self._close()
        item = message_item(self._item_id("msg"), [], "in_progress")
        self._open = _OpenItem(kind, item)
        yield self._event("response.output_item.added", output_index=len(self._output), item=item)
        part = text_part(kind, "")
        yield self._event("response.content_part.added", **self._place(self._open), part=part)

    def _close_text(self, open_item: _OpenItem) -> Iterator[JsonObject]:
        kind = str(open_item.key)
        place = self._place(open_item)
        part = text_part(kind, open_item.text)
        field_name = "refusal" if kind == "refusal" else "text"
        event = self._event(f"response.{kind}.done", **place, **{field_name: open_item.text})
        if kind == "output_text":
            event["logprobs"] = []
        yield event
        yield self._event("response.content_part.done", **place, part=part)
        yield from self._end_item({**open_item.item, "status": "completed", "content": [part]})

    # Calls of tools

    def _write_call(self, call: Any) -> Iterator[JsonObject]:
        key = json_field(call, "index") or 0
        function = json_field(call, "function")
        if self._open is None or self._open.key != key:
            yield from self._close()
            item = call_item(
                self._item_id("fc"),
                json_field(call, "id"),
                json_field(function, "name"),
                "in_progress",
            )
            self._open = _OpenItem(key, item)
            index = len(self._output)
            yield self._event("response.output_item.added", output_index=index, item=item)
        arguments = json_field(function, "arguments")
        if arguments:
            self._open.text += arguments
            place = self._place(self._open, has_parts=False)
            yield self._event("response.function_call_arguments.delta", **place, delta=arguments)

    def _close_call(self, open_item: _OpenItem) -> Iterator[JsonObject]:
        yield self._event(
            "response.function_call_arguments.done",
            **self._place(open_item, has_parts=False),
            name=open_item.item["name"],
            arguments=open_item.text,
        )
        item = {**open_item.item, "status": "completed", "arguments": open_item.text}
        yield from self._end_item(item)

    # Items

    def _close(self) -> Iterator[JsonObject]:
        open_item = self._open
        if open_item is None:
            return
        is_text = isinstance(open_item.key, str)
        yield from self._close_text(open_item) if is_text else self._close_call(open_item)
        self._open = None

    def _end_item(self, item: JsonObject) -> Iterator[JsonObject]:
        yield self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)

    def _item_id(self, prefix: str) -> str:
        return f"{prefix}_{len(self._output)}_{self._head['id']}"

    def _place(self, open_item: _OpenItem, has_parts: bool = True) -> JsonObject:
        """Where in the response an open item stands."""
        place: JsonObject = {"item_id": open_item.item["id"], "output_index": len(self._output)}
        if has_parts:
            place["content_index"] = 0
        return place

    def _event(self, kind: str, **fields: Any) -> JsonObject:
        event = {"type": kind, "sequence_number": self._event_count, **fields}
        self._event_count += 1
        return event
