"""One try of one candidate: the money for it is held, and settled or released however the call ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Self

from routoo_core.answering_models import AnsweringModels
from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.alerts import Alerts
from routoo_core.budget.cooldowns import Cooldowns
from routoo_core.budget.ledger import Reservation
from routoo_core.budget.settlements import Settlements
from routoo_core.candidates import Candidate
from routoo_core.errors import CallNotPrepared, InvalidRequest, RoutooError, StreamInterrupted
from routoo_core.experts import Expert
from routoo_core.failures import Failure, read_failure
from routoo_core.hidden_reasoning import HiddenReasoning
from routoo_core.limits import ReplyLimit
from routoo_core.money import NanoUsd, decimal_usd
from routoo_core.parameters import RefusedParameters
from routoo_core.record import AttemptRecord, DecisionRecord, Ending
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.threads import off_loop
from routoo_core.tokens import count_tokens
from routoo_core.usage import Usage


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
    """

    reason: str


Outcome = Answered | Failed | Rejected


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
        on_end: Takes the attempt that ended the call, whether it was answered or raised; called in the caller's
            thread, except for a stream that the caller left before its end.
        records: Of the attempts that ended, in order.
        settled: Booked for them together, nano-USD.
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
    on_end: Callable[[Attempt], None] | None = None
    records: list[AttemptRecord] = field(default_factory=list)
    settled: int = 0
    _decision_record: DecisionRecord | None = None

    def decision_record(self) -> DecisionRecord:
        """The record of the decision, made once for all attempts."""
        if self._decision_record is None:
            self._decision_record = self.decision.record()
        return self._decision_record


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

    Attributes:
        candidate: Whom to call, and at what expected cost.
        outcome: How it ended; ``None`` while it runs, and when an error left the loop.
        answered_model: The model that the reply names, where it names one.
    """

    def __init__(
        self,
        call: CallInProgress,
        candidate: Candidate,
        reservation: Reservation,
        is_driven: bool = False,
    ) -> None:
        self.candidate = candidate
        self.outcome: Outcome | None = None
        self.answered_model: str | None = None
        self._call = call
        self._reservation = reservation
        self._is_driven = is_driven
        self._started = time.monotonic()
        self._received: list[str] = []
        self._reported: Usage | None = None
        self._reported_model: str | None = None
        self._is_shown = False
        self._settling = threading.Lock()
        self._settled: int | None = None
        self._is_estimated = False
        self._state: AccountState | None = None
        self._is_settled_within = False
        self._is_left = False
        self._has_ended = False

    @property
    def expert(self) -> Expert:
        """Whom to call."""
        return self.candidate.expert

    @property
    def decision(self) -> Decision:
        """The ranking it was taken from."""
        return self._call.decision

    @property
    def error(self) -> Exception | None:
        """The failure that lets the next candidate try, else ``None``."""
        return self.outcome.error if isinstance(self.outcome, Failed) else None

    @property
    def max_tokens(self) -> int:
        """The limit on each reply that the window has room for and the hold pays for, at least 1."""
        return self.reply_limit.tokens

    @cached_property
    def reply_limit(self) -> ReplyLimit:
        """That limit, and what sets it."""
        return self.expert.reply_within(self._reservation.amount, self._call.request)

    @property
    def withheld(self) -> frozenset[str]:
        """Arguments that the expert does not take; see :data:`routoo_core.parameters.DISPENSABLE`."""
        return self._call.refused_parameters.of(self.expert)

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
            self._received.append(text)
            self._is_shown = self._is_shown or is_shown

    def reported(self, usage: Usage | None, model: str | None = None) -> None:
        """Note what the expert has reported so far, for the case that the call does not come to its end.

        Args:
            usage: As reported; ``None`` for nothing.
            model: The model that the reply names.
        """
        self._reported = usage
        self._reported_model = model

    def shown(self) -> None:
        """Note that the caller has been handed a part of the reply: no other expert can take over."""
        self._is_shown = True

    def settle(self, usage: Usage | None = None, model: str | None = None) -> None:
        """Book what the expert reported; what it does not report is estimated from the prompt and the text received.

        Args:
            usage: As reported; ``None`` for nothing. A total of 0 is estimated as well.
            model: The model that the reply names.
        """
        with self._settling:
            self._settle(usage, model)

    async def asettle(self, usage: Usage | None = None, model: str | None = None) -> None:
        """:meth:`settle` off the event loop."""
        await off_loop(lambda: self.settle(usage, model))

    def leave(self) -> None:
        """Note that the caller has left the stream; :meth:`settle_left` follows when it has been read on."""
        self._is_left = True

    def settle_left(self, usage: Usage | None, model: str | None, is_complete: bool) -> None:
        """Book a stream that the caller has left.

        Args:
            usage: As reported.
            model: The model that the reply names.
            is_complete: Whether the stream has been read to its end; else the most that it can have cost is booked.
        """
        left = GeneratorExit()
        try:
            with self._settling:
                if is_complete:
                    self._settle(usage, model)
                else:
                    self._settle_unfinished(usage, model)
        finally:
            self._note_end(left, read_failure(left))
            if self._call.on_end:
                self._call.on_end(self)

    def is_other_model(self, model: str | None) -> bool:
        """Whether a reply of this model is to be refused: another than was asked, at an expert that is strict."""
        if not self.expert.strict_model:
            return False
        return self._call.answering_models.is_other(self.expert, model)

    def release(self) -> None:
        """Give the money back; nothing was spent."""
        with self._settling:
            self._release()

    def reject(self, reason: str) -> None:
        """Let the next candidate try: the reply, which stays paid for, does not meet a check.

        Args:
            reason: Goes into the decision record; without text of the prompt or the reply.
        """
        self.outcome = Rejected(reason)

    def record(self) -> DecisionRecord:
        """The decision record, with every attempt so far; no prompt text, no secrets."""
        attempts = list(self._call.records)
        total = self._call.settled
        if not self._has_ended:
            attempts.append(self._attempt_record())
            total += self._settled or 0
        state = self._state
        remaining = state.available if state else None
        return replace(
            self._call.decision_record(),
            expert=self.expert.name,
            model=self.expert.model,
            account=self._reservation.account,
            within_limit=self._reservation.enforced,
            held_usd=decimal_usd(self._reservation.amount),
            reply_limit=self.reply_limit.tokens,
            limited_by=self.reply_limit.limited_by,
            settled_usd=None if self._settled is None else decimal_usd(self._settled),
            estimated=self._is_estimated,
            answered_model=self.answered_model,
            spent_usd=decimal_usd(state.spent) if state else None,
            remaining_usd=None if remaining is None else decimal_usd(remaining),
            attempts=tuple(attempts),
            total_usd=decimal_usd(total),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        try:
            return self._leave(error)
        finally:
            self._tell_end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        try:
            return await off_loop(lambda: self._leave(error))
        finally:
            self._tell_end()

    # Leaving: settle or release what is still held, then say whether the next candidate may try

    def _leave(self, error: BaseException | None) -> bool:
        if self._is_left:
            return False
        failure = None if error is None else read_failure(error)
        try:
            with self._settling:  # a settlement that nobody waits for any more is waited for here
                self._is_settled_within = self._settled is not None
                if not self._is_settled_within:
                    self._close_reservation(failure)
            swallowed = self._close(error, failure)
        finally:
            self._note_end(error, failure)
        return swallowed

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
            raise StreamInterrupted(self.expert.name, self._settled or 0) from error
        self.outcome = Failed(error, failure)
        return True

    def _is_fault_of_caller(self, failure: Failure) -> bool:
        """Whether nothing but the caller's own code can have raised an error."""
        return not self._is_driven and not failure.is_of_expert

    def _close_reservation(self, failure: Failure | None) -> None:
        """Book what the call may have cost, or nothing where the expert did no work."""
        if failure is None:
            self._settle(self._reported, self._reported_model)
            return
        if failure.has_whole_reply:
            self._received.append(failure.reply_text)
            self._settle(failure.usage or self._reported, self._reported_model)
        elif failure.may_be_billed or self._reported or any(self._received):
            self._settle_unfinished(self._reported, self._reported_model)
        else:
            self._release()

    def _release(self) -> None:
        self._state = self._call.settlements.release(self._reservation)
        self._settled = 0

    def _settle(self, usage: Usage | None, model: str | None) -> None:
        if usage:
            self._observe_latency()
            self._call.hidden_reasoning.note(self.expert, usage)
        if not self._is_counted(usage) and self._call.hidden_reasoning.of(self.expert):
            self._settle_unfinished(usage, model)
            return
        complete_usage = self._complete_usage(usage)
        self._book(self._call.answering_models.cost(self.expert, model, complete_usage), model)

    def _settle_unfinished(self, reported: Usage | None, model: str | None) -> None:
        """Book the most that a reply can have cost which did not come to its end, or hides what it cost.

        What an expert writes without showing it, such as reasoning, is known from the usage at the end alone. So all
        that is held is booked, less what is reported not to have been used for the prompt.
        """
        self._is_estimated = True
        cost = self._reservation.amount - self._unused_for_prompt(reported)
        models = self._call.answering_models
        if models.is_other(self.expert, model):
            cost = max(cost, models.cost(self.expert, model, self._largest_usage()))
        self._book(cost, model)

    def _largest_usage(self) -> Usage:
        """The most tokens that the call can have used."""
        request = self._call.request
        return Usage(self.expert.prompt_token_bound(request), self.max_tokens * request.completions)

    def _unused_for_prompt(self, reported: Usage | None) -> NanoUsd:
        """What was held for the prompt, and is reported not to have been used."""
        if reported is None or not reported.prompt_tokens:
            return 0
        bound = self.expert.prompt_token_bound(self._call.request)
        used = self.expert.cost(reported.prompt_only())
        return max(0, self.expert.maximum_cost(bound, 0) - used)

    def _book(self, cost: NanoUsd, model: str | None) -> None:
        self.answered_model = model
        self._state = self._call.settlements.settle(self._reservation, cost)
        self._settled = cost
        if self._state is not None:
            self._call.alerts.check(self._call.budget, self._state)

    def _complete_usage(self, usage: Usage | None) -> Usage:
        """What was reported, with an estimate of what was not."""
        if usage and usage.prompt_tokens and self._is_counted(usage):
            return usage
        text = "".join(self._received)
        self._is_estimated = True
        estimate = Usage(self.expert.prompt_tokens(self._call.request), count_tokens(text))
        return usage.filled(estimate) if usage else estimate

    def _is_counted(self, usage: Usage | None) -> bool:
        """Whether a usage says how much was written: a count, or none of a reply that has no text."""
        if usage is None:
            return False
        return usage.completion_tokens > 0 or (usage.prompt_tokens > 0 and not any(self._received))

    def _observe_latency(self) -> None:
        self._call.observe_latency(self.expert.name, time.monotonic() - self._started)

    def _note_end(self, error: BaseException | None, failure: Failure | None) -> None:
        """Add the attempt to those of the call that ended, and note how the expert is doing."""
        self._call.records.append(self._attempt_record(error, failure))
        self._call.settled += self._settled or 0
        self._has_ended = True
        if failure is None:
            self._call.cooldowns.note_answer(self.expert.name)
        elif isinstance(error, Exception) and not self._is_settled_within:
            if failure.reason == "timeout":
                self._observe_latency()
            self._call.cooldowns.note_failure(self.expert.name, failure)

    def _tell_end(self) -> None:
        """Call ``on_end``, unless another candidate takes over or the stream is read on, which ends it later."""
        is_replaced = isinstance(self.outcome, Failed | Rejected)
        if self._call.on_end and not is_replaced and not self._is_left:
            self._call.on_end(self)

    def _attempt_record(
        self, error: BaseException | None = None, failure: Failure | None = None
    ) -> AttemptRecord:
        ending, problem = self._ending(error, failure)
        return AttemptRecord(
            expert=self.expert.name,
            outcome=ending,
            error=problem,
            held_usd=decimal_usd(self._reservation.amount),
            settled_usd=decimal_usd(self._settled or 0),
            estimated=self._is_estimated,
            answered_model=self.answered_model,
        )

    def _ending(
        self, error: BaseException | None, failure: Failure | None
    ) -> tuple[Ending, str | None]:
        """How the attempt ended, and what the record says of it."""
        if isinstance(self.outcome, Rejected):
            return "rejected", self.outcome.reason
        if failure is None or (isinstance(error, GeneratorExit) and self._is_settled_within):
            return "answered", None
        ending: Ending = "failed" if isinstance(error, Exception) else "abandoned"
        return ending, failure.description
