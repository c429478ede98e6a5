"""The driver of a call: decide, hold, call, read, settle, move on; once for each of the four ways of a call.

An adapter says how it calls an expert and how it reads the reply, as one of the small protocols below. The
driver tries the affordable candidates until one gives a reply that its call's checks accept::

    reply = run(router, request, call)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.attempts import ReadRequest
from routoo_core.calling.call import OnEnd
from routoo_core.calling.outcomes import PaidReply
from routoo_core.calling.passage import Passage
from routoo_core.calling.readings import AsyncStream, Piece, Reading, StreamReader
from routoo_core.calling.recall import CallCache
from routoo_core.calling.together import AsyncSentTogether, SentTogether
from routoo_core.record import DecisionRecord
from routoo_core.request import RoutedRequest

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


def run(
    router: Router,
    request: RoutedRequest,
    call: WholeCall[Reply],
    *,
    on_end: OnEnd | None = None,
) -> Reply:
    """The first reply that an affordable expert gives, settled and stamped.

    Args:
        router: Ranks the candidates and holds the money.
        request: The call as the router reads it.
        call: How the adapter calls an expert and reads its reply.
        on_end: Takes the attempt that ended the call, also where its error reached the caller; the last one where
            every expert failed.

    Raises:
        BudgetExceeded: Nothing is affordable.
        AllExpertsFailed: Everything affordable failed or was rejected.
        NoCapableExpert: No expert can serve the request.
    """
    cache = CallCache(router, lambda: request, call)
    cache_reply: Reply | None = cache.reply()
    if cache_reply is not None:
        return cache_reply
    attempts = router.attempts(cache.request(), on_end)
    with closing(SentTogether(call)) as requests:
        while True:
            following = attempts.start_next()
            if isinstance(following, PaidReply):
                if following.is_accepted:
                    cache.keep(call.read(following.reply), following.attempt)
                return call.stamp(following.reply, following.attempt.record())
            with following as attempt:
                reply = requests.reply(attempt)
                reading = call.read(reply)
                attempt.received(reading.text, is_shown=False)
                attempt.settle(reading.usage, reading.model)
                if attempt.accepts(reading.answer, reading.model, reply):
                    cache.keep(reading, attempt)
                    return call.stamp(reply, attempt.record())


async def arun(
    router: Router,
    read_request: ReadRequest,
    call: AsyncWholeCall[Reply],
    *,
    on_end: OnEnd | None = None,
) -> Reply:
    """:func:`run`, async: the call is read off the event loop, where the predictor and the ledger work as well."""
    cache = CallCache(router, read_request, call)
    cache_reply: Reply | None = await cache.areply()
    if cache_reply is not None:
        return cache_reply
    attempts = router.attempts_off_loop(cache.request, on_end)
    async with aclosing(AsyncSentTogether(call)) as requests:
        while True:
            following = await attempts.start_next()
            if isinstance(following, PaidReply):
                if following.is_accepted:
                    await cache.akeep(call.read(following.reply), following.attempt)
                return call.stamp(following.reply, following.attempt.record())
            async with following as attempt:
                reply = await requests.reply(attempt)
                reading = call.read(reply)
                attempt.received(reading.text, is_shown=False)
                await attempt.asettle(reading.usage, reading.model)
                if await attempt.aaccepts(reading.answer, reading.model, reply):
                    await cache.akeep(reading, attempt)
                    return call.stamp(reply, attempt.record())


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
    known; else the most that it can have cost is booked. A checked reply is shown once it is whole and accepted.

    Raises:
        StreamInterrupted: The expert failed after its first visible piece.
        BudgetExceeded: Nothing is affordable.
        AllExpertsFailed: Everything affordable failed.
        NoCapableExpert: No expert can serve the request.
    """
    cache = CallCache(router, lambda: request, call)
    cache_piece: Piece | None = cache.piece()
    if cache_piece is not None:
        yield cache_piece
        return
    attempts = router.attempts(cache.request(), on_end)
    while True:
        following = attempts.start_next()
        if isinstance(following, PaidReply):
            if following.is_accepted:
                cache.keep(following.reply.end(), following.attempt)
            yield from following.reply.closing_pieces()
            return
        with following as attempt:
            passage = Passage(attempt, call.reader(attempt))
            with passage.pieces_of(call.open(attempt)) as pieces:
                for piece in pieces:
                    yield from passage.let_through(piece)
            ending = passage.end()
            attempt.settle(ending.usage, ending.model)
            if passage.is_open or attempt.accepts(ending.answer, ending.model, passage):
                cache.keep(ending, attempt)
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
    cache = CallCache(router, read_request, call)
    cache_piece: Piece | None = await cache.apiece()
    if cache_piece is not None:
        yield cache_piece
        return
    attempts = router.attempts_off_loop(cache.request, on_end)
    while True:
        following = await attempts.start_next()
        if isinstance(following, PaidReply):
            if following.is_accepted:
                await cache.akeep(following.reply.end(), following.attempt)
            for piece in following.reply.closing_pieces():
                yield piece
            return
        async with following as attempt:
            passage = Passage(attempt, call.reader(attempt))
            async with passage.apieces_of(await call.aopen(attempt)) as pieces:
                async for piece in pieces:
                    for visible_piece in passage.let_through(piece):
                        yield visible_piece
            ending = passage.end()
            await attempt.asettle(ending.usage, ending.model)
            if passage.is_open or await attempt.aaccepts(ending.answer, ending.model, passage):
                await cache.akeep(ending, attempt)
                for piece in passage.closing_pieces():
                    yield piece
                return
