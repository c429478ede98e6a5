"""What an error of an expert means: whether it was billed, who else may succeed, and when to try again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from routoo_core.errors import RoutooError

_REQUEST_STATUSES = frozenset({400, 413, 422})
"""Statuses that blame the request: another expert would refuse it as well."""
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same call may succeed later."""
_TRANSPORT_ERRORS = frozenset({"APIConnectionError", "APIError", "TransportError"})
"""Classes of openai's and httpx's errors of the connection, in either version."""
_NEVER_SENT_ERRORS = frozenset(
    {"ConnectError", "ConnectTimeout", "ConnectionRefusedError", "PoolTimeout", "gaierror"}
)
"""Classes of errors after which no byte of the request has reached the expert."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error of a call means.

    Attributes:
        status: The HTTP status it carries, if it carries one.
        may_be_billed: Whether the expert may have worked: not when it was never reached or answered with an error
            status.
        another_may_succeed: Whether it is this expert's failure rather than the request's or the caller's code.
        may_succeed_later: Whether the same call to the same expert may succeed later.
        retry_after_s: Seconds the server asks to wait; ``None`` where it asks for nothing.
        description: Type and status only, since messages may quote the prompt.
    """

    status: int | None
    may_be_billed: bool
    another_may_succeed: bool
    may_succeed_later: bool
    retry_after_s: float | None
    description: str


def read_failure(error: BaseException) -> Failure:
    """What an error that was raised while an expert was called means."""
    status = _http_status(error)
    if status is None:
        of_transport = _is_transport_error(error)
        another_may_succeed = of_transport
        may_succeed_later = of_transport
    else:
        another_may_succeed = status not in _REQUEST_STATUSES
        may_succeed_later = status in _TRANSIENT_STATUSES or status >= 500
    return Failure(
        status=status,
        may_be_billed=_may_be_billed(error, status),
        another_may_succeed=another_may_succeed,
        may_succeed_later=may_succeed_later,
        retry_after_s=_retry_after_s(error),
        description=_describe(error, status),
    )


def _http_status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status
    response = getattr(error, "response", None)
    response_status = getattr(response, "status_code", None)
    return response_status if isinstance(response_status, int) else None


def _is_transport_error(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return True
    return any(kind.__name__ in _TRANSPORT_ERRORS for kind in type(error).__mro__)


def _may_be_billed(error: BaseException, status: int | None) -> bool:
    if isinstance(error, RoutooError):  # raised while the call was put together
        return False
    if status is not None:
        return False
    return not any(type(cause).__name__ in _NEVER_SENT_ERRORS for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was raised from."""
    seen_ids: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen_ids:
        seen_ids.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _retry_after_s(error: BaseException) -> float | None:
    """The ``Retry-After`` header of the response, which is seconds or a date."""
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        return None
    header = headers.get("retry-after", "")
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _describe(error: BaseException, status: int | None) -> str:
    name = type(error).__name__
    return name if status is None else f"{name} ({status})"
