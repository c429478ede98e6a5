"""The error that a caller gets for a failed call: a status, a type and a code, in the caller's protocol."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from routoo_core.errors import (
    AllExpertsFailed,
    BudgetExceeded,
    ContextWindowExceeded,
    FinalFailure,
    HeldShareExceeded,
    InvalidRequest,
    LedgerError,
    LedgerUnavailable,
    NoCapableExpert,
    PredictionFailed,
    RoutooError,
    StreamInterrupted,
)
from routoo_core.failures import read_failure
from routoo_core.money import decimal_usd

_LOGGER = logging.getLogger(__name__)

NO_MONEY = "insufficient_quota"
"""OpenAI's code for an account that cannot pay."""
_WAIT_FOR_HELD_MONEY_S = 1
"""Seconds after which calls in flight have probably freed some money."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a call failed.

    Attributes:
        status: Of HTTP.
        kind: OpenAI's ``type`` of the error.
        message: For people; without text of the prompt.
        code: OpenAI's ``code`` of the error.
        is_retryable: Whether the same call may succeed later.
        retry_after_s: Seconds after which it may.
        details: Further fields of the error, such as the money that is left.
    """

    status: int
    kind: str
    message: str
    code: str | None = None
    is_retryable: bool = False
    retry_after_s: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """Headers for clients' retries. Without ``x-should-retry``, OpenAI's client repeats a call after any 429."""
        headers = {"x-should-retry": "true" if self.is_retryable else "false"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return headers

    def openai_body(self) -> dict[str, Any]:
        """The body in OpenAI's form."""
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return {"error": {**error, **self.details}}

    def anthropic_body(self) -> dict[str, Any]:
        """The body in Anthropic's form."""
        kind = _ANTHROPIC_KINDS.get(self.status, "api_error")
        error = {"type": kind, "message": self.message, "code": self.code}
        return {"type": "error", "error": {**error, **self.details}}


_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""HTTP status → Anthropic's type of the error."""


_FIXED_REASONS = {
    "context_length_exceeded": "No expert's window takes the prompt.",
    "no_capable_expert": "No expert can serve what the call needs.",
    "refused_by_expert": "Every expert would refuse the call.",
}
"""Code → why, where the message may name parts of the call."""
_OWN_REASONS = frozenset({NO_MONEY, "all_experts_failed", "held_share_exceeded", "ledger_failed"})
"""Codes whose messages speak of accounts and experts alone."""


def shown_reason(problem: Problem) -> str | None:
    """Why a call was refused, without text of its caller; ``None`` for what is no matter of experts or money."""
    code = problem.code or ""
    if code in _OWN_REASONS:
        return problem.message
    return _FIXED_REASONS.get(code)


class CallRefused(RoutooError):
    """The gateway itself refuses a call; nothing was charged.

    Args:
        problem: What the caller is told.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def invalid_request(message: str, code: str | None = None, status: int = 400) -> CallRefused:
    """The refusal of a request that is wrong as it stands."""
    return CallRefused(Problem(status, "invalid_request_error", message, code))


def problem_of(error: Exception, account: str | None = None) -> Problem:
    """What to tell the caller of an error.

    Args:
        error: What was raised.
        account: The only one whose figures the caller may see; ``None`` for all.
    """
    if isinstance(error, CallRefused):
        return error.problem
    if isinstance(error, BudgetExceeded) and account not in {None, error.account}:
        return _describe_other_budget(error)
    for kind, describe in _DESCRIPTIONS:
        if isinstance(error, kind):
            return describe(error)
    return _describe_other(error)


def _describe_invalid(error: Any) -> Problem:
    return Problem(400, "invalid_request_error", str(error))


def _describe_window(error: Any) -> Problem:
    return Problem(400, "invalid_request_error", str(error), "context_length_exceeded")


def _describe_incapable(error: Any) -> Problem:
    return Problem(400, "invalid_request_error", str(error), "no_capable_expert")


def _describe_share(error: Any) -> Problem:
    return Problem(
        429,
        "rate_limit_error",
        str(error),
        "held_share_exceeded",
        is_retryable=True,
        retry_after_s=_WAIT_FOR_HELD_MONEY_S,
    )


def _describe_budget(error: Any) -> Problem:
    remaining = max(0, error.limit - error.spent - error.held)
    details = {
        "account": error.account,
        "limit_usd": decimal_usd(error.limit),
        "remaining_usd": decimal_usd(remaining),
        "needed_usd": decimal_usd(error.needed),
        "resets": error.frees or error.resets,
    }
    return Problem(429, NO_MONEY, str(error), NO_MONEY, details=details)


def _describe_other_budget(error: BudgetExceeded) -> Problem:
    """A refusal by an account that the caller's own is part of, without its figures."""
    message = "An account that this one is part of cannot cover the call now."
    details = {"resets": error.frees or error.resets}
    return Problem(429, NO_MONEY, message, NO_MONEY, details=details)


def _describe_group(error: Any) -> Problem:
    return Problem(
        503,
        "server_error",
        error.message,
        "all_experts_failed",
        is_retryable=not isinstance(error, FinalFailure),
        details={"reasons": list(error.reasons)},
    )


def _describe_interruption(error: Any) -> Problem:
    return Problem(502, "server_error", str(error), "stream_interrupted")


def _describe_ledger(error: Any) -> Problem:
    if not isinstance(error, LedgerUnavailable):
        _LOGGER.error("the ledger failed: %s", error)
    message = "The ledger cannot be used, so nothing may be spent. Ask again later."
    return Problem(
        503, "server_error", message, "ledger_failed", is_retryable=True, retry_after_s=1
    )


def _describe_prediction(error: Any) -> Problem:
    _LOGGER.error("no expert could be chosen: %s", error)
    message = "No expert can be chosen now. Ask again later."
    return Problem(
        503, "server_error", message, "prediction_failed", is_retryable=True, retry_after_s=1
    )


_DESCRIPTIONS = (
    (ContextWindowExceeded, _describe_window),
    (NoCapableExpert, _describe_incapable),
    (HeldShareExceeded, _describe_share),
    (BudgetExceeded, _describe_budget),
    (AllExpertsFailed, _describe_group),
    (StreamInterrupted, _describe_interruption),
    (LedgerError, _describe_ledger),
    (PredictionFailed, _describe_prediction),
    (InvalidRequest, _describe_invalid),
)
"""Our error → what to tell of it; the more special stands first."""


def _place_of(error: Exception) -> str:
    """Where an error was raised; a whole traceback could quote a prompt."""
    traceback = error.__traceback__
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = traceback.tb_frame.f_globals.get("__name__")
    return f" in {module}, line {traceback.tb_lineno}"


def _describe_other(error: Exception) -> Problem:
    """An expert's refusal of the request itself, in the expert's words; anything else is a fault of ours."""
    failure = read_failure(error)
    if failure.status is not None and 400 <= failure.status < 500:
        sentence = failure.server_sentence or failure.description
        return Problem(400, "invalid_request_error", sentence, "refused_by_expert")
    _LOGGER.error("a call failed: %s%s", failure.description, _place_of(error))
    return Problem(500, "server_error", "The gateway failed; its log says more.", "internal_error")
