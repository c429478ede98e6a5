"""Whether a failed call may succeed later, and how long to wait before the next try."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime

from routoo_core.failures import another_may_succeed, status_of

_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_LONGEST_WAIT_S = 60.0


def may_succeed_later(error: Exception) -> bool:
    """Whether the same call to the same expert may succeed a little later."""
    status = status_of(error)
    if status is None:
        return another_may_succeed(error)
    return status in _TRANSIENT_STATUSES or status >= 500


def seconds_before_retry(error: Exception, tries: int) -> float:
    """Seconds before the next try: what the server asks for, else twice as long after each try.

    Args:
        error: The failure; its response may have a ``Retry-After`` header, in seconds or as a date.
        tries: Tries that failed before this one.
    """
    response = getattr(error, "response", None)
    retry_after = getattr(response, "headers", {}).get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(retry_after))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())

    jitter = random.uniform(0.75, 1.25)  # noqa: S311
    return min(_LONGEST_WAIT_S, 2.0 ** (tries - 1)) * jitter
