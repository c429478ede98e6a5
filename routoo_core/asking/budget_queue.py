"""Calls of one run that wait for the money which other calls of the run hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from routoo_core.errors import BudgetExceeded

Result = TypeVar("Result")


class BudgetQueue:
    """Tries a call again when a budget refused it and another call has since given money back.

    A hold covers the most that a call can cost, so that a few calls may hold a whole budget that in
    the end pays for many more. A refusal counts only when no other call is running.
    """

    def __init__(self) -> None:
        self._running = 0
        self._call_end = asyncio.Event()

    async def run(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """The result of ``call``.

        Args:
            call: Started anew at each try.

        Raises:
            BudgetExceeded: No other call holds money, and the budget still refuses this one.
        """
        while True:
            call_end = self._call_end  # the event of now, before this try
            refusal: BudgetExceeded | None = None
            self._running += 1
            try:
                return await call()
            except BudgetExceeded as error:
                refusal = error
            finally:
                self._running -= 1
                if refusal is None:
                    self._wake_waiting()

            if self._running == 0 and not call_end.is_set():
                self._wake_waiting()  # the others are refused as well
                raise refusal
            await call_end.wait()

    def _wake_waiting(self) -> None:
        self._call_end.set()
        self._call_end = asyncio.Event()
