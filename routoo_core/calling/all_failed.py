"""The error of a call that nobody answered: how each of its attempts ended."""

from __future__ import annotations

from collections.abc import Sequence

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.call import CallInProgress
from routoo_core.calling.outcomes import Failed, Rejected
from routoo_core.errors import (
    AllExpertsFailed,
    ContextWindowExceeded,
    ReplyRejected,
    RoutingError,
    all_experts_failed,
)

_REJECTED = "rejected"
"""Why an attempt failed whose reply was refused by a check."""


def error_of_failed_call(call: CallInProgress, attempts: Sequence[Attempt]) -> RoutingError:
    """The error that says how each attempt ended.

    Args:
        call: The call.
        attempts: All of its attempts; none was answered.
    """
    errors: list[Exception] = []
    problems = []
    reasons: list[str] = []
    may_succeed_later = False
    for attempt in attempts:
        if isinstance(attempt.outcome, Failed):
            failure = attempt.outcome.failure
            errors.append(attempt.outcome.error)
            reasons.append(failure.reason)
            may_succeed_later = may_succeed_later or failure.may_succeed_later
            problem = failure.description
        else:
            reason = attempt.outcome.reason if isinstance(attempt.outcome, Rejected) else ""
            errors.append(ReplyRejected(attempt.expert.name, reason))
            reasons.append(_REJECTED)
            problem = ReplyRejected.__name__
        problems.append(f"{attempt.expert.name}: {problem}")

    group = all_experts_failed(
        f"all {len(errors)} affordable experts failed: {'; '.join(problems)}",
        errors,
        reasons,
        may_succeed_later,
    )
    if set(reasons) == {"window"}:
        return _prompt_too_long(call, attempts, group)
    return group


def _prompt_too_long(
    call: CallInProgress, attempts: Sequence[Attempt], group: AllExpertsFailed
) -> ContextWindowExceeded:
    """The error of a prompt that is too long for all: callers shorten it and ask again."""
    tokens = call.request.prompt_tokens
    lacks = [f"room for some {tokens} tokens, as it said when it was asked"]
    error = ContextWindowExceeded({attempt.expert.name: lacks for attempt in attempts})
    error.__cause__ = group
    return error
