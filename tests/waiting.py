"""Waiting for what happens off the caller's path."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], timeout_s: float = 100.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It does not hold in time.
    """
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.01)
