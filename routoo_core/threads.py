"""Blocking work off the event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


_THREADS = ThreadPoolExecutor(max_workers=32, thread_name_prefix="routoo")


async def off_loop(function: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """Run ``function`` in a thread; it is finished even when the wait is cancelled.

    Args:
        function: What blocks.
        undo: Called with its result, wherever it ends, when nobody waits for it any more.
    """
    future: Future[T] = _THREADS.submit(contextvars.copy_context().run, function)
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except asyncio.CancelledError:
        if undo is not None:
            future.add_done_callback(lambda done: None if done.exception() else undo(done.result()))
        raise
