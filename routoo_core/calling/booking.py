"""The money of one attempt: what is held for it, and what is booked of that however the call ends."""

from __future__ import annotations

import threading
import time
from functools import cached_property

from routoo_core.budget.ledger import Reservation
from routoo_core.calling.call import CallInProgress
from routoo_core.experts import Expert
from routoo_core.failures import Failure
from routoo_core.limits import ReplyLimit
from routoo_core.money import NanoUsd
from routoo_core.request import RoutedRequest
from routoo_core.tokens import count_tokens
from routoo_core.usage import Usage


class AttemptBooking:
    """What an attempt holds and what it cost; booked or given back once, by one thread at a time.

    Args:
        call: The call that pays.
        expert: Whom it is for.
        request: What the expert is asked.
        reservation: The money held.

    Attributes:
        reservation: The money held.
        settled: Booked, nano-USD; ``None`` before that.
        is_settled_in_block: Whether that happened in the attempt's block, before it was left.
        is_estimated: Whether part of it is an estimate, since the expert did not report it.
        usage: As reported; ``None`` for nothing.
        answered_model: The model that the reply names, where it names one.
    """

    def __init__(
        self,
        call: CallInProgress,
        expert: Expert,
        request: RoutedRequest,
        reservation: Reservation,
    ) -> None:
        self.reservation = reservation
        self.settled: NanoUsd | None = None
        self.is_settled_in_block = False
        self.is_estimated = False
        self.usage: Usage | None = None
        self.answered_model: str | None = None
        self._call = call
        self._expert = expert
        self._request = request
        self._lock = threading.RLock()
        self._started = time.monotonic()
        self._stopped: float | None = None
        self._received: list[str] = []
        self._reported: Usage | None = None
        self._reported_model: str | None = None

    @cached_property
    def reply_limit(self) -> ReplyLimit:
        """The limit on each reply that the window has room for and the hold pays for."""
        return self._expert.reply_within(self.reservation.amount, self._request)

    # What the call brings

    def start_clock(self) -> None:
        """The call is made now."""
        self._started = time.monotonic()

    def stop_clock(self) -> None:
        """The reply is there."""
        self._stopped = time.monotonic()

    def receive(self, text: str) -> None:
        """Note text that the expert wrote. Its tokens are counted if the expert reports no usage."""
        self._received.append(text)

    def report(self, usage: Usage | None, model: str | None) -> None:
        """Note what the expert has reported so far, in case the call does not finish.

        Args:
            usage: As reported; ``None`` for nothing.
            model: The model that the reply names.
        """
        self._reported = usage
        self._reported_model = model

    def observe_latency(self) -> None:
        """Note how long the expert has taken until now."""
        until = time.monotonic() if self._stopped is None else self._stopped
        self._call.router.latencies.observe(self._expert.name, until - self._started)

    # Booking

    def release(self) -> None:
        """Give the money back; nothing was spent."""
        with self._lock:
            self._call.history.state = self._call.router.settlements.release(self.reservation)
            self.settled = 0

    def settle(self, usage: Usage | None, model: str | None) -> None:
        """Book a whole reply; what is not reported is estimated.

        Args:
            usage: As reported; ``None`` for nothing.
            model: The model that the reply names.
        """
        with self._lock:
            self.usage = usage
            router = self._call.router
            if usage:
                self.observe_latency()
                router.hidden_reasoning.note(self._expert, usage)
            if not self._is_counted(usage) and router.hidden_reasoning.of(self._expert):
                self.settle_unfinished(usage, model)
                return
            complete_usage = self._complete_usage(usage)
            self._book(router.answering_models.cost(self._expert, model, complete_usage), model)

    def settle_unfinished(self, usage: Usage | None, model: str | None) -> None:
        """Book the highest possible cost of a reply that did not finish, or that hides its cost.

        What an expert writes without showing it, such as reasoning, is known from the usage at the end alone. So all
        that is held is booked, less what is reported not to have been used for the prompt.

        Args:
            usage: The tokens reported so far; ``None`` for nothing.
            model: The model that the reply names.
        """
        with self._lock:
            self.is_estimated = True
            self.usage = usage
            cost = self.reservation.amount - self._unused_for_prompt(usage)
            models = self._call.router.answering_models
            if models.is_other(self._expert, model):
                cost = max(cost, models.cost(self._expert, model, self._largest_usage()))
            self._book(cost, model)

    def close(self, failure: Failure | None) -> None:
        """Book or give back what is still held once the attempt is left.

        A settlement in another thread, for which nobody waits any more, is waited for.

        Args:
            failure: What ended the attempt; nothing is booked where the expert did no work. ``None`` for no error.
        """
        with self._lock:
            self.is_settled_in_block = self.settled is not None
            if self.is_settled_in_block:
                return
            if failure is None:
                self.settle(self._reported, self._reported_model)
            elif failure.has_whole_reply:
                self.receive(failure.reply_text)
                self.settle(failure.usage or self._reported, self._reported_model)
            elif failure.may_be_billed or self._reported or any(self._received):
                self.settle_unfinished(self._reported, self._reported_model)
            else:
                self.release()

    def _book(self, cost: NanoUsd, model: str | None) -> None:
        self.answered_model = model
        state = self._call.router.settlements.settle(self.reservation, cost)
        self._call.history.state = state
        self.settled = cost
        if state is not None:
            self._call.router.alerts.check(self._call.budget, state)

    def _largest_usage(self) -> Usage:
        """The most tokens that the call can have used."""
        tokens = self.reply_limit.tokens * self._request.completions
        return Usage(self._expert.prompt_token_bound(self._request), tokens)

    def _unused_for_prompt(self, usage: Usage | None) -> NanoUsd:
        """What was held for the prompt, and is reported not to have been used."""
        if usage is None or not usage.prompt_tokens:
            return 0
        bound = self._expert.prompt_token_bound(self._request)
        prompt_cost = self._expert.cost(usage.prompt_only())
        return max(0, self._expert.maximum_cost(bound, 0) - prompt_cost)

    def _complete_usage(self, usage: Usage | None) -> Usage:
        """What was reported, with an estimate of what was not."""
        if usage and usage.prompt_tokens and self._is_counted(usage):
            return usage
        self.is_estimated = True
        text = "".join(self._received)
        estimate = Usage(self._expert.prompt_tokens(self._request), count_tokens(text))
        return usage.filled(estimate) if usage else estimate

    def _is_counted(self, usage: Usage | None) -> bool:
        """Whether a usage says how much was written: a count, or none of a reply that has no text."""
        if usage is None:
            return False
        return usage.completion_tokens > 0 or (usage.prompt_tokens > 0 and not any(self._received))
