"""Our errors as LangChain's own: retrying, falling back and summarising go by the kinds of ``ModelError``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from routoo_core.errors import (
    AllExpertsFailed,
    BudgetExceeded,
    ContextWindowExceeded,
    FinalFailure,
    HeldShareExceeded,
    InvalidRequest,
    NoCapableExpert,
    RoutingError,
    StreamInterrupted,
    specialised,
)

# One call


class PromptTooLong(ContextWindowExceeded, ContextOverflowError):
    """No expert's window can take the prompt."""


class NothingCapable(NoCapableExpert, ModelInvalidRequestError):
    """No expert can serve what the request needs."""


class RequestRefused(InvalidRequest, ModelInvalidRequestError):
    """The request cannot be routed."""


class BudgetSpent(BudgetExceeded, ModelError):
    """The account cannot afford the call; asking again changes nothing."""


class ShareHeld(HeldShareExceeded, ModelError):
    """The account holds as much at once as it may."""


class StreamBroken(StreamInterrupted, ModelConnectionError):
    """An expert failed after the caller had seen text."""


# All experts failed


class AllDiffered(AllExpertsFailed, ModelError):
    """They failed in different ways; the same call may succeed later."""

    is_retryable = True


class AllDifferedFinally(FinalFailure, ModelError):
    """They failed in different ways; none of them may succeed later."""


class AllThrottled(AllExpertsFailed, ModelRateLimitError):
    """All were asked too often."""


class AllTimedOut(AllExpertsFailed, ModelTimeoutError):
    """None answered in time."""


class AllUnreachable(AllExpertsFailed, ModelConnectionError):
    """None could be reached."""


class AllUnavailable(AllExpertsFailed, ModelAPIError):
    """All servers failed."""


class AllOutOfCredit(FinalFailure, ModelRateLimitError):
    """No provider has credit left; most say so with the status of a rate limit."""

    is_retryable = False


class AllUnauthenticated(FinalFailure, ModelAuthenticationError):
    """All refused their keys."""


class AllForbidden(FinalFailure, ModelPermissionDeniedError):
    """All denied permission."""


class AllUnknown(FinalFailure, ModelNotFoundError):
    """All models are unknown to their providers."""


class AllRefused(FinalFailure, ModelInvalidRequestError):
    """All refused the request."""


_OF_ONE_CALL: tuple[tuple[type[RoutingError], type[RoutingError]], ...] = (
    (ContextWindowExceeded, PromptTooLong),
    (NoCapableExpert, NothingCapable),
    (InvalidRequest, RequestRefused),
    (HeldShareExceeded, ShareHeld),
    (BudgetExceeded, BudgetSpent),
    (StreamInterrupted, StreamBroken),
)
"""Our error → the one that is LangChain's as well; the more special stands first."""
_GROUPS: tuple[tuple[type[ModelError], type[AllExpertsFailed]], ...] = (
    (ModelRateLimitError, AllThrottled),
    (ModelTimeoutError, AllTimedOut),
    (ModelConnectionError, AllUnreachable),
    (ModelAPIError, AllUnavailable),
    (ModelRateLimitError, AllOutOfCredit),
    (ModelAuthenticationError, AllUnauthenticated),
    (ModelPermissionDeniedError, AllForbidden),
    (ModelNotFoundError, AllUnknown),
    (ModelInvalidRequestError, AllRefused),
)
"""The kind of every failure → the group of such failures."""
_KIND_OF_REASON: MappingProxyType[str, type[ModelError]] = MappingProxyType(
    {
        "throttled": ModelRateLimitError,
        "timeout": ModelTimeoutError,
        "unreachable": ModelConnectionError,
        "unavailable": ModelAPIError,
        "no_reply": ModelAPIError,
        "credit": ModelRateLimitError,
        "key": ModelAuthenticationError,
        "filter": ModelInvalidRequestError,
        "parameter": ModelInvalidRequestError,
    }
)
"""Why an expert failed → the kind of the failure, where the error of its package is of none."""
_KIND_OF_STATUS: MappingProxyType[int, type[ModelError]] = MappingProxyType(
    {403: ModelPermissionDeniedError, 404: ModelNotFoundError}
)
"""HTTP status of a refused key, permission or model → the kind, likewise."""


@contextmanager
def errors_as_langchain() -> Iterator[None]:
    """Raise our errors within the block as LangChain's kinds of them."""
    try:
        yield
    except RoutingError as error:
        kind = _kind_of(error)
        if kind is None:
            raise
        raise specialised(error, kind) from error.__cause__


def _kind_of(error: RoutingError) -> type[RoutingError] | None:
    """The class that is LangChain's kind of an error as well; ``None`` where LangChain has none."""
    if isinstance(error, ModelError):
        return None
    if isinstance(error, AllExpertsFailed):
        return _kind_of_group(error)
    for own, kind in _OF_ONE_CALL:
        if isinstance(error, own):
            return kind
    return None


def _kind_of_group(group: AllExpertsFailed) -> type[AllExpertsFailed]:
    """The group of a kind where all failed alike."""
    is_final = isinstance(group, FinalFailure)
    failures = set()
    for error, reason in zip(group.exceptions, group.reasons, strict=False):
        failures.add(_kind_of_failure(error, reason))
    if len(failures) == 1:
        (failure,) = failures
        for kind, group_kind in _GROUPS:
            if kind is failure and issubclass(group_kind, FinalFailure) == is_final:
                return group_kind
    return AllDifferedFinally if is_final else AllDiffered


def _kind_of_failure(error: Exception, reason: str) -> type[ModelError] | None:
    """What LangChain calls the failure of one expert; ``None`` where it has no name for it."""
    for kind, _ in _GROUPS:
        if isinstance(error, kind):
            return kind
    kind_of_reason = _KIND_OF_REASON.get(reason)
    if reason != "key":
        return kind_of_reason
    return _KIND_OF_STATUS.get(getattr(error, "status_code", 0), kind_of_reason)
