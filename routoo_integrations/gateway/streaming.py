"""Streams of replies to callers: who leaves, or does not read on, lets go of the expert too.

Until the first piece is there, an error still has a status. A caller who waits long, such as for a reply that is
checked before any of it is shown, is sent a sign of life, and with it the head. What fails then, the stream itself
says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Protocol

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from routoo_core.calling.passage import DRAIN_S
from routoo_integrations.gateway.calls import ExpertEvent
from routoo_integrations.gateway.events import JsonObject, ServerEvent
from routoo_integrations.gateway.problems import Problem, problem_of

SEND_TIMEOUT_S = 30.0
"""Seconds for which a caller may leave a stream unread."""
SILENCE_S = 15.0
"""Seconds without an event after which a caller is sent a sign of life: proxies close what is silent for a minute."""


class EventWriter(Protocol):
    """Writes a stream in the caller's protocol."""

    @property
    def sign_of_life(self) -> bytes:
        """What clients of the protocol pass over."""
        ...

    def write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from one of the expert's."""
        ...

    def end(self) -> Iterator[ServerEvent]:
        """What ends a stream that is complete."""
        ...

    def fail(self, problem: Problem) -> Iterator[ServerEvent]:
        """What ends a stream that broke off."""
        ...

    def refusal(self, problem: Problem) -> JsonObject:
        """The body of a reply in the stream's place."""
        ...


class StreamedAnswer(Protocol):
    """The answer to a call that is streamed."""

    @property
    def writer(self) -> EventWriter:
        """Writes it."""
        ...

    @property
    def pieces(self) -> AsyncGenerator[ExpertEvent, None]:
        """What the expert sends."""
        ...

    async def first(self) -> ExpertEvent:
        """The first piece.

        Raises:
            Exception: There is none; :meth:`describe` says what the caller is told.
        """
        ...

    def headers(self, first: ExpertEvent | None) -> Mapping[str, str]:
        """Headers of the reply; ``None`` where the first piece is not there yet."""
        ...

    def describe(self, error: Exception) -> Problem:
        """The problem that the caller gets for an error before the first piece."""
        ...

    async def before_end(self) -> None:
        """Awaited before the caller is sent the last piece."""
        ...


class EventStream:
    """A streamed reply, as an ASGI application.

    Args:
        answer: What is sent.
        send_timeout_s: Seconds for which the caller may leave it unread.
        silence_s: Seconds without an event after which the caller is sent a sign of life.
    """

    def __init__(
        self,
        answer: StreamedAnswer,
        send_timeout_s: float = SEND_TIMEOUT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._answer = answer
        self._writer = answer.writer
        self._send_timeout_s = send_timeout_s
        self._silence_s = silence_s
        self._sent_at = time.monotonic()
        self._has_head = False
        self._is_left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all, or as much as the caller stays for."""
        sending = asyncio.current_task()
        assert sending is not None  # noqa: S101
        watching = asyncio.create_task(self._watch(receive, sending))
        keeping = asyncio.create_task(self._keep_alive(send))
        try:
            async with aclosing(self._answer.pieces):
                first = await self._first_piece(scope, receive, send, keeping)
                if first is not None:
                    await self._send_all(send, first)
        except asyncio.CancelledError:
            if not self._is_left:
                raise
            sending.uncancel()
        finally:
            watching.cancel()
            keeping.cancel()

    async def _watch(self, receive: Receive, sending: asyncio.Task[None]) -> None:
        """Wait for the caller to leave; an expert that is silent then is given up."""
        message = await receive()
        while message["type"] != "http.disconnect":
            message = await receive()
        self._is_left = True
        await asyncio.sleep(DRAIN_S)
        sending.cancel()

    async def _keep_alive(self, send: Send) -> None:
        """Send a sign of life whenever nothing else was sent for long."""
        while not self._is_left:
            silence_s = time.monotonic() - self._sent_at
            if silence_s < self._silence_s:
                await asyncio.sleep(self._silence_s - silence_s)
                continue
            await self._send_head(send, None)
            await self._send_data(send, self._writer.sign_of_life)

    async def _first_piece(
        self, scope: Scope, receive: Receive, send: Send, keeping: asyncio.Task[None]
    ) -> ExpertEvent | None:
        """The first piece; ``None`` where there is none, which the caller is told."""
        try:
            return await self._answer.first()
        except Exception as error:  # noqa: BLE001 (the caller is told what may be said of it)
            problem = self._answer.describe(error)
        keeping.cancel()
        if self._has_head:
            await self._end(send, self._writer.fail(problem))
        else:
            body = self._writer.refusal(problem)
            refusal = JSONResponse(body, problem.status, headers=problem.headers)
            await refusal(scope, receive, send)
        return None

    async def _send_all(self, send: Send, first: ExpertEvent) -> None:
        await self._send_head(send, first)
        try:
            await self._send_piece(send, first)
            async for piece in self._answer.pieces:
                if self._is_left:
                    return
                await self._send_piece(send, piece)
            last = self._writer.end()
        except Exception as error:  # noqa: BLE001 (the status is sent: the stream itself must say it)
            last = self._writer.fail(problem_of(error))
        await self._end(send, last)

    async def _send_head(self, send: Send, first: ExpertEvent | None) -> None:
        if not self._has_head:
            self._has_head = True
            await self._send(send, {"type": "http.response.start", **self._head(first)})

    async def _send_piece(self, send: Send, piece: ExpertEvent) -> None:
        data = _encode(self._writer.write(piece))
        if piece.record is not None:
            await self._answer.before_end()
        if data:
            await self._send_data(send, data)

    async def _send_data(self, send: Send, data: bytes) -> None:
        await self._send(send, {"type": "http.response.body", "body": data, "more_body": True})

    async def _end(self, send: Send, events: Iterator[ServerEvent]) -> None:
        await self._send(send, {"type": "http.response.body", "body": _encode(events)})

    async def _send(self, send: Send, message: dict[str, object]) -> None:
        """Send a part; a caller that reads nothing has left."""
        if self._is_left:
            return
        self._sent_at = time.monotonic()
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await send(message)
        except (TimeoutError, OSError):
            self._is_left = True

    def _head(self, first: ExpertEvent | None) -> dict[str, object]:
        fields = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **self._answer.headers(first),
        }
        headers = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()
        ]
        return {"status": 200, "headers": headers}


def _encode(events: Iterator[ServerEvent]) -> bytes:
    """Events as they are sent."""
    return b"".join(event.encode() for event in events)
