"""The attempts of one call: the affordable candidates in order, each with its money held."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from operator import attrgetter
from typing import Protocol, Self

from routoo_core.answering_models import AnsweringModels
from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import Alerts
from routoo_core.budget.cooldowns import Cooldowns
from routoo_core.budget.ledger import Reservation
from routoo_core.budget.settlements import Settlements
from routoo_core.calling.all_failed import error_of_failed_call
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.call import CallInProgress, Contributed, Failed, Rejected
from routoo_core.calling.checks import CheckRule, ReplyChecks
from routoo_core.calling.follow_up import FollowUp
from routoo_core.calling.plan_run import PlanRun, PlanStep, ReplyAtHand
from routoo_core.calling.queue import TrialQueue
from routoo_core.calling.rewriting import rewriting_trials
from routoo_core.calling.trials import Trial, trials_of, within_limit
from routoo_core.candidates import Candidate
from routoo_core.errors import BudgetExceeded, HeldShareExceeded, InvalidRequest
from routoo_core.hidden_reasoning import HiddenReasoning
from routoo_core.latency import Latencies
from routoo_core.money import NanoUsd
from routoo_core.parameters import RefusedParameters
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.telemetry import CallTrace
from routoo_core.threads import off_loop

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
    checks: CheckRule
    on_exhausted: str
    operation: str

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
        on_end: Takes the attempt that ended the call, whether it was answered or raised; the last where all failed.
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
        self._trace: CallTrace | None = None
        self._queue: TrialQueue | None = None
        self._refusals: list[BudgetExceeded] = []
        self._attempts: list[Attempt] = []
        self._plan: PlanRun | None = None
        self._peers: deque[Attempt] = deque()

    def __next__(self) -> Attempt:
        if self._attempts and not self._may_go_on():
            raise StopIteration
        attempt = self._start_next(is_driven=False)
        assert isinstance(attempt, Attempt)  # noqa: S101 (replies are kept for drivers alone)
        return attempt

    def start_next(self) -> Attempt | ReplyAtHand:
        """Hold money for the next affordable candidate; for drivers, whose errors are all the expert's.

        Returns:
            An attempt to make, or a reply of an earlier one that is the call's after all.

        Raises:
            BudgetExceeded: Nothing is affordable, and ``on_exhausted`` is ``refuse``.
            AllExpertsFailed: Everything affordable was tried, and failed or was rejected.
            NoCapableExpert: No expert can serve the request, or all that were asked said that it is too long.
        """
        return self._start_next(is_driven=True)

    def _start_next(self, is_driven: bool) -> Attempt | ReplyAtHand:
        if self._trace is None:
            self._trace = CallTrace(self._router.operation)
        try:
            return self._start_attempt(self._trace, is_driven)
        except BaseException as error:
            self._abandon_plan()
            if isinstance(error, Exception):
                self._trace.fail(type(error).__name__)
            raise

    def _abandon_plan(self) -> None:
        """Give back what is held for a plan that cannot go on."""
        if self._plan is not None:
            for peer in self._peers:
                peer.abandon_plan()
            self._plan.close()
            self._plan = None

    def _start_attempt(self, trace: CallTrace, is_driven: bool) -> Attempt | ReplyAtHand:
        call, queue = self._open_call(trace, is_driven)
        if self._plan is not None:
            next_of_plan = self._go_on_with_plan(call, self._plan)
            if next_of_plan is not None:
                return next_of_plan
        elif self._attempts:
            queue.reorder_after(self._attempts)
        while trial := queue.next_trial():
            attempt = self._begin(call, trial, is_driven)
            if attempt is not None:
                queue.note(trial.candidate)
                return attempt
        if call.rejected_reply is not None:
            return _handed_over(call.rejected_reply)
        if self._attempts:
            self._tell_failure()
            raise error_of_failed_call(call, self._attempts)
        candidate, reservation = self._reserve_beyond_limit(call)
        queue.note(candidate)
        return self._begin_attempt(call, Trial(candidate, 0), reservation, is_driven)

    def _begin(self, call: CallInProgress, trial: Trial, is_driven: bool) -> Attempt | None:
        """The attempt of a trial, a plan's first step included; ``None`` where it is not affordable."""
        if trial.candidate.plan is not None:
            return self._begin_plan(call, trial)
        reservation = self._reserve(call, trial, call.settled)
        if reservation is None:
            return None
        return self._begin_attempt(call, trial, reservation, is_driven)

    def _begin_attempt(
        self,
        call: CallInProgress,
        trial: Trial,
        reservation: Reservation,
        is_driven: bool,
    ) -> Attempt:
        call.cooldowns.note_call(trial.candidate.expert.name)
        attempt = Attempt(call, trial.candidate, reservation, is_driven, trial.follow_up)
        self._attempts.append(attempt)
        return attempt

    def _go_on_with_plan(self, call: CallInProgress, plan: PlanRun) -> Attempt | ReplyAtHand | None:
        """The next step of a plan, or its reply; ``None`` where it has come to nothing."""
        last = self._attempts[-1]
        if last.step is not None:
            plan.note(last.step, last.contribution, last.reply)
        if isinstance(last.outcome, Failed) and last.outcome.failure.parameter is not None:
            self._router.refused_parameters.learn(last.expert, last.outcome.failure.parameter)
        if not self._peers:
            self._begin_steps(call, plan.next_steps())
        if self._peers:
            return self._next_peer()
        self._plan = None
        reply = plan.reply()
        return None if reply is None else _handed_over(reply)

    def _begin_plan(self, call: CallInProgress, trial: Trial) -> Attempt | None:
        """The first step of a plan whose money is held as a whole; ``None`` where it is not affordable."""
        candidate = trial.candidate
        reservations = self._reserve_steps(call, trial)
        if reservations is None or candidate.plan is None:
            return None
        self._plan = PlanRun(
            candidate.plan, candidate.steps, call.request, reservations, call.settlements
        )
        self._begin_steps(call, self._plan.next_steps())
        return self._next_peer()

    def _reserve_steps(self, call: CallInProgress, trial: Trial) -> list[Reservation] | None:
        """Money for every step of a plan; ``None`` where there is no room for one, and then none is held."""
        with ExitStack() as undo:
            reservations = []
            commitment = call.settled
            is_ample = trial.minimum > trial.candidate.minimum_cost
            steps = [
                Trial(step, step.ample_cost if is_ample else step.minimum_cost)
                for step in trial.candidate.steps
            ]
            needed_later = sum(step.minimum for step in steps)
            for step in steps:
                needed_later -= step.minimum
                reservation = self._reserve(call, step, commitment + needed_later)
                if reservation is None:
                    return None
                undo.callback(call.settlements.release, reservation)
                reservations.append(reservation)
                commitment += reservation.amount
            undo.pop_all()
        return reservations

    def _begin_steps(self, call: CallInProgress, steps: Sequence[PlanStep]) -> None:
        """Begin steps of a plan that are asked together."""
        peers = []
        for step in steps:
            call.cooldowns.note_call(step.candidate.expert.name)
            peers.append(
                Attempt(call, step.candidate, step.reservation, True, step.follow_up, step)
            )
        for attempt in peers:
            attempt.peers = tuple(peers)
        self._peers.extend(peers)

    def _next_peer(self) -> Attempt:
        attempt = self._peers.popleft()
        self._attempts.append(attempt)
        return attempt

    def _open_call(self, trace: CallTrace, is_driven: bool) -> tuple[CallInProgress, TrialQueue]:
        """The call and its queue; read and decided when this is asked first."""
        if self._call is None or self._queue is None:
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
                trace=trace,
                checks=ReplyChecks(request, self._router.checks),
                can_go_on=self._can_go_on,
                on_end=self._on_end,
            )
            trials = []
            for trial in rewriting_trials(decision, request) + trials_of(decision):
                if is_driven or trial.candidate.plan is None:
                    trials.append(trial)
            self._queue = TrialQueue(self._call, trials)
            if not trials:
                raise InvalidRequest(
                    "expert: a plan needs its experts' replies; call it through an adapter"
                )
        return self._call, self._queue

    def _can_go_on(self, repair: FollowUp | None, cost: NanoUsd) -> bool:
        """Whether another try can be paid now."""
        if self._queue is None:
            return False
        return self._queue.can_go_on(self._attempts[-1].candidate, repair, cost)

    def _may_go_on(self) -> bool:
        return isinstance(self._attempts[-1].outcome, Failed | Rejected | Contributed)

    def _reserve(
        self, call: CallInProgress, trial: Trial, commitment: NanoUsd
    ) -> Reservation | None:
        """Money for a candidate; ``None`` where an account, or what the call may cost, has no room for it.

        Args:
            call: The call.
            trial: Whom it is to ask.
            commitment: Booked for the call, and held for the other steps of a plan.
        """
        bounded_trial = within_limit(trial, call.request.overrides.max_cost, commitment)
        if bounded_trial is None:
            return None
        try:
            return call.settlements.reserve(
                call.budget,
                minimum=bounded_trial.minimum,
                maximum=bounded_trial.candidate.maximum_cost,
            )
        except BudgetExceeded as error:
            self._refusals.append(error)
            return None

    def _reserve_beyond_limit(self, call: CallInProgress) -> tuple[Candidate, Reservation]:
        """The ``on_exhausted`` expert, and money for it whatever the limit says.

        Raises:
            BudgetExceeded: There is none; the error names what the cheapest candidate needs.
        """
        if not self._refusals:
            raise InvalidRequest(
                "max_cost: it is less than the steps of the plan need together; raise it, or name an expert"
            )
        refusal = min(self._refusals, key=attrgetter("needed"))
        if not isinstance(refusal, HeldShareExceeded):
            call.alerts.note_refusal(call.budget, refusal.account)
        if self._router.on_exhausted == REFUSE:
            raise refusal
        alone = [candidate for candidate in call.decision.candidates if candidate.plan is None]
        if not alone:
            raise refusal
        candidate = self._last_resort(alone)
        reservation = call.settlements.reserve(
            call.budget,
            minimum=0,
            maximum=candidate.maximum_cost,
            enforce=False,
        )
        return candidate, reservation

    def _last_resort(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate that ``on_exhausted`` names, else the cheapest."""
        for candidate in candidates:
            if candidate.expert.name == self._router.on_exhausted:
                return candidate
        return min(candidates, key=attrgetter("expected_cost"))

    def _tell_failure(self) -> None:
        """End the call with its last attempt, though nobody answered: rejected replies were paid for."""
        if self._on_end is not None:
            self._on_end(self._attempts[-1])
            self._on_end = None


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

    async def start_next(self) -> Attempt | ReplyAtHand:
        """:meth:`Attempts.start_next`, async."""
        return await off_loop(self._attempts.start_next, undo=_release)


def _handed_over(reply: ReplyAtHand) -> ReplyAtHand:
    """A reply that ends the call."""
    reply.attempt.hand_over()
    return reply


def _release(attempt: Attempt | ReplyAtHand | None) -> None:
    """Give back the money of an attempt that nobody waits for any more."""
    if isinstance(attempt, Attempt):
        if attempt.step is None:
            attempt.release()
        else:
            attempt.abandon_plan()
