"""A plan that a call is carrying out: its money is held as a whole, and its steps are asked one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from routoo_core.answer import Answer
from routoo_core.budget.ledger import Reservation
from routoo_core.budget.settlements import Settlements
from routoo_core.calling.follow_up import FollowUp
from routoo_core.candidates import Candidate
from routoo_core.plans.plan import (
    NO_APPRAISAL,
    Appraisal,
    Appraiser,
    Ask,
    Contribution,
    Plan,
    Take,
)
from routoo_core.request import RoutedRequest

if TYPE_CHECKING:
    from routoo_core.calling.attempt import Attempt


@dataclass(frozen=True, slots=True)
class ReplyAtHand:
    """A reply that was paid for before and is the call's after all.

    Attributes:
        attempt: Whose it is.
        reply: In the adapter's own form.
        is_accepted: Whether it is what was asked for; one of a wrong form is only better than none.
    """

    attempt: Attempt
    reply: Any
    is_accepted: bool = False


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step that is asked now.

    Attributes:
        run: The plan it belongs to.
        place: Among the plan's steps.
        candidate: Whom.
        reservation: The money held for it.
        follow_up: What it is told beyond the call.
        is_checked: Whether its reply has to meet the call's checks.
    """

    run: PlanRun
    place: int
    candidate: Candidate
    reservation: Reservation
    follow_up: FollowUp | None
    is_checked: bool


class PlanRun:
    """A plan under way.

    Args:
        plan: The plan.
        steps: A candidate for each of its steps.
        request: The call.
        reservations: The money held for each step.
        settlements: Where what is not needed is given back.
    """

    def __init__(
        self,
        plan: Plan,
        steps: tuple[Candidate, ...],
        request: RoutedRequest,
        reservations: list[Reservation],
        settlements: Settlements,
    ) -> None:
        self.plan = plan
        self._steps = steps
        self._request = request
        self._unused = dict(enumerate(reservations))
        self._settlements = settlements
        self._appraise: Appraiser | None = None
        self._appraisal_of: dict[int, Appraisal] = {}
        self._contributions: list[Contribution] = []
        self._replies: list[ReplyAtHand | None] = []
        self._reply: ReplyAtHand | None = None

    def next_steps(self) -> list[PlanStep]:
        """The steps to call next, at the same time; empty once the plan is over."""
        verdict = self.plan.verdict(self._request, self._contributions)
        if isinstance(verdict, Ask):
            return self._steps_of(verdict)
        if isinstance(verdict, Take):
            self._reply = self._taken_reply(verdict)
        self.close()
        return []

    def reply(self) -> ReplyAtHand | None:
        """The reply of a finished plan; ``None`` where no expert gave an acceptable one."""
        return self._reply

    def _taken_reply(self, take: Take) -> ReplyAtHand | None:
        reply = self._replies[take.position]
        if reply is None or take.is_accepted:
            return reply
        return replace(reply, is_accepted=False)

    def appraise(self, step: PlanStep, answer: Answer) -> None:
        """Read an answer for the plan, once; it may take its time.

        Args:
            step: Whose.
            answer: What its expert said.
        """
        if self._appraise is None:
            self._appraise = self.plan.appraiser(self._request)
        self._appraisal_of[step.place] = self._appraise(step.place, answer)

    def appraisal(self, step: PlanStep) -> Appraisal:
        """What was read of a step's answer."""
        return self._appraisal_of.get(step.place, NO_APPRAISAL)

    def note(self, step: PlanStep, answer: Answer | None, reply: ReplyAtHand | None) -> None:
        """Note what came of a step.

        Args:
            step: The step.
            answer: What its expert said; ``None`` where it failed, or where its reply does not meet a check.
            reply: The reply itself, where there is one.
        """
        candidate = step.candidate
        contribution = Contribution(
            step.place, candidate.expert.name, candidate.quality, answer, self.appraisal(step)
        )
        self._contributions.append(contribution)
        self._replies.append(reply)

    def close(self) -> None:
        """End the plan, and give back the money for steps that are not asked."""
        while self._unused:
            _, reservation = self._unused.popitem()
            self._settlements.release(reservation)

    def _steps_of(self, ask: Ask) -> list[PlanStep]:
        steps = []
        follow_up = FollowUp.of(self._request, ask.turns) if ask.turns else None
        for place in ask.steps:
            reservation = self._unused.pop(place)
            steps.append(
                PlanStep(
                    run=self,
                    place=place,
                    candidate=self._steps[place],
                    reservation=reservation,
                    follow_up=follow_up,
                    is_checked=self.plan.steps[place].is_checked,
                )
            )
        return steps
