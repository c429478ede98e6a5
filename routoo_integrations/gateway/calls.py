"""One call of the gateway, as the driver makes it: the expert's own protocol goes in and comes out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from routoo_core.answer_cache.query import CacheQuery
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.readings import PieceReading, Reading
from routoo_core.calling.recall import CachedAnswer
from routoo_core.errors import NoReply, ReplyCutOff
from routoo_core.experts import Expert
from routoo_core.record import DecisionRecord
from routoo_core.text import parse_json
from routoo_core.usage import Usage
from routoo_integrations.gateway.anthropic_replies import (
    MessageEventReader,
    plain_text,
    read_message,
)
from routoo_integrations.gateway.authors import Author
from routoo_integrations.gateway.cached_answers import cached_chunk, cached_completion
from routoo_integrations.gateway.connections import (
    ExpertConnections,
    ExpertStreamError,
    WireProtocol,
    protocol_of,
)
from routoo_integrations.gateway.events import DONE, JsonObject, ServerEvent
from routoo_integrations.gateway.openai_replies import (
    ChunkReader,
    choices_of,
    first_content,
    read_completion,
)


@dataclass(frozen=True, slots=True)
class ExpertReply:
    """A whole reply.

    Attributes:
        expert: Whose.
        protocol: In whose words it is.
        attempt: Which it came of; ``None`` for one from the cache.
        payload: As it came.
        value: What it holds.
        record: Why this expert answered, and what that cost; ``None`` before it is settled.
    """

    expert: Expert
    protocol: WireProtocol
    attempt: Attempt | None
    payload: bytes = field(repr=False)
    value: JsonObject = field(repr=False)
    record: DecisionRecord | None = None


@dataclass(frozen=True, slots=True)
class ExpertEvent:
    """An event of a streamed reply.

    Attributes:
        expert: Whose.
        protocol: In whose words it is.
        attempt: Which it came of; ``None`` for one from the cache.
        event: As it came; ``None`` for one that only carries the record.
        value: What it holds.
        record: Of the last one; ``None`` before.
    """

    expert: Expert
    protocol: WireProtocol
    attempt: Attempt | None
    event: ServerEvent | None = field(repr=False)
    value: JsonObject = field(repr=False)
    record: DecisionRecord | None = None


class ReplyForm(Protocol):
    """How replies of one protocol are read."""

    def is_reply(self, value: JsonObject) -> bool:
        """Whether a value has the form of a whole reply."""
        ...

    def read(self, value: JsonObject) -> Reading:
        """What a whole reply says."""
        ...

    def reply_text(self, value: JsonObject) -> str:
        """The text of a whole reply or of an event, as the caller will send it back."""
        ...

    def reader(self, marks_end: bool) -> EventReader:
        """A reader for one stream."""
        ...


class EventReader(Protocol):
    """Adds up the events of one stream."""

    @property
    def calls_tool(self) -> bool:
        """Whether a call of a tool has begun."""
        ...

    @property
    def has_announced_end(self) -> bool:
        """Whether no other event may follow."""
        ...

    def read(self, value: JsonObject) -> tuple[str, bool]:
        """The text that an event adds, and whether it shows the caller anything."""
        ...

    def finish(self) -> Reading:
        """What all events say together."""
        ...


class OpenAIReplies:
    """Chat completions."""

    def is_reply(self, value: JsonObject) -> bool:
        """Whether a response is a reply: it has a choice."""
        return any(True for _ in choices_of(value))

    def read(self, value: JsonObject) -> Reading:
        """What a whole reply says."""
        return read_completion(value)

    def reply_text(self, value: JsonObject) -> str:
        """The content of the first choice."""
        return first_content(value)

    def reader(self, marks_end: bool) -> EventReader:
        """A reader for one stream."""
        return ChunkReader(marks_end)


class AnthropicReplies:
    """Messages."""

    def is_reply(self, value: JsonObject) -> bool:
        """Whether a response is a reply: it has a content."""
        return isinstance(value.get("content"), list)

    def read(self, value: JsonObject) -> Reading:
        """What a whole reply says."""
        return read_message(value)

    def reply_text(self, value: JsonObject) -> str:
        """The text blocks, or a part of one."""
        return plain_text(value)

    def reader(self, marks_end: bool) -> EventReader:
        """A reader for one stream."""
        return MessageEventReader(marks_end)


REPLY_FORMS: dict[WireProtocol, ReplyForm] = {
    "openai": OpenAIReplies(),
    "anthropic": AnthropicReplies(),
}
"""What an expert speaks → how its replies are read."""


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """A call for the driver.

    Attributes:
        connections: Reach the experts.
        body_for: The caller's body in the form of an attempt's expert.
        headers: Of the caller, for experts that speak its protocol.
        note_reply: Takes who gave a whole reply, and its text.
        asked_by_caller: What the caller asks; ``None`` where that cannot be put into words.
        usages: Expert → what it reported of a reply that came to its end.
    """

    connections: ExpertConnections
    body_for: Callable[[Attempt], JsonObject]
    headers: Mapping[str, str]
    note_reply: Callable[[Author, str], None]
    cache_query_of_caller: Callable[[], CacheQuery | None]
    usages: dict[str, Usage] = field(default_factory=dict)

    async def asend(self, attempt: Attempt) -> ExpertReply:
        """The whole reply of an expert.

        Raises:
            NoReply: What came is none.
        """
        expert = attempt.expert
        payload = await self.connections.send(expert, self._encode(attempt), self.headers)
        value = parsed_object(payload.decode(errors="replace"), expert)
        if value.get("error") and not _form_of(expert).is_reply(value):
            raise ExpertStreamError(value)
        if not _form_of(expert).is_reply(value):
            attempt.reported(_form_of(expert).read(value).usage)
            raise NoReply(expert.name, "no choices")
        return ExpertReply(expert, protocol_of(expert), attempt, payload, value)

    def read(self, reply: ExpertReply) -> Reading:
        """What the reply says."""
        reading = _form_of(reply.expert).read(reply.value)
        if reading.usage is not None:
            self.usages[reply.expert.name] = reading.usage
        return reading

    def stamp(self, reply: ExpertReply, record: DecisionRecord) -> ExpertReply:
        """The reply with its record."""
        expert = reply.expert
        author = Author(expert.name, record.plan)
        self.note_reply(author, _form_of(expert).reply_text(reply.value))
        return replace(reply, record=record)

    def cache_query(self) -> CacheQuery | None:
        """What the call asks, for the cache of answers."""
        content = self.cache_query_of_caller()
        if content is None or not self.headers:
            return content
        return replace(content, arguments={**content.arguments, "headers": dict(self.headers)})

    def cached_reply(self, hit: CachedAnswer) -> ExpertReply:
        """A reply from the cache, with its record."""
        value = cached_completion(hit.answer)
        payload = json.dumps(value).encode()
        expert = self._expert_of(hit)
        return ExpertReply(expert, "openai", None, payload, value, hit.record)

    def cached_piece(self, hit: CachedAnswer) -> ExpertEvent:
        """A reply from the cache as one event, with its record."""
        chunk = cached_chunk(hit.answer)
        expert = self._expert_of(hit)
        return ExpertEvent(expert, "openai", None, ServerEvent.of(chunk), chunk, hit.record)

    def _expert_of(self, hit: CachedAnswer) -> Expert:
        """Who gave an answer, which is noted."""
        answer = hit.answer
        author = Author(answer.expert, hit.record.plan)
        self.note_reply(author, answer.text)
        return self.connections.pool[answer.expert]

    async def aopen(self, attempt: Attempt) -> AsyncGenerator[ExpertEvent, None]:
        """The streamed reply of an expert."""
        return self._events(attempt)

    def reader(self, attempt: Attempt) -> AttemptReader:
        """A reader for one stream."""
        return AttemptReader(attempt, self)

    async def _events(self, attempt: Attempt) -> AsyncGenerator[ExpertEvent, None]:
        body = self._encode(attempt)
        events = self.connections.stream(attempt.expert, body, self.headers)
        async with aclosing(events):
            async for event in events:
                if event.data == DONE:
                    continue  # whoever writes the stream to the caller ends it
                value = parsed_object(event.data, attempt.expert)
                if value.get("error"):
                    raise ExpertStreamError(value)
                yield _event_of(attempt, event, value)

    def _encode(self, attempt: Attempt) -> bytes:
        """The body as bytes.

        Raises:
            CallNotPrepared: It cannot be put into the expert's form.
        """
        with attempt.preparation():
            return json.dumps(self.body_for(attempt), allow_nan=False).encode()


class AttemptReader:
    """Reads the events of one attempt for the driver.

    Args:
        attempt: Whose stream.
        call: What it answers; told what the expert said and reports, once the stream has come to its end.
    """

    def __init__(self, attempt: Attempt, call: GatewayCall) -> None:
        self._attempt = attempt
        self._call = call
        self._form = _form_of(attempt.expert)
        self._reader = self._form.reader(not attempt.expert.silent_stream_end)
        self._texts: list[str] = []

    def read(self, piece: ExpertEvent) -> PieceReading:
        """What an event adds."""
        text, is_visible = self._reader.read(piece.value)
        self._texts.append(self._form.reply_text(piece.value))
        return PieceReading(
            text, is_visible, self._reader.has_announced_end, self._reader.calls_tool
        )

    def finish(self) -> Reading:
        """What all events say together."""
        return self._reader.finish()

    def stamp(self, piece: ExpertEvent, record: DecisionRecord) -> ExpertEvent:
        """The last event, with the record."""
        usage = self._reader.finish().usage
        if usage is not None:
            self._call.usages[self._attempt.expert.name] = usage
        author = Author(self._attempt.expert.name, record.plan)
        self._call.note_reply(author, "".join(self._texts))
        return replace(piece, record=record)

    def closing_piece(self) -> ExpertEvent:
        """An event for the record alone."""
        return _event_of(self._attempt, None, {})


def _event_of(attempt: Attempt, event: ServerEvent | None, value: JsonObject) -> ExpertEvent:
    """An event of an attempt's stream."""
    expert = attempt.expert
    return ExpertEvent(expert, protocol_of(expert), attempt, event, value)


def _form_of(expert: Expert) -> ReplyForm:
    return REPLY_FORMS[protocol_of(expert)]


def parsed_object(text: str, expert: Expert) -> JsonObject:
    """A JSON object.

    Raises:
        NoReply: The text is none.
    """
    try:
        value: Any = parse_json(text)
    except ValueError as error:
        if text.lstrip()[:1] in {"", "{", "["}:
            raise ReplyCutOff(expert.name, "JSON that was cut off") from error
        raise NoReply(expert.name, "something that is no JSON") from error
    if not isinstance(value, dict):
        raise NoReply(expert.name, "JSON that is no object")
    return value
