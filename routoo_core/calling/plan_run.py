"""A plan that a call is carrying out: the one owner of its money, its attempts and what came of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from routoo_core.answer import Answer
from routoo_core.budget.ledger import Reservation
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.call import CallInProgress
from routoo_core.calling.follow_up import FollowUp
from routoo_core.calling.outcomes import Contributed, Failed, PaidReply
from routoo_core.candidates import Candidate
from routoo_core.plans.plan import NO_APPRAISAL, Appraisal, Appraiser, Ask, Contribution, Plan, Take


@dataclass(frozen=True, slots=True)
class PlanStep:
    """The step of a plan that an attempt is.

    Attributes:
        run: The plan.
        place: Among the plan's steps.
    """

    run: PlanRun
    place: int

    @property
    def is_checked(self) -> bool:
        """Whether its reply has to meet the call's checks."""
        return self.run.plan.steps[self.place].is_checked

    def appraise(self, answer: Answer) -> Appraisal:
        """What the plan reads of the step's answer; it may take its time."""
        return self.run.appraise(self.place, answer)

    def take_hold(self) -> None:
        """Take the step's money over from the plan: its attempt books it from now on."""
        self.run.holds.pop(self.place, None)


class PlanRun:
    """A plan under way: rounds of steps that are asked together, until its rule takes a reply or gives up.

    The plan owns the money of every step whose attempt has not begun; an attempt that has begun books its own.

    Args:
        call: The call.
        candidate: The plan's candidate, with one for each of its steps.
        plan: The plan.
        reservations: The money held for each step.

    Attributes:
        plan: The plan.
        holds: Place of a step that has not begun → the money held for it.
        round: The attempts that are made together now.
        reply: The one that the plan has taken; ``None`` before, and where no expert gave an acceptable one.
    """

    def __init__(
        self,
        call: CallInProgress,
        candidate: Candidate,
        plan: Plan,
        reservations: list[Reservation],
    ) -> None:
        self.plan = plan
        self.holds = dict(enumerate(reservations))
        self.round: tuple[Attempt, ...] = ()
        self.reply: PaidReply | None = None
        self._call = call
        self._steps = candidate.steps
        self._queue: deque[Attempt] = deque()
        self._last: Attempt | None = None
        self._appraise: Appraiser | None = None
        self._contributions: list[Contribution] = []
        self._replies: list[PaidReply | None] = []

    def next_attempt(self) -> Attempt | None:
        """The next attempt; the one before has ended.

        Returns:
            ``None`` once the plan is over: :attr:`reply` says with what, and nothing is held for it any more.

        Raises:
            ValueError: The rule asks a step that the plan does not have, or a second time.
        """
        if self._last is not None:
            self._note_end(self._last)
            self._last = None
        if not self._queue:
            self._follow_rule()
        if not self._queue:
            self.abandon()
            return None
        self._last = self._queue.popleft()
        return self._last

    def appraise(self, place: int, answer: Answer) -> Appraisal:
        """What the plan reads of an answer, once."""
        if self._appraise is None:
            self._appraise = self.plan.appraiser(self._call.request)
        return self._appraise(place, answer)

    def abandon(self) -> None:
        """Give back what is held for steps that have not begun; from any thread, and the second time for nothing."""
        for place in tuple(self.holds):
            reservation = self.holds.pop(place, None)
            if reservation is not None:
                self._call.router.settlements.release(reservation)

    def _note_end(self, attempt: Attempt) -> None:
        """Note what came of a step: an answer, or none."""
        assert attempt.step is not None  # noqa: S101 (the plan has made it)
        answer = None
        appraisal = NO_APPRAISAL
        reply = None
        outcome = attempt.outcome
        if isinstance(outcome, Contributed):
            answer = outcome.answer
            appraisal = outcome.appraisal
            reply = PaidReply(attempt, outcome.reply, is_accepted=True)
        elif isinstance(outcome, Failed) and outcome.failure.parameter is not None:
            self._call.router.refused_parameters.learn(attempt.expert, outcome.failure.parameter)
        quality = attempt.candidate.quality
        self._contributions.append(
            Contribution(attempt.step.place, attempt.expert.name, quality, answer, appraisal)
        )
        self._replies.append(reply)

    def _follow_rule(self) -> None:
        """Ask the plan's rule what comes next: another round, or the end."""
        verdict = self.plan.verdict(self._call.request, self._contributions)
        if isinstance(verdict, Ask):
            self._begin_round(verdict)
            return
        if isinstance(verdict, Take):
            self.reply = self._taken_reply(verdict)

    def _begin_round(self, ask: Ask) -> None:
        for place in ask.steps:
            if place not in self.holds:
                raise ValueError(
                    f"plans.{self.plan.name}: its rule asks step {place}, which it has asked before or does not have"
                )
        follow_up = FollowUp.of(self._call.request, ask.turns) if ask.turns else None
        attempts = []
        for place in ask.steps:
            candidate = self._steps[place]
            self._call.router.cooldowns.note_call(candidate.expert.name)
            attempts.append(
                Attempt(
                    self._call,
                    candidate,
                    self.holds[place],
                    is_driven=True,
                    follow_up=follow_up,
                    step=PlanStep(self, place),
                )
            )
        self.round = tuple(attempts)
        self._queue.extend(attempts)

    def _taken_reply(self, take: Take) -> PaidReply | None:
        reply = self._replies[take.position]
        if reply is None or take.is_accepted:
            return reply
        return PaidReply(reply.attempt, reply.reply)
