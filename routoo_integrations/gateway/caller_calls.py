"""A call as the gateway sees it, whichever protocol its caller speaks, and the answer to one that is streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from routoo_core.answer_cache.query import CacheQuery
from routoo_core.calling.attempt import Attempt
from routoo_core.experts import Expert
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.telemetry import caller_trace
from routoo_core.threads import off_loop
from routoo_integrations.gateway.authors import Author
from routoo_integrations.gateway.call_notes import CallNotes
from routoo_integrations.gateway.calls import ExpertEvent, ExpertReply
from routoo_integrations.gateway.decision_headers import headers_of
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.problems import Problem
from routoo_integrations.gateway.stored_responses import PendingResponse
from routoo_integrations.gateway.streaming import EventWriter

CALL_HEADER = "Routoo-Call"
"""Names a call in its reply, so that feedback can name it too."""


class CallerCall(Protocol):
    """A call in the protocol of its caller."""

    @property
    def model(self) -> str:
        """What its body names as its model."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Whether the reply is to come in pieces."""
        ...

    def forwarded_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers of the request that experts of the caller's own protocol are sent."""
        ...

    def may_be_answered_by(self, expert: Expert) -> bool:
        """Whether it can be put into a form that an expert speaks."""
        ...

    def routed_request(self, overrides: Overrides) -> RoutedRequest:
        """The call as the router reads it."""
        ...

    def cache_query(self) -> CacheQuery | None:
        """What it asks, for the cache of answers; ``None`` where that cannot be put into words."""
        ...

    def body_for(self, attempt: Attempt) -> JsonObject:
        """The body for an attempt's expert."""
        ...

    def note_reply(self, author: Author, text: str) -> None:
        """Remember who answered, so that the conversation's next turn is recognised."""
        ...

    def whole(self, reply: ExpertReply) -> bytes:
        """The body of a whole reply."""
        ...

    def writer(self) -> EventWriter:
        """Writes a streamed reply."""
        ...

    @property
    def pending_response(self) -> PendingResponse | None:
        """Stores its reply, which later calls may name; ``None`` where it is not stored."""
        ...


@dataclass(frozen=True)
class CallerStream:
    """A call that is answered as a stream; see :class:`~routoo_integrations.gateway.streaming.StreamedAnswer`.

    Attributes:
        call: The call.
        pieces: What its expert sends.
        notes: Of the call.
        request_headers: Of the caller.
        describe: What the caller is told of an error before the first piece.
    """

    call: CallerCall
    pieces: AsyncGenerator[ExpertEvent, None]
    notes: CallNotes
    request_headers: Mapping[str, str]
    describe: Callable[[Exception], Problem]

    @cached_property
    def writer(self) -> EventWriter:
        """Writes it in the caller's protocol."""
        return self.call.writer()

    async def first(self) -> ExpertEvent:
        """The first piece, or the error of a call that no expert answered."""
        with caller_trace(self.request_headers):
            first = await anext(self.pieces)
        self.notes.note_cached_reply(first.record)
        self.notes.note_first_event()
        return first

    def headers(self, first: ExpertEvent | None) -> dict[str, str]:
        """Headers of the reply: who answers is not known before the first piece."""
        decision = {} if first is None else headers_of(first)
        return {**decision, CALL_HEADER: self.notes.id}

    async def before_end(self) -> None:
        """Store the reply where it is to be stored."""
        if self.call.pending_response is not None:
            await off_loop(self.call.pending_response.save)
