"""One try of one candidate: the money for it is held, and settled or released however the call ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from routoo_core.answer import Answer
from routoo_core.budget.ledger import Reservation
from routoo_core.calling.booking import AttemptBooking
from routoo_core.calling.call import CallInProgress
from routoo_core.calling.follow_up import FollowUp
from routoo_core.calling.outcomes import (
    Answered,
    Contributed,
    Failed,
    Outcome,
    PaidReply,
    Rejected,
)
from routoo_core.candidates import Candidate
from routoo_core.errors import CallNotPrepared, InvalidRequest, RoutooError, StreamInterrupted
from routoo_core.experts import Expert
from routoo_core.failures import Failure, read_failure
from routoo_core.limits import ReplyLimit
from routoo_core.parameters import STOP_WORDS
from routoo_core.record import DecisionRecord
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.threads import off_loop
from routoo_core.usage import Usage

if TYPE_CHECKING:
    from routoo_core.calling.plan_run import PlanStep


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
        booking: What is held for it, and what was booked.
        outcome: How it ended; ``None`` while it runs, and when an error left the loop.
        place: Among the attempts of the call that ended; ``None`` before.
        started_ns: When it was made, nanoseconds since the epoch.
        first_shown_ns: When the caller had the first piece of a stream; ``None`` before.
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
        self.outcome: Outcome | None = None
        self.place: int | None = None
        self.started_ns = time.time_ns()
        self.first_shown_ns: int | None = None
        self._call = call
        self.booking = AttemptBooking(call, candidate.expert, self.request, reservation)
        self._is_driven = is_driven
        self._has_begun = False
        self._is_shown = False
        self._is_detached = False
        self._is_last = False

    # What the call is to be

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
    def plan_name(self) -> str | None:
        """The plan of which it is a step; ``None`` for an expert alone."""
        return None if self.step is None else self.step.run.plan.name

    @property
    def round(self) -> tuple[Attempt, ...]:
        """The attempts that are made at the same time: those of a plan's round, else this one alone."""
        return (self,) if self.step is None else self.step.run.round

    @property
    def max_tokens(self) -> int:
        """The limit on each reply that the window has room for and the hold pays for, at least 1."""
        return self.reply_limit.tokens

    @property
    def reply_limit(self) -> ReplyLimit:
        """That limit, and what sets it."""
        return self.booking.reply_limit

    @property
    def withheld(self) -> frozenset[str]:
        """Arguments that the expert does not take; see :data:`routoo_core.parameters.DISPENSABLE`."""
        return self._call.router.refused_parameters.of(self.expert)

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

    # What has come of it

    @property
    def error(self) -> Exception | None:
        """The failure that lets the next candidate try, else ``None``."""
        return self.outcome.error if isinstance(self.outcome, Failed) else None

    @property
    def answered_model(self) -> str | None:
        """The model that the reply names, where it names one."""
        return self.booking.answered_model

    def begin(self) -> None:
        """Note that the call is made now, in this thread or another; the second time changes nothing."""
        if self._has_begun:
            return
        self._has_begun = True
        self.booking.start_clock()
        if self.step is not None:
            self.step.take_hold()

    def received(self, text: str, is_shown: bool = True) -> None:
        """Note text that the expert wrote.

        Args:
            text: The text; may be empty.
            is_shown: Whether the caller sees it at once, so that no other expert can take over.
        """
        if text:
            self.booking.receive(text)
            self._is_shown = self._is_shown or is_shown

    def reported(self, usage: Usage | None, model: str | None = None) -> None:
        """Note the usage that the expert has reported so far, in case the call does not finish.

        Args:
            usage: As reported; ``None`` for nothing.
            model: The model that the reply names.
        """
        self.booking.report(usage, model)

    def note_shown(self) -> None:
        """Note that the caller has been handed a part of the reply: no other expert can take over."""
        self._is_shown = True
        self.first_shown_ns = self.first_shown_ns or time.time_ns()

    def settle(self, usage: Usage | None = None, model: str | None = None) -> None:
        """Book what the expert reported; what it does not report is estimated from the prompt and the text received.

        Args:
            usage: As reported; ``None`` for nothing. A total of 0 is estimated as well.
            model: The model that the reply names.
        """
        self.booking.settle(usage, model)

    async def asettle(self, usage: Usage | None = None, model: str | None = None) -> None:
        """:meth:`settle` off the event loop."""
        await off_loop(lambda: self.settle(usage, model))

    def release(self) -> None:
        """Give the money back; nothing was spent."""
        self.booking.release()

    def record(self) -> DecisionRecord:
        """The decision record, with every attempt so far; no prompt text, no secrets."""
        return self._call.history.record(self)

    # Whether its reply is the call's

    def holds_back(self, calls_tool: bool) -> bool:
        """Whether a reply is checked as a whole, so that no part of it may reach the caller earlier.

        Args:
            calls_tool: Whether the reply has called a tool so far.
        """
        return self.step is not None or self._call.checks.holds_back(calls_tool)

    def is_other_model(self, model: str | None) -> bool:
        """Whether a reply of this model must be refused: it is another model, and the expert sets ``strict_model``."""
        if not self.expert.strict_model:
            return False
        return self._call.router.answering_models.is_other(self.expert, model)

    def accepts(self, answer: Answer, model: str | None, reply: Any) -> bool:
        """Whether a reply is the call's; else it stays paid for, and another try or the next step of a plan follows.

        Args:
            answer: What it says.
            model: The model that it names.
            reply: The reply itself, which is kept where it may be the call's after all.
        """
        if self.is_other_model(model):
            self.reject(f"model {model!r} answered, and strict_model refuses it")
            return False
        if self.step is not None:
            self._contribute(self.step, answer, reply)
            return False
        return self._meets_checks(answer, reply)

    async def aaccepts(self, answer: Answer, model: str | None, reply: Any) -> bool:
        """:meth:`accepts` off the event loop, where a check may take its time."""
        if not self.holds_back(bool(answer.tool_calls)):
            return self.accepts(answer, model, reply)
        return await off_loop(lambda: self.accepts(answer, model, reply), is_slow=True)

    def _meets_checks(self, answer: Answer, reply: Any) -> bool:
        """Whether an expert's reply passes; one of a wrong form does, too, where no other try can be paid."""
        checks = self._call.checks
        finding = checks.find_fault(answer)
        if finding is None:
            return True
        repair = None
        if checks.repairs and self.follow_up is None:
            repair = FollowUp.repair(self._call.request, answer, finding.fault)
        if finding.is_of_form:
            if not self._call.can_go_on(self.candidate, repair, self.booking.settled or 0):
                return True
            checks.stop_checking_form()
            self._call.fallback = PaidReply(self, reply)
        self.reject(finding.fault.reason, repair)
        return False

    def _contribute(self, step: PlanStep, answer: Answer, reply: Any) -> None:
        """Hand a reply to the plan; one with a fault adds nothing to it."""
        finding = self._call.checks.find_fault(answer) if step.is_checked else None
        if finding is None:
            self.outcome = Contributed(answer, reply, step.appraise(answer))
            return
        if finding.is_of_form:
            self._call.fallback = PaidReply(self, reply)
        self.reject(finding.fault.reason)

    def reject(self, reason: str, repair: FollowUp | None = None) -> None:
        """Let the next candidate try: the reply, which stays paid for, does not meet a check.

        Args:
            reason: Goes into the decision record; without text of the prompt or the reply.
            repair: What the same expert is told, which is then asked first.
        """
        self.outcome = Rejected(reason, repair)

    def answer_call(self) -> None:
        """End the call with this reply, which was kept while others were tried."""
        self.outcome = Answered()
        if self.place is not None:
            self._call.history.mark_answered(self.place)
        self._call.end(self, None)

    # Leaving: settle or release what is still held, then say whether the next candidate may try

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        try:
            return self._leave(error)
        finally:
            self._end_call(error)

    async def __aenter__(self) -> Self:
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        try:
            if error is None and self._leaves_without_ledger():
                return self._leave(None)
            return await off_loop(lambda: self._leave(error), undo=self._give_up_call)
        except asyncio.CancelledError:
            self._is_last = True
            raise
        finally:
            self._end_call(error)

    def _leaves_without_ledger(self) -> bool:
        """Whether nothing is left to write: it is settled, and its expert does not recover from a failure."""
        is_settled = self.booking.settled is not None
        return is_settled and not self._call.router.cooldowns.knows(self.expert.name)

    def _leave(self, error: BaseException | None) -> bool:
        """Close the reservation; whether the error is swallowed, since the next candidate may answer."""
        if self._is_detached:
            return False
        failure = None if error is None else read_failure(error)
        is_swallowed = False
        try:
            self.booking.close(failure)
            is_swallowed = self._conclude(error, failure)
        except BaseException:
            self._is_last = True
            raise
        finally:
            if error is not None and not is_swallowed:
                self._is_last = True
            self._note_end(error, failure)
            if not self._is_followed:
                self._abandon_plan()
        return is_swallowed

    def _conclude(self, error: BaseException | None, failure: Failure | None) -> bool:
        """Find the outcome; whether it is a failure that another candidate may not share."""
        if error is None or failure is None:
            self.outcome = self.outcome or Answered()
            return False
        if self.booking.is_settled_in_block or not isinstance(error, Exception):
            return False
        if failure.is_unwritten:
            raise InvalidRequest(
                f"the call cannot be written as JSON: {error}. Give texts, finite numbers, lists and dictionaries"
            ) from error
        is_fault_of_caller = not self._is_driven and not failure.is_of_expert
        if not failure.another_may_succeed or is_fault_of_caller:
            return False
        if self._is_shown:
            raise StreamInterrupted(self.expert.name, self.booking.settled or 0) from error
        self.outcome = Failed(error, failure)
        return True

    def _note_end(self, error: BaseException | None, failure: Failure | None) -> None:
        """Add the attempt to those of the call that ended, and note how the expert is doing."""
        self.place = self._call.history.add(self, error, failure)
        cooldowns = self._call.router.cooldowns
        if failure is None:
            cooldowns.note_answer(self.expert.name)
        elif isinstance(error, Exception) and not self.booking.is_settled_in_block:
            if failure.reason == "timeout":
                self.booking.observe_latency()
            cooldowns.note_failure(self.expert.name, failure)

    @property
    def _is_followed(self) -> bool:
        """Whether the call goes on with another try, or with what its plan says."""
        goes_on = isinstance(self.outcome, Failed | Rejected | Contributed)
        return goes_on and not self._is_last

    def _end_call(self, error: BaseException | None) -> None:
        """End the call, unless another try follows or the reply is read on, which ends it later."""
        if not self._is_followed and not self._is_detached:
            self._call.end(self, error)

    def _give_up_call(self, _: bool) -> None:
        """End the plan of a call that was cancelled while this attempt was being left."""
        self._is_last = True
        self._abandon_plan()

    def _abandon_plan(self) -> None:
        if self.step is not None:
            self.step.run.abandon()

    # An attempt for which its caller does not wait

    def discard(self) -> None:
        """Give back the money of an attempt that will not be made, and of the rest of its plan."""
        if self.step is None:
            self.release()
        else:
            self.step.run.abandon()

    def detach(self) -> None:
        """Note that the caller has left: the reply is read on, and :meth:`settle_detached` follows."""
        self._is_detached = True

    def settle_detached(
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
            if error is not None:
                self.booking.close(read_failure(error))
            elif is_complete:
                self.booking.settle(usage, model)
            else:
                self.booking.settle_unfinished(usage, model)
        finally:
            self._note_end(departure, read_failure(departure))
            self._abandon_plan()
            self._call.end(self, departure)
