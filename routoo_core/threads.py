"""Blocking work off the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from routoo_core.lifetimes import PerProcess

Result = TypeVar("Result")

_THREADS = PerProcess(lambda: ThreadPoolExecutor(max_workers=32, thread_name_prefix="routoo"))
_SLOW_THREADS = PerProcess(
    lambda: ThreadPoolExecutor(max_workers=32, thread_name_prefix="routoo-slow")
)


async def off_loop(
    function: Callable[[], Result],
    undo: Callable[[Result], None] | None = None,
    is_slow: bool = False,
) -> Result:
    """Run ``function`` in a thread; it is finished even when the wait is cancelled.

    Args:
        function: Does blocking work.
        undo: Takes the result, wherever the function ends, when nobody waits for it any more.
        is_slow: Whether it may take seconds, as running code does. Nothing quick waits for a thread behind it.
    """
    work = _Work(function, undo)
    context = contextvars.copy_context()
    threads = _SLOW_THREADS if is_slow else _THREADS
    threads.get().submit(context.run, work.run)
    return await work.result()


class _Work(Generic[Result]):
    """Work in a thread for one task of a loop; asyncio's own way takes three futures for it, and twice as long."""

    def __init__(
        self, function: Callable[[], Result], undo: Callable[[Result], None] | None
    ) -> None:
        self._function = function
        self._undo = undo
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Result] = self._loop.create_future()
        self._lock = threading.Lock()
        self._results: list[Result] = []
        self._is_awaited = True

    async def result(self) -> Result:
        """The result, for the task that waits."""
        try:
            return await self._outcome
        except asyncio.CancelledError:
            self._leave()
            raise

    def run(self) -> None:
        """Do the work, in the thread."""
        try:
            result = self._function()
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is awaited)
            self._tell(partial(self._fail, error))
            return
        with self._lock:
            self._results.append(result)
            is_awaited = self._is_awaited
        if not is_awaited or not self._tell(self._succeed):
            self._undo_results()

    def _leave(self) -> None:
        """Note that nobody waits any more."""
        with self._lock:
            self._is_awaited = False
        if self._outcome.done() and not self._outcome.cancelled():
            self._outcome.exception()  # taken here: asyncio would log it otherwise
        self._undo_results()

    def _undo_results(self) -> None:
        """Undo what nobody takes, once: the thread and the loop may both come here."""
        with self._lock:
            results = self._results
            self._results = []
        if self._undo is not None:
            for result in results:
                self._undo(result)

    def _tell(self, deliver: Callable[[], None]) -> bool:
        """Whether the loop is there to be told."""
        try:
            self._loop.call_soon_threadsafe(deliver)
        except RuntimeError:  # it is closed
            return False
        return True

    def _succeed(self) -> None:
        if not self._outcome.done():
            self._outcome.set_result(self._results[0])

    def _fail(self, error: BaseException) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)
