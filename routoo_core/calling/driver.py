"""The driver of a call: decide, hold, call, read, settle, move on; once for each of the four ways of a call.

An adapter says how it calls an expert and how it reads the reply, as one of the small protocols below. The
driver tries the affordable candidates until one answers::

    reply = run(router, request, call)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from routoo_core.calling.attempt import Attempt
from routoo_core.errors import NoReply, OtherModelAnswered
from routoo_core.record import DecisionRecord
from routoo_core.request import RoutedRequest
from routoo_core.usage import Usage

if TYPE_CHECKING:
    from routoo_core.router import Router

Reply = TypeVar("Reply")
Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says.

    Attributes:
        text: Everything the expert wrote: text, and the arguments of tool calls.
        usage: The tokens it reports; ``None`` where it reports none.
        model: The model that it says has answered; ``None`` where it does not say.
        is_complete: Whether it came to its end. A stream without a sign of its end was cut off.
    """

    text: str = ""
    usage: Usage | None = None
    model: str | None = None
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class PieceReading:
    """What a piece of a stream adds.

    Attributes:
        text: What the expert wrote in it.
        is_visible: Whether it shows the caller anything: a piece with a role alone does not.
    """

    text: str
    is_visible: bool


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


class StreamReader(Protocol[Piece]):
    """Reads the pieces of one stream, in order."""

    def read(self, piece: Piece) -> PieceReading:
        """What a piece adds on its way to the caller, who may be shown a mark on it."""
        ...

    def finish(self) -> Reading:
        """What is known when the stream has ended, or has been cut off: text that no piece showed, the usage of all."""
        ...

    def last_piece(self, record: DecisionRecord) -> Piece | None:
        """A piece that adds nothing to the reply and carries the record; ``None`` for none."""
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

    async def aopen(self, attempt: Attempt) -> AsyncGenerator[Piece, Any]:
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
            if _accepted(attempt, reading, reply, check):
                return call.stamp(reply, attempt.record())


async def arun(
    router: Router,
    request: RoutedRequest,
    call: AsyncWholeCall[Reply],
    *,
    lookup: Lookup | None = None,
    check: Check | None = None,
    on_end: OnEnd | None = None,
) -> Reply:
    """:func:`run`, async: the predictor and the ledger work off the event loop."""
    cached: Reply | None = lookup(request) if lookup else None
    if cached is not None:
        return cached
    attempts = router.aattempts(request, on_end)
    while True:
        async with await attempts.start_next() as attempt:
            reply = await call.asend(attempt)
            reading = call.read(reply)
            attempt.received(reading.text, is_shown=False)
            await attempt.asettle(reading.usage, reading.model)
            if _accepted(attempt, reading, reply, check):
                return call.stamp(reply, attempt.record())


def stream(
    router: Router,
    request: RoutedRequest,
    call: StreamedCall[Piece],
    *,
    on_end: OnEnd | None = None,
) -> Generator[Piece, None, None]:
    """The pieces of the first stream that an affordable expert gives, and the piece with the record.

    An expert that fails before its first visible piece is replaced by the next candidate. Afterwards the caller has
    seen a part of the reply, and the failure is a ``StreamInterrupted``; so is a stream that ends without a sign of
    its end. A stream that is closed early is settled for what was received.

    Raises:
        StreamInterrupted: The expert failed after its first visible piece.
        BudgetExceeded: Nothing is affordable.
        AllExpertsFailed: Everything affordable failed.
        NoCapableExpert: No expert can serve the request.
    """
    attempts = router.attempts(request, on_end)
    while True:
        with attempts.start_next() as attempt:
            passage = _Passage(attempt, call.reader(attempt))
            with passage, closing(call.open(attempt)) as pieces:
                for piece in pieces:
                    yield from passage.let_through(piece)
            ending = passage.end()
            attempt.settle(ending.usage, ending.model)
            yield from passage.closing_pieces()
            return


