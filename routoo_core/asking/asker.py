"""Asks experts under a budget, with rate limits and retries; a stored answer is used again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from routoo_core.asking.answers import AnswerStore
from routoo_core.asking.budget_queue import BudgetQueue
from routoo_core.asking.calls import Answer, Call, ExpertClient, Likelihood, NoAnswer
from routoo_core.asking.metered_call import MeteredCall
from routoo_core.asking.rate_limit import RateLimiter
from routoo_core.asking.retries import seconds_before_retry
from routoo_core.calling.driver import arun
from routoo_core.errors import AllExpertsFailed, BudgetExceeded, InvalidRequest, NoCapableExpert
from routoo_core.experts import Expert
from routoo_core.failures import Failure, read_failure
from routoo_core.money import NanoUsd
from routoo_core.redaction import scrubbed
from routoo_core.router import Router
from routoo_core.text import shown_text

FAILURES_BEFORE_STOP = 5
"""Calls of an expert that fail in a row, each with all its retries, before it is asked no more."""
REFUSALS_BEFORE_STOP = 5
"""Prompts that an expert refuses in a row, and in the same words, before it is asked no more."""
_REASONS_TO_STOP = frozenset({"credit", "key"})
"""Why an expert fails that will refuse every other prompt as well."""


class _TransientFailure(Exception):
    """A call failed in a way that may pass."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class Asker:
    """Asks experts, stores their answers, and stops asking one that cannot be paid or reached.

    Args:
        router: Holds and settles the money; its pool contains every expert that is asked.
        clients: Expert → its client.
        store: Keeps the answers; what it holds is not asked again.
        concurrency: The most calls of one expert at once.
        retries: How often a call is tried again that may succeed later.

    Attributes:
        spent: Nano-USD settled by this object.
        stop_reasons: Expert → why it is asked no more.
    """

    def __init__(
        self,
        router: Router,
        clients: Mapping[str, ExpertClient],
        store: AnswerStore,
        concurrency: int = 8,
        retries: int = 5,
    ) -> None:
        self.router = router
        self.clients = clients
        self.store = store
        self.concurrency = concurrency
        self.retries = retries
        self.spent: NanoUsd = 0
        self.stop_reasons: dict[str, str] = {}
        self._slots = {name: asyncio.Semaphore(concurrency) for name in clients}
        self._rate_limiters = {expert.name: RateLimiter(expert) for expert in router.pool}
        self._failures_in_a_row = dict.fromkeys(clients, 0)
        self._refusals_in_a_row: dict[str, list[str]] = {name: [] for name in clients}
        self._budget_queue = BudgetQueue()

    async def ask(self, expert: Expert, call: Call) -> Answer:
        """The stored answer if there is one, else the expert's.

        Raises:
            NoAnswer: There is none; the message says why.
        """
        answer = self.store.get(expert, call)
        if answer is None:
            async with self._slots[expert.name]:
                answer = await self._ask_expert(expert, call)
        self._check_likelihood(expert, call, answer)
        return answer

    async def _ask_expert(self, expert: Expert, call: Call) -> Answer:
        if expert.name in self.stop_reasons:
            raise NoAnswer(self.stop_reasons[expert.name])
        try:
            answer = await self._try_until_answered(expert, call)
        except BudgetExceeded as error:
            raise self._stop(expert, f"the budget is exhausted: {error}") from error
        except (InvalidRequest, NoCapableExpert) as error:
            raise NoAnswer(str(error)) from error
        self._failures_in_a_row[expert.name] = 0
        self._refusals_in_a_row[expert.name].clear()
        return answer

    async def _try_until_answered(self, expert: Expert, call: Call) -> Answer:
        for tries in range(self.retries + 1):
            try:
                return await self._try(expert, call)
            except _TransientFailure as error:
                failure = error.failure
            if tries < self.retries:
                wait_s = seconds_before_retry(failure, tries)
                self._rate_limiters[expert.name].pause(wait_s)
        raise self._count_failure(expert, failure)

    async def _try(self, expert: Expert, call: Call) -> Answer:
        """One try.

        Raises:
            _TransientFailure: The same call may succeed later.
            NoAnswer: Another try would fail in the same way.
        """
        request = call.request(expert.name)
        tokens = request.prompt_tokens + (request.max_tokens or 0)
        await self._rate_limiters[expert.name].wait(tokens)
        try:
            return await self._budget_queue.run(lambda: self._make_metered_call(expert, call))
        except AllExpertsFailed as error:
            failure = read_failure(error.exceptions[0])
            if not failure.is_of_expert:
                raise error.exceptions[0] from error
        except Exception as error:
            failure = read_failure(error)
            if failure.reason != "request":
                raise

        if failure.may_succeed_later:
            raise _TransientFailure(failure)
        if failure.reason in _REASONS_TO_STOP:
            raise self._stop(
                expert, f"it refuses calls: {failure.description}; check base_url, model and key"
            )
        raise self._count_refusal(expert, failure)

    async def _make_metered_call(self, expert: Expert, call: Call) -> Answer:
        """One call with its money held and settled."""
        request = call.request(expert.name)
        meter = MeteredCall(call, self.clients[expert.name], self.store)
        reply = await arun(self.router, lambda: request, meter)
        self.spent += reply.answer.cost
        return reply.answer

    # Giving up

    def _count_failure(self, expert: Expert, failure: Failure) -> NoAnswer:
        self._failures_in_a_row[expert.name] += 1
        if self._failures_in_a_row[expert.name] < FAILURES_BEFORE_STOP:
            return NoAnswer(f"given up after try {self.retries + 1}: {failure.description}")
        return self._stop(
            expert,
            f"{FAILURES_BEFORE_STOP} calls in a row failed, the last by {failure.description}",
        )

    def _count_refusal(self, expert: Expert, failure: Failure) -> NoAnswer:
        """A refusal in the server's words; the expert is asked no more once it has said the same a few times."""
        words = failure.description
        if failure.server_sentence:
            sentence = shown_text(scrubbed(failure.server_sentence, [expert.api_key()]))
            words = f"{words}, {sentence!r}"
        refusals = self._refusals_in_a_row[expert.name]
        refusals.append(words)
        last = refusals[-REFUSALS_BEFORE_STOP:]
        if len(last) == REFUSALS_BEFORE_STOP and len(set(last)) == 1:
            return self._stop(
                expert,
                f"it refused {REFUSALS_BEFORE_STOP} prompts in a row in the same words: {words}; change its settings "
                "or the task's, then run the command again",
            )
        return NoAnswer(f"the expert refused the prompt: {words}")

    def _check_likelihood(self, expert: Expert, call: Call, answer: Answer) -> None:
        if isinstance(call, Likelihood) and answer.logprob is None:
            raise self._stop(
                expert,
                "it tells no log-probabilities of a prompt (neither 'echo' with 'logprobs' on "
                "completions, nor llama.cpp's grammars of tokens); grade it by letter instead",
            )

    def _stop(self, expert: Expert, reason: str) -> NoAnswer:
        """Ask the expert no more; the first reason is the one that is reported."""
        first_reason = self.stop_reasons.setdefault(expert.name, reason)
        return NoAnswer(first_reason)
