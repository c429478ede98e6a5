"""A call that is being made: what its attempts share, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo_core.budget.account import Budget
from routoo_core.calling.checks import ReplyChecks
from routoo_core.calling.follow_up import FollowUp
from routoo_core.calling.history import CallHistory
from routoo_core.calling.outcomes import PaidReply
from routoo_core.candidates import Candidate
from routoo_core.money import NanoUsd
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.telemetry import CallTrace

if TYPE_CHECKING:
    from routoo_core.calling.attempt import Attempt
    from routoo_core.router import Router

OnEnd = Callable[["Attempt"], None]
"""Takes the attempt that ended a call, whether it was answered or raised; the last one where all failed.

It is called in the caller's thread, except for a stream that the caller left before its end, and where an async call
failed.
"""


def _no_further_try(last: Candidate, repair: FollowUp | None, cost: NanoUsd) -> bool:
    """Whether a call that has ended may go on; in the place of its queue, so that memory is free at once."""
    return False


@dataclass(slots=True)
class CallInProgress:
    """What all attempts of one call share.

    Attributes:
        router: Whose parts it uses.
        request: The call.
        decision: Its ranked candidates.
        budget: Whose money is held.
        trace: Takes what happens for OpenTelemetry.
        checks: What its replies must be.
        history: What is written down of it.
        on_end: Takes the attempt that ended it; ``None`` once it has.
        can_go_on: Whether another try can be paid; takes the candidate whose try is ending, the repair that would be
            first, and what the try cost.
        fallback: A reply of a wrong form that was rejected last; it is better than none.
        has_ended: Whether it was answered or raised.
    """

    router: Router
    request: RoutedRequest
    decision: Decision
    budget: Budget
    trace: CallTrace
    checks: ReplyChecks
    history: CallHistory
    on_end: OnEnd | None = None
    can_go_on: Callable[[Candidate, FollowUp | None, NanoUsd], bool] = _no_further_try
    fallback: PaidReply | None = None
    has_ended: bool = False

    @classmethod
    def start(
        cls, router: Router, request: RoutedRequest, trace: CallTrace, on_end: OnEnd | None
    ) -> CallInProgress:
        """Decide a call and start it.

        Raises:
            RoutingError: No expert can serve it, or its account cannot pay.
        """
        decision = router.start(request)
        return cls(
            router=router,
            request=request,
            decision=decision,
            budget=router.account(request),
            trace=trace,
            checks=ReplyChecks(request, router.checks),
            history=CallHistory(decision, trace),
            on_end=on_end,
        )

    def end(self, attempt: Attempt, error: BaseException | None) -> None:
        """End the call with an attempt, unless it has ended.

        Args:
            attempt: The one that was answered, or raised.
            error: What it raised; ``None`` where it was answered.
        """
        if self.has_ended:
            return
        self.has_ended = True
        error_type = type(error).__name__ if isinstance(error, Exception) else None
        self.trace.end(self.decision.predict_ms, attempt.record, error_type)
        self.report_end(attempt)
        self.can_go_on = _no_further_try

    def report_end(self, attempt: Attempt) -> None:
        """Hand an attempt to ``on_end``, once in a call."""
        on_end = self.on_end
        self.on_end = None
        if on_end is not None:
            on_end(attempt)
