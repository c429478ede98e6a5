"""The driver of a call: decide, hold, call, read, settle, move on; once for each of the four ways of a call.

An adapter says how it calls an expert and how it reads the reply, as one of the small protocols below. The
driver tries the affordable candidates until one answers::

    reply = run(router, request, call)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.attempts import ReadRequest
from routoo_core.calling.passage import Passage
from routoo_core.calling.readings import AsyncStream, Piece, Reading, StreamReader
from routoo_core.record import DecisionRecord
from routoo_core.request import RoutedRequest
from routoo_core.threads import off_loop

if TYPE_CHECKING:
    from routoo_core.router import Router

Reply = TypeVar("Reply")


class ReplyReader(Protocol[Reply]):
    """Reads whole replies of an adapter's own type."""

    def read(self, reply: Reply) -> Reading:
        """What the reply says."""
        ...

    def stamp(self, reply: Reply, record: DecisionRecord) -> Reply:
        """The reply with its decision record where the adapter's users look for it."""
        ...


class WholeCall(ReplyReader[Reply], Protocol[Reply]):
    """A call that is answered as a whole."""

    def send(self, attempt: Attempt) -> Reply:
        """Call the attempt's expert and wait for the reply.

        Raises:
            NoReply: What came is none.
        """
        ...


class AsyncWholeCall(ReplyReader[Reply], Protocol[Reply]):
    """:class:`WholeCall`, async."""

    async def asend(self, attempt: Attempt) -> Reply:
        """Call the attempt's expert and wait for the reply.

        Raises:
            NoReply: What came is none.
        """
        ...


class StreamedCall(Protocol[Piece]):
    """A call that is answered in pieces."""

    def open(self, attempt: Attempt) -> Generator[Piece, Any, Any]:
        """Call the attempt's expert; the stream it answers with."""
        ...

    def reader(self, attempt: Attempt) -> StreamReader[Piece]:
        """A reader for this attempt's stream."""
        ...


class AsyncStreamedCall(Protocol[Piece]):
    """:class:`StreamedCall`, async."""

    async def aopen(self, attempt: Attempt) -> AsyncStream[Piece]:
        """Call the attempt's expert; the stream it answers with."""
        ...

    def reader(self, attempt: Attempt) -> StreamReader[Piece]:
        """A reader for this attempt's stream."""
        ...


Check = Callable[[Any], str | None]
"""Looks at a reply that was paid for: ``None`` accepts it, a text says why another expert must answer."""
Lookup = Callable[[RoutedRequest], Any]
"""Looks a request up in a cache: a reply, or ``None`` to call an expert."""
OnEnd = Callable[[Attempt], None]
"""Takes the attempt that ended a call."""


def run(
    router: Router,
    request: RoutedRequest,
    call: WholeCall[Reply],
    *,
    lookup: Lookup | None = None,
    check: Check | None = None,
    on_end: OnEnd | None = None,
) -> Reply:
    """The first reply that an affordable expert gives, settled and stamped.

    Args:
        router: Ranks the candidates and holds the money.
        request: The call as the router reads it.
        call: How the adapter calls an expert and reads its reply.
        lookup: Asked before any expert is called, such as a cache; what it returns is returned as it is.
        check: Looks at each reply after it was paid for; a rejected one lets the next candidate answer.
        on_end: Takes the attempt that ended the call, also where its error reached the caller; nothing is ended where
            every expert failed.

    Raises:
        BudgetExceeded: Nothing is affordable.
        AllExpertsFailed: Everything affordable failed or was rejected.
        NoCapableExpert: No expert can serve the request.
    """
    cached: Reply | None = lookup(request) if lookup else None
    if cached is not None:
        return cached
    attempts = router.attempts(request, on_end)
    while True:
        with attempts.start_next() as attempt:
            reply = call.send(attempt)
            reading = call.read(reply)
            attempt.received(reading.text, is_shown=False)
            attempt.settle(reading.usage, reading.model)
            fault = _fault(attempt, reading, reply, check)
            if fault is None:
                return call.stamp(reply, attempt.record())
            attempt.reject(fault)


async def arun(
    router: Router,
    read_request: ReadRequest,
    call: AsyncWholeCall[Reply],
    *,
    lookup: Lookup | None = None,
    check: Check | None = None,
    on_end: OnEnd | None = None,
) -> Reply:
    """:func:`run`, async: the call is read off the event loop, where the predictor and the ledger work as well."""
    if lookup is not None:
        cached: Reply | None = lookup(await off_loop(read_request))
        if cached is not None:
            return cached
    attempts = router.attempts_off_loop(read_request, on_end)
    while True:
        async with await attempts.start_next() as attempt:
            reply = await call.asend(attempt)
            reading = call.read(reply)
            attempt.received(reading.text, is_shown=False)
            await attempt.asettle(reading.usage, reading.model)
            fault = _fault(attempt, reading, reply, check)
            if fault is None:
                return call.stamp(reply, attempt.record())
            attempt.reject(fault)


def stream(
    router: Router,
    request: RoutedRequest,
    call: StreamedCall[Piece],
    *,
    on_end: OnEnd | None = None,
) -> Generator[Piece, None, None]:
    """The pieces of the first stream that an affordable expert gives; the last one carries the record.

    An expert that fails before its first visible piece is replaced by the next candidate. Afterwards the caller has
    seen a part of the reply, and the failure is a ``StreamInterrupted``; so is a stream that ends without a sign of
    its end. A stream that is closed early is read on for a short while, off the caller's path, so that what it cost is
    known; else the most that it can have cost is booked.

    Raises:
        StreamInterrupted: The expert failed after its first visible piece.
        BudgetExceeded: Nothing is affordable.
        AllExpertsFailed: Everything affordable failed.
        NoCapableExpert: No expert can serve the request.
    """
    attempts = router.attempts(request, on_end)
    while True:
        with attempts.start_next() as attempt:
            passage = Passage(attempt, call.reader(attempt))
            with passage.pieces_of(call.open(attempt)) as pieces:
                for piece in pieces:
                    yield from passage.let_through(piece)
            ending = passage.end()
            attempt.settle(ending.usage, ending.model)
            yield from passage.closing_pieces()
            return


async def astream(
    router: Router,
    read_request: ReadRequest,
    call: AsyncStreamedCall[Piece],
    *,
    on_end: OnEnd | None = None,
) -> AsyncGenerator[Piece, None]:
    """:func:`stream`, async, with as little on the event loop as :func:`arun`."""
    attempts = router.attempts_off_loop(read_request, on_end)
    while True:
        async with await attempts.start_next() as attempt:
            passage = Passage(attempt, call.reader(attempt))
            async with passage.apieces_of(await call.aopen(attempt)) as pieces:
                async for piece in pieces:
                    for visible_piece in passage.let_through(piece):
                        yield visible_piece
            ending = passage.end()
            await attempt.asettle(ending.usage, ending.model)
            for piece in passage.closing_pieces():
                yield piece
            return


def _fault(attempt: Attempt, reading: Reading, reply: Any, check: Check | None) -> str | None:
    """Why a reply is rejected: another model's, or refused by the check; ``None`` where it is accepted."""
    if attempt.is_other_model(reading.model):
        return f"model {reading.model!r} answered, and strict_model refuses it"
    return check(reply) if check else None
