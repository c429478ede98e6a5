"""``POST /v1/responses``: OpenAI's newer protocol, answered by experts that speak chat completions."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from routoo_integrations.gateway.authors import Authors
from routoo_integrations.gateway.calls import ExpertEvent, ExpertReply
from routoo_integrations.gateway.chat import (
    RECORD_FIELD,
    ChatCompletion,
    ChatForm,
    ChatPieces,
    chat_completion,
    mark_calls,
)
from routoo_integrations.gateway.events import COMMENT, JsonObject, ServerEvent
from routoo_integrations.gateway.problems import Problem, invalid_request
from routoo_integrations.gateway.response_events import ResponseEvents
from routoo_integrations.gateway.response_form import chat_body_of, input_items, response_of
from routoo_integrations.gateway.stored_responses import PendingResponse, ResponseStore, not_stored

_ID_BYTES = 24


@dataclass(frozen=True)
class ResponsesCall(ChatForm):
    """A call of responses.

    Attributes:
        body: The caller's, with whether its response is stored.
        response_id: Of the response to come.
        pending_response: Stores the response; ``None`` where it is not to be stored.
    """

    body: JsonObject = field(repr=False)
    response_id: str
    pending_response: PendingResponse | None

    @classmethod
    def read(
        cls, body: JsonObject, authors: Authors, store: ResponseStore | None = None, owner: str = ""
    ) -> ResponsesCall:
        """A call with this body; the conversation that it goes on from is read from the store.

        Args:
            body: The caller's.
            authors: Read and mark the ids of tool calls.
            store: Where responses are stored; ``None`` for nowhere.
            owner: Whose the call is.

        Raises:
            CallRefused: It asks for what is kept or run by OpenAI's own servers, or has not the protocol's form.
        """
        previous = _previous_of(body)
        wants_storing = body.get("store")
        if wants_storing is not None and not isinstance(wants_storing, bool):
            raise invalid_request("store: write true or false")
        history: list[JsonObject] = []
        if previous is not None:
            if store is None:
                raise not_stored("previous_response_id")
            history = store.conversation(owner, previous)
        chat = ChatCompletion.read(chat_body_of(body, history), authors)
        pending_response = None
        if store is not None and wants_storing is not False:
            pending_response = PendingResponse(store, owner, input_items(body), previous)
        full_body = {**body, "store": pending_response is not None}
        return cls(
            chat, authors, full_body, f"resp_{secrets.token_hex(_ID_BYTES)}", pending_response
        )

    def whole(self, reply: ExpertReply) -> bytes:
        """The body of a whole reply."""
        completion = chat_completion(reply)
        mark_calls(completion, "message", self.authors, reply.expert.name)
        response = response_of(self.body, self.response_id, completion)
        if self.pending_response is not None:
            self.pending_response.response = response
        return json.dumps(response).encode()

    def writer(self) -> ResponsesWriter:
        """Writes a streamed reply."""
        return ResponsesWriter(self.body, self.response_id, self.authors, self.pending_response)


class ResponsesWriter:
    """Writes a stream as events of a response; the last one carries the decision record.

    Args:
        body: The call.
        response_id: Of the response.
        authors: Mark the ids of tool calls.
        pending_response: Takes the response once it is whole; ``None`` where it is not stored.
    """

    sign_of_life = COMMENT

    def __init__(
        self,
        body: JsonObject,
        response_id: str,
        authors: Authors,
        pending_response: PendingResponse | None,
    ) -> None:
        self._authors = authors
        self._pending_response = pending_response
        self._events = ResponseEvents(body, response_id)
        self._pieces = ChatPieces()

    def write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from one of the expert's."""
        for chat_piece in self._pieces.of(piece):
            yield from self._write(chat_piece)

    def _write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from a chunk."""
        mark_calls(piece.value, "delta", self._authors, piece.expert.name)
        events = list(self._events.of_chunk(piece.value) if piece.event is not None else ())
        if piece.record is not None:
            events += self._events.ending()
            if self._pending_response is not None:
                self._pending_response.response = events[-1]["response"]
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

    def refusal(self, problem: Problem) -> JsonObject:
        """The body of a reply in the stream's place."""
        return problem.openai_body()


def _previous_of(body: JsonObject) -> str | None:
    """The response that a call goes on from.

    Raises:
        CallRefused: It is no id.
    """
    previous = body.get("previous_response_id")
    if previous is None or previous == "":
        return None
    if not isinstance(previous, str) or not previous.isascii():
        raise invalid_request("previous_response_id: give the id of a response")
    return previous
