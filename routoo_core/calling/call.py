"""A call that is being made: how its attempts may end, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from routoo_core.answering_models import AnsweringModels
from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.alerts import Alerts
from routoo_core.budget.cooldowns import Cooldowns
from routoo_core.budget.settlements import Settlements
from routoo_core.calling.checks import ReplyChecks
from routoo_core.calling.follow_up import FollowUp
from routoo_core.calling.plan_run import ReplyAtHand
from routoo_core.failures import Failure
from routoo_core.hidden_reasoning import HiddenReasoning
from routoo_core.money import NanoUsd
from routoo_core.parameters import RefusedParameters
from routoo_core.record import AttemptRecord, DecisionRecord
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.telemetry import CallTrace

if TYPE_CHECKING:
    from routoo_core.calling.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Answered:
    """The expert replied."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The expert failed in a way that another may not share: the next candidate may answer.

    Attributes:
        error: What went wrong.
        failure: What that means.
    """

    error: Exception
    failure: Failure


@dataclass(frozen=True, slots=True)
class Rejected:
    """The expert's reply was paid for, but does not meet a check: the next candidate may answer.

    Attributes:
        reason: Why, without text of the prompt or the reply.
        repair: What its expert is told if it is asked again; ``None`` where it is not.
    """

    reason: str
    repair: FollowUp | None = None


@dataclass(frozen=True, slots=True)
class Contributed:
    """The expert replied to a step of a plan, which says what comes next."""


Outcome = Answered | Failed | Rejected | Contributed


@dataclass(slots=True)
class CallInProgress:
    """What all attempts of one call share.

    Attributes:
        request: The call.
        decision: Its ranked candidates.
        budget: Whose money is held.
        settlements: Where money is held and settled.
        observe_latency: Takes an expert's name and the seconds of a reply that came with its usage, or of a wait for
            one that did not come.
        cooldowns: Told of failures and answers.
        refused_parameters: Arguments that experts do not take.
        hidden_reasoning: Which experts write more than they show.
        answering_models: What a call costs by the model that answered.
        alerts: Told of what accounts have spent.
        trace: Takes what happens for OpenTelemetry.
        checks: What its replies must be.
        can_go_on: Whether another try can be paid; takes the repair that would be first, and what the try that is
            ending cost.
        on_end: Takes the attempt that ended the call, whether it was answered or raised; called in the caller's
            thread, except for a stream that the caller left before its end, and where an async call failed.
        records: Of the attempts that ended, in order.
        settled: Booked for them together, nano-USD.
        state: Where the account stood when its money last moved.
        rejected_reply: A reply of a wrong form that was rejected last; it is better than none.
        has_ended: Whether its end was told.
    """

    request: RoutedRequest
    decision: Decision
    budget: Budget
    settlements: Settlements
    observe_latency: Callable[[str, float], None]
    cooldowns: Cooldowns
    refused_parameters: RefusedParameters
    hidden_reasoning: HiddenReasoning
    answering_models: AnsweringModels
    alerts: Alerts
    trace: CallTrace
    checks: ReplyChecks
    can_go_on: Callable[[FollowUp | None, NanoUsd], bool]
    on_end: Callable[[Attempt], None] | None = None
    records: list[AttemptRecord] = field(default_factory=list)
    settled: int = 0
    state: AccountState | None = None
    rejected_reply: ReplyAtHand | None = None
    has_ended: bool = False
    _decision_record: DecisionRecord | None = None

    def decision_record(self) -> DecisionRecord:
        """The record of the decision, made once for all attempts."""
        if self._decision_record is None:
            self._decision_record = self.decision.record()
        return self._decision_record

    def end(self, attempt: Attempt) -> None:
        """Note that an attempt has ended the call."""
        if self.on_end is not None:
            self.on_end(attempt)
        self.can_go_on = _no_further_try


def _no_further_try(repair: FollowUp | None, cost: NanoUsd) -> bool:
    """Whether a call that has ended may go on; in the place of its attempts, so that memory is free at once."""
    return False
