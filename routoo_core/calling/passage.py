"""Passes the pieces of a stream from the expert to the caller, and ends a stream that the caller leaves."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Generic

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.readings import AsyncStream, Piece, Reading, StreamReader
from routoo_core.errors import OtherModelAnswered, ReplyCutOff
from routoo_core.lifetimes import PerProcess
from routoo_core.threads import off_loop

DRAIN_S = 2.0
"""Seconds for which a stream that its caller has left is read on, as most report their usage at the end."""

_LOGGER = logging.getLogger(__name__)
_THREADS = PerProcess(lambda: ThreadPoolExecutor(max_workers=8, thread_name_prefix="routoo-drain"))
_TASKS: set[asyncio.Task[None]] = set()


@dataclass(frozen=True, slots=True)
class _WaitingPiece(Generic[Piece]):
    """A piece that has not been handed to the caller yet."""

    piece: Piece
    is_visible: bool


class Passage(Generic[Piece]):
    """Lets the pieces of one stream through to the caller, from the first on that shows anything.

    Once the stream has announced its end, each piece waits for the one behind it, since the last one carries the
    record. A strict expert's pieces are held back until the stream names its model, or ends without. Those of a reply
    that is checked are held back until it is whole.

    Args:
        attempt: Whose stream.
        reader: Reads its pieces.
    """

    def __init__(self, attempt: Attempt, reader: StreamReader[Piece]) -> None:
        self._attempt = attempt
        self._reader = reader
        self._waiting_pieces: list[_WaitingPiece[Piece]] = []
        self._is_open = False
        self._is_empty = True
        self._calls_tool = False

    @property
    def is_open(self) -> bool:
        """Whether the caller has received a part of the reply."""
        return self._is_open

    @contextmanager
    def pieces_of(self, stream: Generator[Piece, Any, Any]) -> Iterator[Iterator[Piece]]:
        """The pieces of a stream, which is closed at the end; one that its caller has left is read on elsewhere."""
        is_left = False
        try:
            yield stream
        except GeneratorExit:
            is_left = True
            raise
        finally:
            self._report()
            if not is_left or not self._drain(stream):
                stream.close()

    @asynccontextmanager
    async def apieces_of(self, stream: AsyncStream[Piece]) -> AsyncIterator[AsyncIterator[Piece]]:
        """:meth:`pieces_of`, async."""
        is_left = False
        try:
            yield stream
        except GeneratorExit:
            is_left = True
            raise
        finally:
            self._report()
            if not is_left or not self._adrain(stream):
                await stream.aclose()

    def let_through(self, piece: Piece) -> Sequence[Piece]:
        """The pieces to hand to the caller now that this one has come."""
        self._is_empty = False
        reading = self._reader.read(piece)
        self._calls_tool = self._calls_tool or reading.calls_tool
        self._attempt.received(reading.text, self._is_open)
        self._waiting_pieces.append(_WaitingPiece(piece, reading.is_visible))
        count = len(self._waiting_pieces)
        if reading.may_be_last:
            count -= 1
        if not self._is_open:
            has_content = any(waiting.is_visible for waiting in self._waiting_pieces[:count])
            is_held_back = self._attempt.holds_back(self._calls_tool)
            if not has_content or is_held_back or self._waits_for_model():
                return ()
            self._is_open = True
            self._attempt.note_shown()
        return self._take_waiting_pieces(count)

    def end(self) -> Reading:
        """What is known of the whole stream.

        Raises:
            ReplyCutOff: It was empty, or ended before its end.
            OtherModelAnswered: It is another model's, and the expert is strict.
        """
        if self._is_empty:
            raise ReplyCutOff(self._attempt.expert.name, "an empty stream")
        ending = self._reader.finish()
        self._attempt.received(ending.text, self._is_open)
        if not ending.is_complete:
            raise ReplyCutOff(self._attempt.expert.name)
        self._refuse_other_model(ending)
        return ending

    def closing_pieces(self) -> Sequence[Piece]:
        """The pieces that are left once the stream is settled; the last one carries the record."""
        if not self._is_open:  # it was held back
            self._is_open = True
            self._attempt.note_shown()
        pieces = self._take_waiting_pieces(len(self._waiting_pieces))
        if not pieces:
            pieces.append(self._reader.closing_piece())
        pieces[-1] = self._reader.stamp(pieces[-1], self._attempt.record())
        return pieces

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

    def _refuse_other_model(self, reading: Reading) -> None:
        """Refuse a stream of another model than was asked, where the expert is strict.

        Raises:
            OtherModelAnswered: It is one.
        """
        if self._attempt.is_other_model(reading.model):
            expert = self._attempt.expert
            raise OtherModelAnswered(expert.name, expert.model, str(reading.model))

    def _take_waiting_pieces(self, count: int) -> list[Piece]:
        """The first of the waiting pieces, which wait no longer."""
        pieces = [waiting.piece for waiting in self._waiting_pieces[:count]]
        del self._waiting_pieces[:count]
        return pieces

    def _report(self) -> None:
        """Tell the attempt what the expert has reported so far."""
        reading = self._reader.finish()
        self._attempt.reported(reading.usage, reading.model)

    # A stream that its caller has left

    def _drain(self, pieces: Generator[Piece, Any, Any]) -> bool:
        """Read a stream on in a thread; ``False`` where no thread can be had any more."""
        deadline = time.monotonic() + DRAIN_S
        context = contextvars.copy_context()
        try:
            _THREADS.get().submit(context.run, self._read_on, pieces, deadline)
        except RuntimeError:  # the interpreter ends
            return False
        self._attempt.detach()
        return True

    def _read_on(self, pieces: Generator[Piece, Any, Any], deadline: float) -> None:
        is_exhausted = False
        try:
            with closing(pieces):
                while time.monotonic() < deadline and not is_exhausted:
                    piece = next(pieces, None)
                    is_exhausted = piece is None
                    if piece is not None:
                        self._read_unseen(piece)
        except Exception as error:  # noqa: BLE001 (nobody is left to take it)
            self._log_failure(error)
        finally:
            self._settle_detached(is_exhausted)

    def _adrain(self, pieces: AsyncStream[Piece]) -> bool:
        """Read a stream on in a task of the running loop; ``False`` where there is none."""
        try:
            task = asyncio.get_running_loop().create_task(self._aread_on(pieces))
        except RuntimeError:  # the loop ends
            return False
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)
        self._attempt.detach()
        return True

    async def _aread_on(self, pieces: AsyncStream[Piece]) -> None:
        is_exhausted = False
        try:
            async with asyncio.timeout(DRAIN_S), aclosing(pieces):
                async for piece in pieces:
                    self._read_unseen(piece)
                is_exhausted = True
        except asyncio.CancelledError:
            self._settle_detached(is_exhausted=False)  # the loop ends, and waits for no thread
            raise
        except Exception as error:  # noqa: BLE001 (nobody is left to take it)
            self._log_failure(error)
        await off_loop(lambda: self._settle_detached(is_exhausted))

    def _read_unseen(self, piece: Piece) -> None:
        """Note what a piece adds that reaches nobody any more."""
        self._attempt.received(self._reader.read(piece).text)

    def _settle_detached(self, is_exhausted: bool) -> None:
        reading = self._reader.finish()
        self._attempt.received(reading.text)
        is_complete = reading.is_complete and (is_exhausted or reading.usage is not None)
        self._attempt.settle_detached(reading.usage, reading.model, is_complete)

    def _log_failure(self, error: Exception) -> None:
        name = self._attempt.expert.name
        _LOGGER.debug("a stream of %s failed after its caller left: %s", name, type(error).__name__)
