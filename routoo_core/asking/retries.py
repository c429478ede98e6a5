"""How long to wait before a failed call is tried again."""

from __future__ import annotations

import random

from routoo_core.failures import Failure

_LONGEST_WAIT_S = 60.0


def seconds_before_retry(failure: Failure, tries: int) -> float:
    """Seconds before the next try: what the server asks for, else twice as long after each try.

    Args:
        failure: What went wrong.
        tries: Tries that failed before this one.
    """
    if failure.retry_after_s is not None:
        return failure.retry_after_s
    jitter = random.uniform(0.75, 1.25)  # noqa: S311
    return min(_LONGEST_WAIT_S, 2.0 ** (tries - 1)) * jitter
