"""One try of one candidate: the money for it is held, and settled or released however the call ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from routoo_core.answer import Answer
from routoo_core.budget.ledger import Reservation
from routoo_core.calling.booking import AttemptBooking
from routoo_core.calling.call import (
    Answered,
    CallInProgress,
    Contributed,
    Failed,
    Outcome,
    Rejected,
)
from routoo_core.calling.follow_up import FollowUp
from routoo_core.calling.plan_run import PlanStep, ReplyAtHand
from routoo_core.candidates import Candidate
from routoo_core.errors import CallNotPrepared, InvalidRequest, RoutooError, StreamInterrupted
from routoo_core.experts import Expert
from routoo_core.failures import Failure, read_failure
from routoo_core.limits import ReplyLimit
from routoo_core.money import decimal_usd
from routoo_core.parameters import STOP_WORDS
from routoo_core.plans.plan import NO_APPRAISAL
from routoo_core.record import AttemptRecord, DecisionRecord, Ending
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.telemetry import AttemptFacts
from routoo_core.threads import off_loop
from routoo_core.usage import Usage


class Attempt:
    """A candidate to be called now, with the money for it held; use as a (sync or async) context manager.

    ::

        with attempt:
            reply = call(attempt.expert, max_tokens=attempt.max_tokens)
            attempt.settle(Usage(reply.prompt_tokens, reply.completion_tokens))

    On leaving without :meth:`settle`, the prompt and the text received are booked. After an error the most that the
    call can have cost is booked, or nothing when the expert refused the call or was never reached. An error that
    carries the expert's reply is booked as that reply.

    Args:
        call: The call it belongs to.
        candidate: Whom to call.
        reservation: The money held for it.
        is_driven: Whether the driver makes the call, so that every error in it is the expert's. Code of one's own may
            have faults of its own, which are nobody else's.
        follow_up: What the expert is told beyond the call.
        step: The step of a plan that it is; ``None`` for an expert alone.

    Attributes:
        candidate: Whom to call, and at what expected cost.
        contribution: What it adds to its plan; ``None`` where it adds nothing.
        reply: The reply that its plan may take.
        peers: The attempts of one round of a plan, which are made together; else itself alone.
        is_sent: Whether another thread or task makes the call.
        is_entered: Whether its context was entered, which settles it on leaving.
        outcome: How it ended; ``None`` while it runs, and when an error left the loop.
    """

    def __init__(
        self,
        call: CallInProgress,
        candidate: Candidate,
        reservation: Reservation,
        is_driven: bool = False,
        follow_up: FollowUp | None = None,
        step: PlanStep | None = None,
    ) -> None:
        self.candidate = candidate
        self.follow_up = follow_up
        self.step = step
        self.contribution: Answer | None = None
        self.reply: ReplyAtHand | None = None
        self.peers: tuple[Attempt, ...] = (self,)
        self.is_sent = False
        self.is_entered = False
        self.outcome: Outcome | None = None
        self._call = call
        request = follow_up.request if follow_up else call.request
        self._booking = AttemptBooking(call, candidate.expert, request, reservation)
        self._is_driven = is_driven
        self._started_ns = time.time_ns()
        self._first_shown_ns: int | None = None
        self._reported: Usage | None = None
        self._reported_model: str | None = None
        self._is_shown = False
        self._settling = threading.Lock()
        self._is_settled_within = False
        self._is_left = False
        self._is_broken_off = False
        self._place_in_records: int | None = None

    @property
    def expert(self) -> Expert:
        """The expert to call."""
        return self.candidate.expert

    @property
    def request(self) -> RoutedRequest:
        """The request to the expert: the call, with the messages of a follow-up if there is one."""
        return self.follow_up.request if self.follow_up else self._call.request

    @property
    def decision(self) -> Decision:
        """The decision that ranked this candidate."""
        return self._call.decision

    @property
    def error(self) -> Exception | None:
        """The failure that lets the next candidate try, else ``None``."""
        return self.outcome.error if isinstance(self.outcome, Failed) else None

    @property
    def max_tokens(self) -> int:
        """The limit on each reply that the window has room for and the hold pays for, at least 1."""
        return self.reply_limit.tokens

    @property
    def reply_limit(self) -> ReplyLimit:
        """That limit, and what sets it."""
        return self._booking.reply_limit

    @property
    def answered_model(self) -> str | None:
        """The model that the reply names, where it names one."""
        return self._booking.answered_model

    @property
    def withheld(self) -> frozenset[str]:
        """Arguments that the expert does not take; see :data:`routoo_core.parameters.DISPENSABLE`."""
        return self._call.refused_parameters.of(self.expert)

    @property
    def foreign_arguments(self) -> frozenset[str]:
        """Arguments of the call that do not concern the expert: the caller's stop words, where it judges a reply."""
        judges = self.step is not None and not self.step.is_checked
        return STOP_WORDS if judges else frozenset()

    @contextmanager
    def preparation(self) -> Iterator[None]:
        """Put the call into its client's form in this block: nothing is sent yet, so a failure costs nothing.

        Raises:
            CallNotPrepared: The block raised anything that is not an error of ours.
        """
        try:
            yield
        except RoutooError:
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise CallNotPrepared(self.expert.name, problem) from error

    def received(self, text: str, is_shown: bool = True) -> None:
        """Note text that the expert wrote.

        Args:
            text: The text; may be empty.
            is_shown: Whether the caller sees it at once, so that no other expert can take over.
        """
        if text:
            self._booking.receive(text)
            self._is_shown = self._is_shown or is_shown

    def reported(self, usage: Usage | None, model: str | None = None) -> None:
        """Note the usage that the expert has reported so far, in case the call does not finish.

        Args:
            usage: As reported; ``None`` for nothing.
            model: The model that the reply names.
        """
        self._reported = usage
        self._reported_model = model

    def shown(self) -> None:
        """Note that the caller has been handed a part of the reply: no other expert can take over."""
        self._is_shown = True
        self._first_shown_ns = self._first_shown_ns or time.time_ns()

    def settle(self, usage: Usage | None = None, model: str | None = None) -> None:
        """Book what the expert reported; what it does not report is estimated from the prompt and the text received.

        Args:
            usage: As reported; ``None`` for nothing. A total of 0 is estimated as well.
            model: The model that the reply names.
        """
        with self._settling:
            self._booking.settle(usage, model)

    async def asettle(self, usage: Usage | None = None, model: str | None = None) -> None:
        """:meth:`settle` off the event loop."""
        await off_loop(lambda: self.settle(usage, model))

    def arrived(self) -> None:
        """Note that the reply is there, though it is read later."""
        self._booking.stop()

    def leave(self) -> None:
        """Note that the caller has left the stream; :meth:`settle_left` follows when it has been read on."""
        self._is_left = True

    def settle_left(
        self,
        usage: Usage | None,
        model: str | None,
        is_complete: bool,
        error: Exception | None = None,
    ) -> None:
        """Book a reply that the caller has left.

        Args:
            usage: As reported.
            model: The model that the reply names.
            is_complete: Whether it has been read to its end; else the most that it can have cost is booked.
            error: What ended it; booked as if the caller had waited for it.
        """
        departure = GeneratorExit()
        try:
            with self._settling:
                if error is not None:
                    self._close_reservation(read_failure(error))
                elif is_complete:
                    self._booking.settle(usage, model)
                else:
                    self._booking.settle_unfinished(usage, model)
        finally:
            self._note_end(departure, read_failure(departure))
            self.abandon_plan()
            self._end_call(departure)

    def holds_back(self, calls_tool: bool) -> bool:
        """Whether a reply is checked as a whole, so that no part of it may reach the caller earlier.

        Args:
            calls_tool: Whether the reply has called a tool so far.
        """
        return self.step is not None or self._call.checks.holds_back(calls_tool)

    def accepts(self, answer: Answer, model: str | None, reply: Any) -> bool:
        """Whether a reply is the call's; else it stays paid for, and another try or the next step of a plan follows.

        A reply of a wrong form is let through where no other try can be paid.

        Args:
            answer: What it says.
            model: The model that it names.
            reply: The reply itself, which is kept where it may be the call's after all.
        """
        if self.is_other_model(model):
            self.reject(f"model {model!r} answered, and strict_model refuses it")
            return False
        checks = self._call.checks
        if self.step is not None:
            self._contribute(self.step, answer, reply)
            return False
        finding = checks.find_fault(answer)
        if finding is None:
            return True
        repair = None
        if checks.repairs and self.follow_up is None:
            repair = FollowUp.repair(self._call.request, answer, finding.fault)
        if finding.is_of_form:
            if not self._call.can_go_on(repair, self._booking.settled or 0):
                return True
            checks.stop_checking_form()
            self._call.rejected_reply = ReplyAtHand(self, reply)
        self.reject(finding.fault.reason, repair)
        return False

    def _contribute(self, step: PlanStep, answer: Answer, reply: Any) -> None:
        """Hand a reply to the plan; one with a fault adds nothing to it."""
        finding = self._call.checks.find_fault(answer) if step.is_checked else None
        if finding is None:
            step.run.appraise(step, answer)
            self.contribution = answer
            self.reply = ReplyAtHand(self, reply, is_accepted=True)
            self.outcome = Contributed()
            return
        if finding.is_of_form:
            self._call.rejected_reply = ReplyAtHand(self, reply)
        self.reject(finding.fault.reason)

    async def aaccepts(self, answer: Answer, model: str | None, reply: Any) -> bool:
        """:meth:`accepts` off the event loop, where a check may take its time."""
        if not self.holds_back(bool(answer.tool_calls)):
            return self.accepts(answer, model, reply)
        return await off_loop(lambda: self.accepts(answer, model, reply))

    def hand_over(self) -> None:
        """End the call with this reply, which was kept while others were tried."""
        self.outcome = Answered()
        if self._place_in_records is not None:
            records = self._call.records
            record = records[self._place_in_records]
            records[self._place_in_records] = replace(record, outcome="answered")
        self._end_call(None)

    def is_other_model(self, model: str | None) -> bool:
        """Whether a reply of this model must be refused: it is another model, and the expert sets ``strict_model``."""
        if not self.expert.strict_model:
            return False
        return self._call.answering_models.is_other(self.expert, model)

    def release(self) -> None:
        """Give the money back; nothing was spent."""
        with self._settling:
            self._booking.release()

    def reject(self, reason: str, repair: FollowUp | None = None) -> None:
        """Let the next candidate try: the reply, which stays paid for, does not meet a check.

        Args:
            reason: Goes into the decision record; without text of the prompt or the reply.
            repair: What the same expert is told, which is then asked first.
        """
        self.outcome = Rejected(reason, repair)

    def record(self) -> DecisionRecord:
        """The decision record, with every attempt so far; no prompt text, no secrets."""
        attempts = list(self._call.records)
        total = self._call.settled
        if self._place_in_records is None:
            attempts.append(self._attempt_record())
            total += self._booking.settled or 0
        state = self._call.state
        remaining = state.available if state else None
        return replace(
            self._call.decision_record(),
            expert=self.expert.name,
            plan=self.step.run.plan.name if self.step else None,
            model=self.expert.model,
            account=self._booking.reservation.account,
            within_limit=self._booking.reservation.enforced,
            held_usd=decimal_usd(self._booking.reservation.amount),
            reply_limit=self.reply_limit.tokens,
            limited_by=self.reply_limit.limited_by,
            settled_usd=None
            if self._booking.settled is None
            else decimal_usd(self._booking.settled),
            estimated=self._booking.is_estimated,
            answered_model=self.answered_model,
            spent_usd=decimal_usd(state.spent) if state else None,
            remaining_usd=None if remaining is None else decimal_usd(remaining),
            attempts=tuple(attempts),
            total_usd=decimal_usd(total),
        )

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        try:
            return self._leave(error)
        finally:
            self._tell_end(error)

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    def _enter(self) -> None:
        self.is_entered = True
        if not self.is_sent:
            self._booking.restart()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        try:
            if error is None and self._is_closed_without_ledger():
                return self._leave(None)
            return await off_loop(lambda: self._leave(error), undo=self._break_off)
        except asyncio.CancelledError:
            self._is_broken_off = True
            raise
        finally:
            self._tell_end(error)

    def _is_closed_without_ledger(self) -> bool:
        """Whether nothing is left to write: it is settled, and its expert does not recover from a failure."""
        return self._booking.settled is not None and not self._call.cooldowns.knows(
            self.expert.name
        )

    # Leaving: settle or release what is still held, then say whether the next candidate may try

    def _leave(self, error: BaseException | None) -> bool:
        if self._is_left:
            return False
        failure = None if error is None else read_failure(error)
        try:
            with self._settling:  # a settlement that nobody waits for any more is waited for here
                self._is_settled_within = self._booking.settled is not None
                if not self._is_settled_within:
                    self._close_reservation(failure)
            is_swallowed = self._close(error, failure)
            self._is_broken_off = error is not None and not is_swallowed
        except BaseException:
            self._is_broken_off = True
            raise
        finally:
            self._note_end(error, failure)
            if not self._is_replaced:
                self.abandon_plan()
        return is_swallowed

    def _break_off(self, _: bool) -> None:
        """End the plan of a call that was cancelled while this attempt was being left."""
        self._is_broken_off = True
        self.abandon_plan()

    def abandon_plan(self) -> None:
        """Release the amount held for those steps of the plan that were not called."""
        if self.step is None:
            return
        for peer in self.peers:
            if not peer.is_sent and not peer.is_entered:
                peer.release()
        self.step.run.close()

    @property
    def _is_replaced(self) -> bool:
        """Whether the call goes on with another try, or with what its plan says."""
        if self._is_broken_off:
            return False
        return isinstance(self.outcome, Failed | Rejected | Contributed)

    def _close(self, error: BaseException | None, failure: Failure | None) -> bool:
        """Whether an error is swallowed, since the next candidate may answer."""
        if error is None or failure is None:
            self.outcome = self.outcome or Answered()
            return False
        if self._is_settled_within or not isinstance(error, Exception):
            return False
        if failure.is_unwritten:
            raise InvalidRequest(
                f"the call cannot be written as JSON: {error}. Give texts, finite numbers, lists and dictionaries"
            ) from error
        if not failure.another_may_succeed or self._is_fault_of_caller(failure):
            return False
        if self._is_shown:
            raise StreamInterrupted(self.expert.name, self._booking.settled or 0) from error
        self.outcome = Failed(error, failure)
        return True

    def _is_fault_of_caller(self, failure: Failure) -> bool:
        """Whether nothing but the caller's own code can have raised an error."""
        return not self._is_driven and not failure.is_of_expert

    def _close_reservation(self, failure: Failure | None) -> None:
        """Book what the call may have cost, or nothing where the expert did no work."""
        if failure is None:
            self._booking.settle(self._reported, self._reported_model)
            return
        if failure.has_whole_reply:
            self._booking.receive(failure.reply_text)
            self._booking.settle(failure.usage or self._reported, self._reported_model)
        elif failure.may_be_billed or self._reported or self._booking.has_text:
            self._booking.settle_unfinished(self._reported, self._reported_model)
        else:
            self._booking.release()

    def _note_end(self, error: BaseException | None, failure: Failure | None) -> None:
        """Add the attempt to those of the call that ended, and note how the expert is doing."""
        record = self._attempt_record(error, failure)
        self._place_in_records = len(self._call.records)
        self._call.records.append(record)
        self._call.trace.note_attempt(self._facts(record, failure))
        self._call.settled += self._booking.settled or 0
        if failure is None:
            self._call.cooldowns.note_answer(self.expert.name)
        elif isinstance(error, Exception) and not self._is_settled_within:
            if failure.reason == "timeout":
                self._booking.observe_latency()
            self._call.cooldowns.note_failure(self.expert.name, failure)

    def _tell_end(self, error: BaseException | None) -> None:
        """End the call, unless another candidate takes over or the stream is read on, which ends it later."""
        if not self._is_replaced and not self._is_left:
            self._end_call(error)

    def _end_call(self, error: BaseException | None) -> None:
        if self._call.has_ended:
            return
        self._call.has_ended = True
        error_type = type(error).__name__ if isinstance(error, Exception) else None
        self._call.trace.end(self.decision.predict_ms, self.record, error_type)
        self._call.end(self)

    def _facts(self, record: AttemptRecord, failure: Failure | None) -> AttemptFacts:
        """What is traced of the attempt."""
        return AttemptFacts(
            expert=self.expert,
            record=record,
            account=self._booking.reservation.account,
            started_ns=self._started_ns,
            first_shown_ns=self._first_shown_ns,
            max_tokens=self.max_tokens,
            usage=self._booking.usage,
            failure=failure,
        )

    def _attempt_record(
        self, error: BaseException | None = None, failure: Failure | None = None
    ) -> AttemptRecord:
        ending, problem = self._ending(error, failure)
        appraisal = self.step.run.appraisal(self.step) if self.step else NO_APPRAISAL
        return AttemptRecord(
            expert=self.expert.name,
            outcome=ending,
            error=problem,
            held_usd=decimal_usd(self._booking.reservation.amount),
            settled_usd=decimal_usd(self._booking.settled or 0),
            estimated=self._booking.is_estimated,
            answered_model=self.answered_model,
            repairs=self.follow_up is not None and self.follow_up.is_repair,
            plan=self.step.run.plan.name if self.step else None,
            rewrites=self.follow_up is not None and self.follow_up.is_rewriting,
            probability=appraisal.probability,
            threshold=appraisal.threshold,
        )

    def _ending(
        self, error: BaseException | None, failure: Failure | None
    ) -> tuple[Ending, str | None]:
        """How the attempt ended, and what the record says of it."""
        if isinstance(self.outcome, Rejected):
            return "rejected", self.outcome.reason
        if isinstance(self.outcome, Contributed):
            return "contributed", None
        if failure is None or (isinstance(error, GeneratorExit) and self._is_settled_within):
            return "answered", None
        ending: Ending = "failed" if isinstance(error, Exception) else "abandoned"
        return ending, failure.description
