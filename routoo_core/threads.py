"""Blocking work off the event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from routoo_core.lifetimes import PerProcess

Result = TypeVar("Result")

_THREADS = PerProcess(lambda: ThreadPoolExecutor(max_workers=32, thread_name_prefix="routoo"))


async def off_loop(
    function: Callable[[], Result], undo: Callable[[Result], None] | None = None
) -> Result:
    """Run ``function`` in a thread; it is finished even when the wait is cancelled.

    Args:
        function: Does blocking work.
        undo: Takes the result, wherever the function ends, when nobody waits for it any more.
    """
    context = contextvars.copy_context()
    future: Future[Result] = _THREADS.get().submit(context.run, function)
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except asyncio.CancelledError:
        if undo is not None:
            _undo_when_done(future, undo)
        raise


def _undo_when_done(future: Future[Result], undo: Callable[[Result], None]) -> None:
    def on_done(done: Future[Result]) -> None:
        if done.exception() is None:
            undo(done.result())

    future.add_done_callback(on_done)
