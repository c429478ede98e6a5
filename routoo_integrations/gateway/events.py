"""Server-sent events, as streams of replies are written over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]

DONE = "[DONE]"
"""The data of the event that ends a stream of OpenAI's."""

COMMENT = b": keep-alive\n\n"
"""A line that every reader of server-sent events passes over."""


def json_field(holder: Any, name: str) -> Any:
    """A field of a JSON object; ``None`` where it has none, or where the value is no object."""
    return holder.get(name) if isinstance(holder, Mapping) else None


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event.

    Attributes:
        data: Its text, usually JSON.
        name: Its type, where it has one.
    """

    data: str
    name: str | None = None

    @classmethod
    def of(cls, value: JsonObject, name: str | None = None) -> ServerEvent:
        """An event with a JSON object as its data."""
        return cls(json.dumps(value, separators=(",", ":")), name)

    def encode(self) -> bytes:
        """The event as bytes of the stream."""
        lines = [] if self.name is None else [f"event: {self.name}"]
        for line in self.data.split("\n"):
            lines.append(f"data: {line}")
        return ("\n".join(lines) + "\n\n").encode()


class EventParser:
    """Makes events of the bytes of a stream, however these are cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._name: str | None = None
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """The events that are complete with these bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = self._read_line(line.rstrip(b"\r").decode(errors="replace"))
            if event is not None:
                yield event

    def _read_line(self, line: str) -> ServerEvent | None:
        """The event that a line ends, if it ends one."""
        if not line:
            return self._end_event()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None

    def _end_event(self) -> ServerEvent | None:
        event = ServerEvent("\n".join(self._data), self._name) if self._data else None
        self._data = []
        self._name = None
        return event
