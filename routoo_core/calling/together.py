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
from routoo_core.errors import CallNotPrepared
from routoo_core.lifetimes import PerProcess
from routoo_core.threads import off_loop

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
        self._round: tuple[Attempt, ...] = ()
        self._futures: dict[Attempt, Future[Reply]] = {}

    def reply(self, attempt: Attempt) -> Reply:
        """The reply to an attempt; whatever sending it raises is raised here."""
        if len(attempt.round) == 1:
            return self._call.send(attempt)
        if attempt.round is not self._round:
            self._round = attempt.round
            for other in attempt.round:
                self._futures[other] = self._begin(other)
        return self._futures.pop(attempt).result()

    def close(self) -> None:
        """Cancel calls that are no longer needed. Those that already run end in the background and are booked then."""
        for attempt, future in self._futures.items():
            if future.cancel():
                attempt.release()
            else:
                attempt.detach()
                future.add_done_callback(partial(_settle_ended, attempt, self._call.read))

    def _begin(self, attempt: Attempt) -> Future[Reply]:
        """Send an attempt in a thread; where there is none to be had, it has failed without being sent."""
        attempt.begin()
        future: Future[Reply] = Future()
        context = contextvars.copy_context()
        try:
            _THREADS.get().submit(context.run, self._complete, future, attempt)
        except RuntimeError as error:
            if not future.cancel():
                return future  # a thread that was busy has taken it all the same
            future = Future()
            problem = f"{type(error).__name__}: {error}"
            future.set_exception(CallNotPrepared(attempt.expert.name, problem))
        return future

    def _complete(self, future: Future[Reply], attempt: Attempt) -> None:
        """Send an attempt, unless it was cancelled before."""
        if not future.set_running_or_notify_cancel():
            return
        try:
            reply = self._send(attempt)
        except BaseException as error:  # noqa: BLE001 (it is raised where the reply is awaited)
            future.set_exception(error)
        else:
            future.set_result(reply)

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
        self._sent: set[Attempt] = set()

    async def reply(self, attempt: Attempt) -> Reply:
        """The reply to an attempt; whatever sending it raises is raised here."""
        if len(attempt.round) == 1:
            return await self._call.asend(attempt)
        if attempt not in self._tasks:
            for other in attempt.round:
                other.begin()
                self._tasks[other] = asyncio.ensure_future(self._send(other))
        try:
            return await self._tasks.pop(attempt)
        except asyncio.CancelledError:
            if attempt not in self._sent:
                await off_loop(attempt.release)
            raise

    async def aclose(self) -> None:
        """Cancel calls that are no longer needed. Those that were sent are booked off the event loop."""
        for attempt, task in self._tasks.items():
            attempt.detach()
            task.add_done_callback(partial(self._settle, attempt))
            task.cancel()

    async def _send(self, attempt: Attempt) -> Reply:
        self._sent.add(attempt)
        try:
            return await self._call.asend(attempt)
        finally:
            attempt.booking.stop_clock()

    def _settle(self, attempt: Attempt, task: asyncio.Task[Reply]) -> None:
        settle: Callable[[], None] = partial(_settle_ended, attempt, self._call.read, task)
        if attempt not in self._sent:
            settle = attempt.release
        elif task.cancelled():
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
