"""The clock that periods and holds follow: the wall's, which says when it jumps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch, such as ``time.time``."""

JUMP_S = 60.0
"""By how much the wall clock may part from the time that has passed; less is a correction, such as NTP makes."""

_LOGGER = logging.getLogger(__name__)


def elapsed_time() -> float:
    """Seconds that have passed since some moment, also while the machine slept; no setting of a clock changes it."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class WallClock:
    """The wall clock; a jump is logged as an error, since the periods of budgets jump with it.

    A jump never frees what is held: a hold that seems to have expired counts as spent, and its settlement corrects
    that. A jump into another period opens that period's limit.

    Args:
        wall: Seconds since the epoch.
        stopwatch: Seconds since any moment, which nobody sets.
    """

    def __init__(self, wall: Clock = time.time, stopwatch: Clock = elapsed_time) -> None:
        self._wall = wall
        self._stopwatch = stopwatch
        self._offset = wall() - stopwatch()
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Seconds since the epoch."""
        now = self._wall()
        offset = now - self._stopwatch()
        if abs(offset - self._offset) > JUMP_S:
            self._note_jump(offset)
        return now

    def __reduce__(self) -> tuple[type[WallClock], tuple[()]]:
        return type(self), ()  # another machine has its own

    def _note_jump(self, offset: float) -> None:
        with self._lock:
            jump_s = offset - self._offset
            self._offset = offset
        if abs(jump_s) > JUMP_S:
            _LOGGER.error(
                "the clock jumped by %+.0f s: periods of budgets follow it, holds keep their money; check the time "
                "of this machine",
                jump_s,
            )


WALL_CLOCK = WallClock()
"""This process's."""
