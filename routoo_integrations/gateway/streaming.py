"""Streams of replies to callers: who leaves, or does not read on, lets go of the expert too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Protocol

from starlette.types import Receive, Scope, Send

from routoo_core.calling.passage import DRAIN_S
from routoo_integrations.gateway.calls import ExpertEvent
from routoo_integrations.gateway.events import ServerEvent
from routoo_integrations.gateway.problems import Problem, problem_of

SEND_TIMEOUT_S = 30.0
"""Seconds for which a caller may leave a stream unread."""


class EventWriter(Protocol):
    """Writes a stream in the caller's protocol."""

    def write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from one of the expert's."""
        ...

    def end(self) -> Iterator[ServerEvent]:
        """What ends a stream that is complete."""
        ...

    def fail(self, problem: Problem) -> Iterator[ServerEvent]:
        """What ends a stream that broke off."""
        ...


class EventStream:
    """A streamed reply, as an ASGI application: it is sent once its first piece is there.

    Args:
        first: The first piece.
        pieces: The rest.
        writer: Writes them in the caller's protocol.
        headers: Of the reply.
        send_timeout_s: Seconds for which the caller may leave it unread.
    """

    def __init__(
        self,
        first: ExpertEvent,
        pieces: AsyncGenerator[ExpertEvent, None],
        writer: EventWriter,
        headers: Mapping[str, str],
        send_timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        self._first = first
        self._pieces = pieces
        self._writer = writer
        self._headers = headers
        self._send_timeout_s = send_timeout_s
        self._is_left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all, or as much as the caller stays for."""
        sending = asyncio.current_task()
        assert sending is not None  # noqa: S101
        watching = asyncio.create_task(self._watch(receive, sending))
        try:
            async with aclosing(self._pieces):
                await self._send_all(send)
        except asyncio.CancelledError:
            if not self._is_left:
                raise
            sending.uncancel()
        finally:
            watching.cancel()

    async def _watch(self, receive: Receive, sending: asyncio.Task[None]) -> None:
        """Wait for the caller to leave; an expert that is silent then is given up."""
        message = await receive()
        while message["type"] != "http.disconnect":
            message = await receive()
        self._is_left = True
        await asyncio.sleep(DRAIN_S)
        sending.cancel()

    async def _send_all(self, send: Send) -> None:
        await self._send(send, {"type": "http.response.start", **self._head()})
        try:
            await self._send_events(send, self._writer.write(self._first))
            async for piece in self._pieces:
                if self._is_left:
                    return
                await self._send_events(send, self._writer.write(piece))
            await self._send_events(send, self._writer.end())
        except Exception as error:  # noqa: BLE001 (the status is sent: the stream itself must say it)
            await self._send_events(send, self._writer.fail(problem_of(error)))
        await self._send(send, {"type": "http.response.body", "body": b""})

    async def _send_events(self, send: Send, events: Iterator[ServerEvent]) -> None:
        data = b"".join(event.encode() for event in events)
        if data:
            await self._send(send, {"type": "http.response.body", "body": data, "more_body": True})

    async def _send(self, send: Send, message: dict[str, object]) -> None:
        """Send a part; a caller that reads nothing has left."""
        if self._is_left:
            return
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await send(message)
        except (TimeoutError, OSError):
            self._is_left = True

    def _head(self) -> dict[str, object]:
        fields = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **self._headers,
        }
        headers = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()
        ]
        return {"status": 200, "headers": headers}
