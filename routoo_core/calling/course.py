"""The course of a call: whom it asks next, until a reply is the call's or nobody is left."""

from __future__ import annotations

from collections.abc import Sequence

from routoo_core.budget.ledger import Reservation
from routoo_core.calling.all_failed import error_of_failed_call
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.call import CallInProgress
from routoo_core.calling.holds import Holds
from routoo_core.calling.outcomes import Contributed, Failed, PaidReply, Rejected
from routoo_core.calling.plan_run import PlanRun
from routoo_core.calling.queue import TrialQueue
from routoo_core.calling.trials import Trial
from routoo_core.plans.plan import Plan


class CallCourse:
    """Chooses whom a call asks next: a step of the plan under way, else the first trial that can be paid.

    Args:
        call: The call.
        trials: Whom it may ask, best first.
        is_driven: Whether the driver makes the attempts.
    """

    def __init__(self, call: CallInProgress, trials: Sequence[Trial], is_driven: bool) -> None:
        self._call = call
        self._is_driven = is_driven
        self._queue = TrialQueue(call, trials)
        self._holds = Holds(call)
        self._plan: PlanRun | None = None
        self._attempts: list[Attempt] = []
        call.can_go_on = self._queue.can_go_on

    @property
    def is_over(self) -> bool:
        """Whether the last attempt was answered, or left with an error that no other expert can mend."""
        if not self._attempts:
            return False
        return not isinstance(self._attempts[-1].outcome, Failed | Rejected | Contributed)

    def next(self) -> Attempt | PaidReply:
        """The next attempt, with its money held, or a reply of an earlier one that is the call's after all.

        Raises:
            BudgetExceeded: Nothing is affordable, and ``on_exhausted`` is ``refuse``.
            AllExpertsFailed: Everything affordable was tried, and failed or was rejected.
        """
        following = None
        if self._plan is not None:
            following = self._next_of_plan(self._plan)
        elif self._attempts:
            self._queue.reorder_after(self._attempts)
        if following is None:
            following = self._next_of_queue()
        if following is not None:
            return following
        if self._call.fallback is not None:
            return _call_answered_by(self._call.fallback)
        if self._attempts:
            raise error_of_failed_call(self._call, self._attempts)
        return self._beyond_limit()

    def abandon(self) -> None:
        """End a call that cannot go on: give back what is held for a plan, and report what was paid for."""
        if self._plan is not None:
            self._plan.abandon()
            self._plan = None
        if self._attempts:
            self._call.report_end(self._attempts[-1])

    def _next_of_queue(self) -> Attempt | PaidReply | None:
        """What the first trial that can be paid comes to; ``None`` where none can be."""
        while trial := self._queue.next_trial():
            following = self._try(trial)
            if following is not None:
                self._queue.note(trial.candidate)
                return following
        return None

    def _try(self, trial: Trial) -> Attempt | PaidReply | None:
        """The attempt of an expert alone, or the first one of a plan; ``None`` where it cannot be paid."""
        if trial.candidate.plan is not None:
            return self._try_plan(trial, trial.candidate.plan)
        reservation = self._holds.reserve(trial)
        return None if reservation is None else self._attempt(trial, reservation)

    def _try_plan(self, trial: Trial, plan: Plan) -> Attempt | PaidReply | None:
        """The first attempt of a plan; ``None`` where it cannot be paid as a whole."""
        reservations = self._holds.reserve_steps(trial)
        if reservations is None:
            return None
        self._plan = PlanRun(self._call, trial.candidate, plan, reservations)
        return self._next_of_plan(self._plan)

    def _next_of_plan(self, plan: PlanRun) -> Attempt | PaidReply | None:
        """The plan's next attempt, or its reply; ``None`` where it has come to nothing."""
        attempt = plan.next_attempt()
        if attempt is not None:
            self._attempts.append(attempt)
            return attempt
        self._plan = None
        return None if plan.reply is None else _call_answered_by(plan.reply)

    def _beyond_limit(self) -> Attempt:
        """The attempt of the ``on_exhausted`` expert."""
        candidate, reservation = self._holds.reserve_beyond_limit()
        self._queue.note(candidate)
        return self._attempt(Trial(candidate, 0), reservation)

    def _attempt(self, trial: Trial, reservation: Reservation) -> Attempt:
        """An attempt of an expert alone."""
        self._call.router.cooldowns.note_call(trial.candidate.expert.name)
        attempt = Attempt(
            self._call, trial.candidate, reservation, self._is_driven, trial.follow_up
        )
        self._attempts.append(attempt)
        return attempt


def _call_answered_by(reply: PaidReply) -> PaidReply:
    """A reply that ends the call."""
    reply.attempt.answer_call()
    return reply
