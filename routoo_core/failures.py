"""What an error of an expert means."""

from __future__ import annotations

from routoo_core.errors import RoutooError

_THE_REQUESTS_FAULT = frozenset({400, 413, 422})  # another expert would refuse it as well


_TRANSPORT = frozenset(
    {"APIConnectionError", "APIError", "TransportError"}
)  # openai's and httpx's, either version


_NEVER_SENT = frozenset(
    {"ConnectError", "ConnectTimeout", "ConnectionRefusedError", "PoolTimeout", "gaierror"}
)


def another_may_succeed(error: Exception) -> bool:
    """Whether the failure is this expert's rather than the request's or the caller's code."""
    status = status_of(error)
    if status is not None:
        return status not in _THE_REQUESTS_FAULT
    return isinstance(error, OSError) or bool(
        _TRANSPORT & {kind.__name__ for kind in type(error).__mro__}
    )


def may_be_billed(error: BaseException) -> bool:
    """Whether the expert may have worked: not when it was never reached or answered with an error status."""
    if isinstance(error, RoutooError):  # raised while the call was put together
        return False
    return status_of(error) is None and not any(
        type(cause).__name__ in _NEVER_SENT for cause in _chain(error)
    )


def status_of(error: BaseException) -> int | None:
    """The HTTP status an error carries, if it carries one."""
    status = getattr(error, "status_code", None)
    return (
        status
        if isinstance(status, int)
        else getattr(getattr(error, "response", None), "status_code", None)
    )


def describe_error(error: BaseException | None) -> str:
    """Type and status only: messages may quote the prompt."""
    status = status_of(error) if error else None
    return type(error).__name__ + (f" ({status})" if status else "")


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain
