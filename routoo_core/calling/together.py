"""Sends the attempts of a plan's round at the same time; every other attempt is sent as it is."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.readings import Reading
from routoo_core.lifetimes import PerProcess

if TYPE_CHECKING:
    from routoo_core.calling.driver import AsyncWholeCall, WholeCall

Reply = TypeVar("Reply")

_THREADS = PerProcess(lambda: ThreadPoolExecutor(max_workers=64, thread_name_prefix="routoo-plan"))


class SentTogether(Generic[Reply]):
    """Sends attempts of one call, those of one round of a plan in threads; close it when the call ends.

    Args:
        call: Sends an attempt, and reads its reply.
    """

    def __init__(self, call: WholeCall[Reply]) -> None:
        self._call = call
        self._futures: dict[Attempt, Future[Reply]] = {}

    def reply(self, attempt: Attempt) -> Reply:
        """The reply to an attempt; whatever sending it raises is raised here."""
        if len(attempt.round) == 1:
            return self._call.send(attempt)
        if attempt not in self._futures:
            for other in attempt.round:
                other.begin()
                context = contextvars.copy_context()
                self._futures[other] = _THREADS.get().submit(context.run, self._send, other)
        return self._futures.pop(attempt).result()

    def close(self) -> None:
        """Cancel calls that are no longer needed. Those that already run end in the background and are booked then."""
        for attempt, future in self._futures.items():
            if future.cancel():
                attempt.release()
            else:
                attempt.detach()
                future.add_done_callback(partial(_settle_ended, attempt, self._call.read))

    def _send(self, attempt: Attempt) -> Reply:
        try:
            return self._call.send(attempt)
        finally:
            attempt.booking.stop_clock()


class AsyncSentTogether(Generic[Reply]):
    """:class:`SentTogether` with tasks of the running loop, which end with the call."""

    def __init__(self, call: AsyncWholeCall[Reply]) -> None:
        self._call = call
        self._tasks: dict[Attempt, asyncio.Task[Reply]] = {}

    async def reply(self, attempt: Attempt) -> Reply:
        """The reply to an attempt; whatever sending it raises is raised here."""
        if len(attempt.round) == 1:
            return await self._call.asend(attempt)
        if attempt not in self._tasks:
            for other in attempt.round:
                other.begin()
                self._tasks[other] = asyncio.ensure_future(self._send(other))
        return await self._tasks.pop(attempt)

    async def aclose(self) -> None:
        """Cancel the calls that are no longer needed. What they may have cost is booked off the event loop."""
        for attempt, task in self._tasks.items():
            attempt.detach()
            task.add_done_callback(partial(self._settle, attempt))
            task.cancel()

    async def _send(self, attempt: Attempt) -> Reply:
        try:
            return await self._call.asend(attempt)
        finally:
            attempt.booking.stop_clock()

    def _settle(self, attempt: Attempt, task: asyncio.Task[Reply]) -> None:
        settle = partial(_settle_ended, attempt, self._call.read, task)
        if task.cancelled():
            settle = partial(attempt.settle_detached, None, None, is_complete=False)
        _THREADS.get().submit(contextvars.copy_context().run, settle)


def _settle_ended(
    attempt: Attempt, reader: Callable[[Reply], Reading], task: Future[Reply] | asyncio.Task[Reply]
) -> None:
    """Book an attempt that its call has left: as its reply or its error says."""
    try:
        reading = reader(task.result())
    except Exception as error:  # noqa: BLE001 (nobody is left to take it)
        attempt.settle_detached(None, None, is_complete=False, error=error)
    else:
        attempt.received(reading.text, is_shown=False)
        attempt.settle_detached(reading.usage, reading.model, is_complete=True)
