"""The attempts of one call: the affordable candidates in order, each with its money held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.call import CallInProgress, OnEnd
from routoo_core.calling.course import CallCourse
from routoo_core.calling.outcomes import PaidReply
from routoo_core.calling.rewriting import rewriting_trials
from routoo_core.calling.trials import trials_of
from routoo_core.errors import InvalidRequest
from routoo_core.request import RoutedRequest
from routoo_core.telemetry import CallTrace
from routoo_core.threads import off_loop

if TYPE_CHECKING:
    from routoo_core.router import Router

ReadRequest = Callable[[], RoutedRequest]
"""Reads a call as the router needs it."""


class Attempts(Iterator[Attempt]):
    """The attempts of one call, best candidate first; each is a context manager.

    ::

        for attempt in router.attempts(request):
            with attempt:
                attempt.settle(call(attempt.expert))

    Iteration ends after an attempt that was answered. A driver may instead ask for :meth:`start_next` until one
    is answered, which raises when no candidate is left.

    Args:
        router: Decides, and keeps the ledger.
        read_request: Reads the call; not before the first attempt, since a long conversation takes a while.
        on_end: Takes the attempt that ended the call, whether it was answered or raised; the last where all failed.
    """

    def __init__(
        self, router: Router, read_request: ReadRequest, on_end: OnEnd | None = None
    ) -> None:
        self._router = router
        self._read_request = read_request
        self._on_end = on_end
        self._trace: CallTrace | None = None
        self._course: CallCourse | None = None

    def __next__(self) -> Attempt:
        if self._course is not None and self._course.is_over:
            raise StopIteration
        attempt = self._next(is_driven=False)
        assert isinstance(attempt, Attempt)  # noqa: S101 (replies are kept for drivers alone)
        return attempt

    def start_next(self) -> Attempt | PaidReply:
        """Hold money for the next affordable candidate; for drivers, whose errors are all the expert's.

        Returns:
            An attempt to make, or a reply of an earlier one that is the call's after all.

        Raises:
            BudgetExceeded: Nothing is affordable, and ``on_exhausted`` is ``refuse``.
            AllExpertsFailed: Everything affordable was tried, and failed or was rejected.
            NoCapableExpert: No expert can serve the request, or all that were asked said that it is too long.
        """
        return self._next(is_driven=True)

    def _next(self, is_driven: bool) -> Attempt | PaidReply:
        """The next attempt; an error ends the trace and the course."""
        if self._trace is None:
            self._trace = CallTrace(self._router.operation)
        try:
            if self._course is None:
                self._course = self._decide(self._trace, is_driven)
            return self._course.next()
        except BaseException as error:
            if self._course is not None:
                self._course.abandon()
            if isinstance(error, Exception):
                self._trace.fail(type(error).__name__)
            raise

    def _decide(self, trace: CallTrace, is_driven: bool) -> CallCourse:
        """Read the call and decide it; code of one's own is offered experts alone."""
        request = self._read_request()
        call = CallInProgress.start(self._router, request, trace, self._on_end)
        trials = []
        for trial in rewriting_trials(call.decision, request) + trials_of(call.decision):
            if is_driven or trial.candidate.plan is None:
                trials.append(trial)
        if not trials:
            raise InvalidRequest(
                "expert: a plan needs its experts' replies; call it through an adapter"
            )
        return CallCourse(call, trials, is_driven)


class AsyncAttempts:
    """:class:`Attempts` with the predictor and the ledger off the event loop; use ``async with`` on each."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        attempt = await off_loop(lambda: next(self._attempts, None), undo=_discard)
        if attempt is None:
            raise StopAsyncIteration
        return attempt

    async def start_next(self) -> Attempt | PaidReply:
        """:meth:`Attempts.start_next`, async."""
        return await off_loop(self._attempts.start_next, undo=_discard)


def _discard(attempt: Attempt | PaidReply | None) -> None:
    """Give back the money of an attempt that nobody waits for any more."""
    if isinstance(attempt, Attempt):
        attempt.discard()
