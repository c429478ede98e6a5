"""``POST /v1/responses``: OpenAI's newer protocol, answered by experts that speak chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from routoo_core.calling.attempt import Attempt
from routoo_core.experts import Expert
from routoo_core.request import Overrides, RoutedRequest
from routoo_integrations.gateway.authors import Authors
from routoo_integrations.gateway.calls import ExpertEvent, ExpertReply
from routoo_integrations.gateway.chat import (
    RECORD_FIELD,
    ChatCompletion,
    ChatPieces,
    chat_completion,
    mark_calls,
)
from routoo_integrations.gateway.events import JsonObject, ServerEvent
from routoo_integrations.gateway.problems import Problem
from routoo_integrations.gateway.response_events import ResponseEvents
from routoo_integrations.gateway.response_form import chat_body_of, response_of


@dataclass(frozen=True)
class ResponsesCall:
    """A call of responses.

    Attributes:
        body: The caller's.
        chat: The same as a chat completion.
        authors: Read and mark the ids of tool calls.
    """

    body: JsonObject = field(repr=False)
    chat: ChatCompletion = field(repr=False)
    authors: Authors

    @classmethod
    def read(cls, body: JsonObject, authors: Authors) -> ResponsesCall:
        """A call with this body.

        Raises:
            CallRefused: It asks for what is kept or run by OpenAI's own servers, or has not the protocol's form.
        """
        return cls(body, ChatCompletion.read(chat_body_of(body), authors), authors)

    @property
    def model(self) -> str:
        """What the body names as its model."""
        return self.chat.model

    @property
    def is_streamed(self) -> bool:
        """Whether the reply is to come in events."""
        return self.chat.is_streamed

    def forwarded_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """None; see :meth:`ChatCompletion.forwarded_headers`."""
        return self.chat.forwarded_headers(headers)

    def may_be_answered_by(self, expert: Expert) -> bool:
        """Whether an expert can be sent it; see :meth:`ChatCompletion.may_be_answered_by`."""
        return self.chat.may_be_answered_by(expert)

    def routed(self, overrides: Overrides) -> RoutedRequest:
        """The call as the router reads it; see :meth:`ChatCompletion.routed`."""
        return self.chat.routed(overrides)

    def body_for(self, attempt: Attempt) -> JsonObject:
        """The call as a chat completion for an attempt's expert."""
        return self.chat.body_for(attempt)

    def note_reply(self, expert: str, text: str) -> None:
        """Remember who answered; see :meth:`ChatCompletion.note_reply`."""
        self.chat.note_reply(expert, text)

    def whole(self, reply: ExpertReply) -> bytes:
        """The body of a whole reply."""
        completion = chat_completion(reply)
        mark_calls(completion, "message", self.authors, reply.attempt.expert.name)
        return json.dumps(response_of(self.body, completion)).encode()

    def writer(self) -> ResponsesWriter:
        """Writes a streamed reply."""
        return ResponsesWriter(self.body, self.authors)


class ResponsesWriter:
    """Writes a stream as events of a response; the last one carries the decision record.

    Args:
        body: The call.
        authors: Mark the ids of tool calls.
    """

    def __init__(self, body: JsonObject, authors: Authors) -> None:
        self._authors = authors
        self._events = ResponseEvents(body)
        self._pieces = ChatPieces()

    def write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from one of the expert's."""
        for chat_piece in self._pieces.of(piece):
            yield from self._write(chat_piece)

    def _write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from a chunk."""
        mark_calls(piece.value, "delta", self._authors, piece.attempt.expert.name)
        events = list(self._events.of_chunk(piece.value) if piece.event is not None else ())
        if piece.record is not None:
            events += self._events.ending()
            events[-1][RECORD_FIELD] = piece.record.to_dict()
        for event in events:
            yield ServerEvent.of(event, event["type"])

    def end(self) -> Iterator[ServerEvent]:
        """Nothing: the last event has been sent."""
        yield from ()

    def fail(self, problem: Problem) -> Iterator[ServerEvent]:
        """The failure of the response."""
        event = self._events.failure(problem.code, problem.message)
        yield ServerEvent.of(event, event["type"])