async def astream(
    router: Router,
    request: RoutedRequest,
    call: AsyncStreamedCall[Piece],
    *,
    on_end: OnEnd | None = None,
) -> AsyncGenerator[Piece, None]:
    """:func:`stream`, async: the predictor and the ledger work off the event loop."""
    attempts = router.aattempts(request, on_end)
    while True:
        async with await attempts.start_next() as attempt:
            passage = _Passage(attempt, call.reader(attempt))
            with passage:
                async with aclosing(await call.aopen(attempt)) as pieces:
                    async for piece in pieces:
                        for visible_piece in passage.let_through(piece):
                            yield visible_piece
            ending = passage.end()
            await attempt.asettle(ending.usage, ending.model)
            for piece in passage.closing_pieces():
                yield piece
            return


class _Passage(Generic[Piece]):
    """Lets the pieces of one stream through to the caller, from the first on that shows anything.

    A strict expert's pieces are held back until the stream names its model, or ends without. Leaving the passage,
    however the stream ended, notes what the expert has reported so far.

    Args:
        attempt: Whose stream.
        reader: Reads its pieces.
    """

    def __init__(self, attempt: Attempt, reader: StreamReader[Piece]) -> None:
        self._attempt = attempt
        self._reader = reader
        self._withheld: list[Piece] = []
        self._is_open = False
        self._is_empty = True
        self._has_content = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        reading = self._reader.finish()
        self._attempt.reported(reading.usage, reading.model)

    def let_through(self, piece: Piece) -> Sequence[Piece]:
        """The pieces to hand to the caller now that this one has come."""
        self._is_empty = False
        reading = self._reader.read(piece)
        self._attempt.received(reading.text, self._is_open)
        if self._is_open:
            return (piece,)
        self._withheld.append(piece)
        self._has_content = self._has_content or reading.is_visible
        if not self._has_content or self._waits_for_model():
            return ()
        self._is_open = True
        self._attempt.shown()
        return self._take_withheld()

    def _waits_for_model(self) -> bool:
        """Whether the expert is strict and has not said yet which model answers.

        Raises:
            OtherModelAnswered: It has, and it is another.
        """
        if not self._attempt.expert.strict_model:
            return False
        reading = self._reader.finish()
        self._refuse_other_model(reading)
        return reading.model is None

    def end(self) -> Reading:
        """What is known of the whole stream.

        Raises:
            NoReply: It was empty, or cut off.
            OtherModelAnswered: It is another model's, and the expert is strict.
        """
        if self._is_empty:
            raise NoReply(self._attempt.expert.name, "an empty stream")
        ending = self._reader.finish()
        self._attempt.received(ending.text, self._is_open)
        if not ending.is_complete:
            raise NoReply(self._attempt.expert.name, "a stream that was cut off")
        self._refuse_other_model(ending)
        return ending

    def _refuse_other_model(self, reading: Reading) -> None:
        """Refuse a stream of another model than was asked, where the expert is strict.

        Raises:
            OtherModelAnswered: It is one.
        """
        if self._attempt.is_other_model(reading.model):
            expert = self._attempt.expert
            raise OtherModelAnswered(expert.name, expert.model, str(reading.model))

    def closing_pieces(self) -> Sequence[Piece]:
        """What follows once the stream is settled: a reply that shows nothing, and the piece with the record."""
        pieces = self._take_withheld()
        last = self._reader.last_piece(self._attempt.record())
        if last is not None:
            pieces.append(last)
        return pieces

    def _take_withheld(self) -> list[Piece]:
        pieces = self._withheld
        self._withheld = []
        return pieces


def _accepted(attempt: Attempt, reading: Reading, reply: Any, check: Check | None) -> bool:
    """Whether a reply comes from the model that was asked and passes the check; one that does not is rejected."""
    reason = check(reply) if check else None
    if attempt.is_other_model(reading.model):
        reason = f"model {reading.model!r} answered, and strict_model refuses it"
    if reason is None:
        return True
    attempt.reject(reason)
    return False
