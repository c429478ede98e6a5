"""An expert's limits of requests and tokens per minute."""

from __future__ import annotations

import asyncio
import time

from routoo_core.experts import Expert


class RateLimiter:
    """Spaces the calls of one expert, by its limits per minute and by pauses its server asks for.

    Args:
        expert: Its ``requests_per_minute`` and ``tokens_per_minute`` are the limits, where it has
            them.
    """

    def __init__(self, expert: Expert) -> None:
        self._seconds_per_call = 0.0
        if expert.requests_per_minute:
            self._seconds_per_call = 60 / expert.requests_per_minute
        self._seconds_per_token = 0.0
        if expert.tokens_per_minute:
            self._seconds_per_token = 60 / expert.tokens_per_minute
        self._next_start = 0.0

    async def wait(self, tokens: int) -> None:
        """Wait until a call of ``tokens``, prompt and reply, may start."""
        start = max(time.monotonic(), self._next_start)
        gap_s = max(self._seconds_per_call, self._seconds_per_token * tokens)
        self._next_start = start + gap_s
        await asyncio.sleep(start - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Start no call for ``seconds``."""
        end = time.monotonic() + seconds
        self._next_start = max(self._next_start, end)
