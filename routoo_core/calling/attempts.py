"""The attempts of one call: the affordable candidates in order, each with its money held."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol, Self

from routoo_core.answering_models import AnsweringModels
from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import Alerts
from routoo_core.budget.cooldowns import Cooldowns
from routoo_core.budget.ledger import Reservation
from routoo_core.budget.settlements import Settlements
from routoo_core.calling.attempt import Attempt, CallInProgress, Failed, Rejected
from routoo_core.calling.trials import Trial, trials_of
from routoo_core.candidates import Candidate
from routoo_core.errors import (
    AllExpertsFailed,
    BudgetExceeded,
    ContextWindowExceeded,
    HeldShareExceeded,
    ReplyRejected,
    RoutingError,
    all_experts_failed,
)
from routoo_core.hidden_reasoning import HiddenReasoning
from routoo_core.latency import Latencies
from routoo_core.parameters import RefusedParameters
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.threads import off_loop

FIRST_RETRY_PAUSE_S = 0.25
LONGEST_RETRY_PAUSE_S = 8.0

_REJECTED = "rejected"
"""Why an attempt failed whose reply was refused by a check."""

REFUSE = "refuse"
CHEAPEST = "cheapest"


ReadRequest = Callable[[], RoutedRequest]
"""Reads a call as the router needs it."""


class CallStarter(Protocol):
    """What the attempts of a call need of a router."""

    settlements: Settlements
    latencies: Latencies
    cooldowns: Cooldowns
    refused_parameters: RefusedParameters
    hidden_reasoning: HiddenReasoning
    answering_models: AnsweringModels
    alerts: Alerts
    on_exhausted: str

    def account(self, request: RoutedRequest) -> Budget:
        """Whose budget pays."""
        ...

    def start(self, request: RoutedRequest) -> Decision:
        """Decide a call that is being made."""
        ...


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
        on_end: Takes the attempt that ended the call, whether it was answered or raised.
    """

    def __init__(
        self,
        router: CallStarter,
        read_request: ReadRequest,
        on_end: Callable[[Attempt], None] | None = None,
    ) -> None:
        self._router = router
        self._read_request = read_request
        self._on_end = on_end
        self._call: CallInProgress | None = None
        self._untried: Iterator[Trial] = iter(())
        self._refusals: list[BudgetExceeded] = []
        self._attempts: list[Attempt] = []

    def __next__(self) -> Attempt:
        if self._attempts and not self._may_go_on():
            raise StopIteration
        return self._start_next(is_driven=False)

    def start_next(self) -> Attempt:
        """Hold money for the next affordable candidate; for drivers, whose errors are all the expert's.

        Raises:
            BudgetExceeded: Nothing is affordable, and ``on_exhausted`` is ``refuse``.
            AllExpertsFailed: Everything affordable was tried, and failed or was rejected.
            NoCapableExpert: No expert can serve the request, or all that were asked said that it is too long.
        """
        return self._start_next(is_driven=True)

    def _start_next(self, is_driven: bool) -> Attempt:
        call = self._open_call()
        self._ask_again_without_refused_parameter()
        self._ask_again_after_passing_failure(call)
        for trial in self._untried:
            if trial.is_second and self._was_tried(trial.candidate):
                continue
            reservation = self._reserve(call, trial)
            if reservation is not None:
                return self._begin(call, trial.candidate, reservation, is_driven)
        if self._attempts:
            raise self._all_failed(call)
        candidate, reservation = self._reserve_beyond_limit(call)
        return self._begin(call, candidate, reservation, is_driven)

    def _open_call(self) -> CallInProgress:
        if self._call is None:
            request = self._read_request()
            decision = self._router.start(request)
            self._call = CallInProgress(
                request=request,
                decision=decision,
                budget=self._router.account(request),
                settlements=self._router.settlements,
                observe_latency=self._router.latencies.observe,
                cooldowns=self._router.cooldowns,
                refused_parameters=self._router.refused_parameters,
                hidden_reasoning=self._router.hidden_reasoning,
                answering_models=self._router.answering_models,
                alerts=self._router.alerts,
                on_end=self._on_end,
            )
            self._untried = iter(trials_of(decision))
        return self._call

    def _ask_again_without_refused_parameter(self) -> None:
        """Put an expert first again that refused an argument which the call can do without."""
        outcome = self._attempts[-1].outcome if self._attempts else None
        if not isinstance(outcome, Failed) or outcome.failure.parameter is None:
            return
        candidate = self._attempts[-1].candidate
        if self._router.refused_parameters.learn(candidate.expert, outcome.failure.parameter):
            self._untried = chain([Trial(candidate, candidate.minimum_cost)], self._untried)

    def _ask_again_after_passing_failure(self, call: CallInProgress) -> None:
        """Put an expert first again that may be retried, after a short wait; each try is held and booked by itself."""
        outcome = self._attempts[-1].outcome if self._attempts else None
        if not isinstance(outcome, Failed) or not outcome.failure.may_succeed_later:
            return
        candidate = self._attempts[-1].candidate
        tries = sum(attempt.expert is candidate.expert for attempt in self._attempts)
        retries = call.request.overrides.max_retries
        if retries is None:
            retries = candidate.expert.max_retries
        if tries > retries:
            return
        time.sleep(_pause_s(tries, outcome.failure.retry_after_s))
        self._untried = chain([Trial(candidate, candidate.minimum_cost)], self._untried)

    def _may_go_on(self) -> bool:
        return isinstance(self._attempts[-1].outcome, Failed | Rejected)

    def _begin(
        self,
        call: CallInProgress,
        candidate: Candidate,
        reservation: Reservation,
        is_driven: bool,
    ) -> Attempt:
        call.cooldowns.note_call(candidate.expert.name)
        attempt = Attempt(call, candidate, reservation, is_driven)
        self._attempts.append(attempt)
        return attempt

    def _was_tried(self, candidate: Candidate) -> bool:
        return any(attempt.candidate is candidate for attempt in self._attempts)

    def _reserve(self, call: CallInProgress, trial: Trial) -> Reservation | None:
        """Money for a candidate; ``None`` where an account cannot afford it."""
        try:
            return call.settlements.reserve(
                call.budget,
                minimum=trial.minimum,
                maximum=trial.candidate.maximum_cost,
            )
        except BudgetExceeded as error:
            self._refusals.append(error)
            return None

    def _reserve_beyond_limit(self, call: CallInProgress) -> tuple[Candidate, Reservation]:
        """The ``on_exhausted`` expert, and money for it whatever the limit says.

        Raises:
            BudgetExceeded: There is none; the error names what the cheapest candidate needs.
        """
        refusal = min(self._refusals, key=_amount_needed)
        if not isinstance(refusal, HeldShareExceeded):
            call.alerts.note_refusal(call.budget, refusal.account)
        if self._router.on_exhausted == REFUSE:
            raise refusal
        candidate = self._last_resort(call.decision.candidates)
        reservation = call.settlements.reserve(
            call.budget,
            minimum=0,
            maximum=candidate.maximum_cost,
            enforce=False,
        )
        return candidate, reservation

    def _last_resort(self, candidates: tuple[Candidate, ...]) -> Candidate:
        """The candidate that ``on_exhausted`` names, else the cheapest."""
        for candidate in candidates:
            if candidate.expert.name == self._router.on_exhausted:
                return candidate
        return min(candidates, key=_expected_cost)

    def _all_failed(self, call: CallInProgress) -> RoutingError:
        """The error that says how each attempt ended."""
        errors: list[Exception] = []
        problems = []
        reasons: list[str] = []
        may_succeed_later = False
        for attempt in self._attempts:
            if isinstance(attempt.outcome, Failed):
                errors.append(attempt.outcome.error)
                failure = attempt.outcome.failure
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
            return self._prompt_too_long(call, group)
        return group

    def _prompt_too_long(
        self, call: CallInProgress, group: AllExpertsFailed
    ) -> ContextWindowExceeded:
        """The error of a prompt that is too long for all: callers shorten it and ask again."""
        tokens = call.request.prompt_tokens
        lacks = [f"room for some {tokens} tokens, as it said when it was asked"]
        error = ContextWindowExceeded({attempt.expert.name: lacks for attempt in self._attempts})
        error.__cause__ = group
        return error


class AsyncAttempts:
    """:class:`Attempts` with the predictor and the ledger off the event loop; use ``async with`` on each."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        attempt = await off_loop(lambda: next(self._attempts, None), undo=_release)
        if attempt is None:
            raise StopAsyncIteration
        return attempt

    async def start_next(self) -> Attempt:
        """:meth:`Attempts.start_next`, async."""
        return await off_loop(self._attempts.start_next, undo=_release)


def _release(attempt: Attempt | None) -> None:
    """Give back the money of an attempt that nobody waits for any more."""
    if attempt is not None:
        attempt.release()


def _pause_s(tries: int, retry_after_s: float | None) -> float:
    """Seconds before an expert is asked again."""
    pause = min(LONGEST_RETRY_PAUSE_S, FIRST_RETRY_PAUSE_S * 2.0 ** (tries - 1))
    pause *= 1 - random.random() / 4  # noqa: S311 (callers that failed together do not come back together)
    if retry_after_s is None:
        return pause
    return min(LONGEST_RETRY_PAUSE_S, max(pause, retry_after_s))


def _amount_needed(error: BudgetExceeded) -> int:
    return error.needed


def _expected_cost(candidate: Candidate) -> int:
    return candidate.expected_cost
