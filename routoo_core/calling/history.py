"""What is written down of a call: how each attempt ended, what all of them cost, and the decision record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from routoo_core.budget.account import AccountState
from routoo_core.calling.outcomes import Contributed, Rejected
from routoo_core.failures import Failure
from routoo_core.money import NanoUsd, decimal_usd
from routoo_core.plans.plan import NO_APPRAISAL
from routoo_core.record import AttemptRecord, DecisionRecord, Ending
from routoo_core.selector import Decision
from routoo_core.telemetry import AttemptFacts, CallTrace

if TYPE_CHECKING:
    from routoo_core.calling.attempt import Attempt


class CallHistory:
    """The attempts of one call as its record lists them.

    Args:
        decision: What the call decided.
        trace: Takes each attempt for OpenTelemetry.

    Attributes:
        settled: Booked for all attempts that ended, nano-USD.
        state: The innermost account when its money last moved; ``None`` where the ledger failed, and before.
    """

    def __init__(self, decision: Decision, trace: CallTrace) -> None:
        self.settled: NanoUsd = 0
        self.state: AccountState | None = None
        self._decision = decision
        self._trace = trace
        self._records: list[AttemptRecord] = []
        self._decision_record: DecisionRecord | None = None

    def add(self, attempt: Attempt, error: BaseException | None, failure: Failure | None) -> int:
        """Add an attempt that has ended.

        Args:
            attempt: The attempt, booked.
            error: What it was left with; ``None`` for no error.
            failure: What that means.

        Returns:
            Its place among the records.
        """
        place = len(self._records)
        record = _attempt_record(attempt, error, failure)
        self._records.append(record)
        self._trace.note_attempt(
            AttemptFacts(
                expert=attempt.expert,
                record=record,
                account=attempt.booking.reservation.account,
                started_ns=attempt.started_ns,
                first_shown_ns=attempt.first_shown_ns,
                max_tokens=attempt.max_tokens,
                usage=attempt.booking.usage,
                failure=failure,
            )
        )
        self.settled += attempt.booking.settled or 0
        return place

    def mark_answered(self, place: int) -> None:
        """Note that the reply of an earlier attempt is the call's after all."""
        self._records[place] = replace(self._records[place], outcome="answered")

    def record(self, attempt: Attempt) -> DecisionRecord:
        """The decision record as of an attempt, which may be under way."""
        booking = attempt.booking
        records = list(self._records)
        total = self.settled
        if attempt.place is None:
            records.append(_attempt_record(attempt, None, None))
            total += booking.settled or 0
        return replace(
            self._record_of_decision(),
            expert=attempt.expert.name,
            plan=attempt.plan_name,
            model=attempt.expert.model,
            account=booking.reservation.account,
            within_limit=booking.reservation.enforced,
            held_usd=decimal_usd(booking.reservation.amount),
            reply_limit=booking.reply_limit.tokens,
            limited_by=booking.reply_limit.limited_by,
            settled_usd=_usd(booking.settled),
            estimated=booking.is_estimated,
            answered_model=booking.answered_model,
            spent_usd=_usd(self.state.spent) if self.state else None,
            remaining_usd=_usd(self.state.available) if self.state else None,
            attempts=tuple(records),
            total_usd=decimal_usd(total),
        )

    def _record_of_decision(self) -> DecisionRecord:
        """The record of the decision, made once for all attempts."""
        if self._decision_record is None:
            self._decision_record = self._decision.record()
        return self._decision_record


def _attempt_record(
    attempt: Attempt, error: BaseException | None, failure: Failure | None
) -> AttemptRecord:
    booking = attempt.booking
    follow_up = attempt.follow_up
    ending = _ending(attempt, error, failure)
    outcome = attempt.outcome
    appraisal = outcome.appraisal if isinstance(outcome, Contributed) else NO_APPRAISAL
    return AttemptRecord(
        expert=attempt.expert.name,
        outcome=ending,
        error=_problem(ending, attempt, failure),
        held_usd=decimal_usd(booking.reservation.amount),
        settled_usd=decimal_usd(booking.settled or 0),
        estimated=booking.is_estimated,
        answered_model=booking.answered_model,
        repairs=follow_up is not None and follow_up.is_repair,
        plan=attempt.plan_name,
        rewrites=follow_up is not None and follow_up.is_rewriting,
        probability=appraisal.probability,
        threshold=appraisal.threshold,
    )


def _ending(attempt: Attempt, error: BaseException | None, failure: Failure | None) -> Ending:
    """How an attempt ended, in the record's word."""
    if isinstance(attempt.outcome, Rejected):
        return "rejected"
    if isinstance(attempt.outcome, Contributed):
        return "contributed"
    if failure is None:
        return "answered"
    if isinstance(error, GeneratorExit) and attempt.booking.is_settled_in_block:
        return "answered"
    return "failed" if isinstance(error, Exception) else "abandoned"


def _problem(ending: Ending, attempt: Attempt, failure: Failure | None) -> str | None:
    """What was wrong with an attempt; never a text of the prompt or the reply."""
    if isinstance(attempt.outcome, Rejected):
        return attempt.outcome.reason
    if failure is not None and ending in {"failed", "abandoned"}:
        return failure.description
    return None


def _usd(amount: NanoUsd | None) -> str | None:
    return None if amount is None else decimal_usd(amount)
