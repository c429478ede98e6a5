"""Asking experts under a budget: by the router's own path, with rate limits and retries, nothing asked twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import numpy as np

from routoo_core.asking.answers import AnswerStore
from routoo_core.asking.calls import Answer, Call, Likelihood, NoAnswer
from routoo_core.asking.clients import ExpertClient, is_transient
from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.calling.attempt import Attempt
from routoo_core.errors import AllExpertsFailed, BudgetExceeded, InvalidRequest, NoCapableExpert
from routoo_core.experts import Expert, Pool
from routoo_core.failures import describe_error
from routoo_core.predictor.base import Quality
from routoo_core.router import Router
from routoo_core.selector import Best
from routoo_core.tokens import count_tokens
from routoo_core.usage import Usage

GIVE_UP_AFTER = 5  # calls of an expert that failed in a row, each with all its retries
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class UniformPredictor:
    """A predictor for calls that name their expert: it finds all of them equal."""

    experts: tuple[str, ...]
    fingerprint: str = "unrated"

    def predict(self, prompts: Sequence[str]) -> Quality:
        """Zeros, shape (prompts, experts)."""
        return np.zeros((len(prompts), len(self.experts)), dtype=np.float32)


def direct_router(pool: Pool, budget: Budget, ledger: Ledger) -> Router:
    """A router for calls that name their expert: the path of live calls, on the same ledger."""
    return Router(
        pool,
        UniformPredictor(tuple(expert.predicted_as for expert in pool)),
        Best(),
        budget,
        ledger,
    )


class RateLimiter:
    """When an expert may be called again: its limits by the minute, and what it said itself (Retry-After)."""

    def __init__(self, expert: Expert) -> None:
        self._per_call = 60 / expert.requests_per_minute if expert.requests_per_minute else 0.0
        self._per_token = 60 / expert.tokens_per_minute if expert.tokens_per_minute else 0.0
        self._next = 0.0

    async def turn(self, tokens: int) -> None:
        """Wait until a call of so many tokens may start."""
        start = max(time.monotonic(), self._next)
        self._next = start + max(self._per_call, self._per_token * tokens)
        await asyncio.sleep(start - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Start nothing for so long."""
        self._next = max(self._next, time.monotonic() + seconds)


class Asker:
    """Asks experts, keeps what they answer, and stops asking one that cannot be paid or reached.

    Args:
        router: Holds and settles the money; its pool has every expert that is asked.
        clients: How each is reached, by name.
        store: Where answers are kept; what is there is not asked again.
        concurrency: The most calls of one expert at once.
        retries: How often a call is tried again that may succeed later.

    Attributes:
        spent: Nano-USD settled by this object.
        stopped: Expert → why it is asked no more.
    """

    def __init__(
        self,
        router: Router,
        clients: Mapping[str, ExpertClient],
        store: AnswerStore,
        concurrency: int = 8,
        retries: int = 5,
    ) -> None:
        self.router, self.clients, self.store, self.retries = router, clients, store, retries
        self.spent, self.stopped = 0, dict[str, str]()
        self._slots = {name: asyncio.Semaphore(concurrency) for name in clients}
        self._paces = {expert.name: RateLimiter(expert) for expert in router.pool}
        self._failures = dict.fromkeys(clients, 0)
        self._calling, self._changed = 0, asyncio.Event()

    async def ask(self, expert: Expert, call: Call) -> Answer:
        """The answer that is kept, else the expert's own.

        Raises:
            NoAnswer: It could not be had; the message says why.
        """
        if (kept := self.store.get(expert, call)) is not None:
            return self._told(expert, call, kept)
        async with self._slots[expert.name]:
            if expert.name in self.stopped:
                raise NoAnswer(self.stopped[expert.name])
            try:
                answer = await self._with_retries(expert, call)
            except BudgetExceeded as error:
                raise self._stop(expert, f"the budget is exhausted: {error}") from error
            except (InvalidRequest, NoCapableExpert) as error:
                raise NoAnswer(str(error)) from error
        self._failures[expert.name] = 0
        return self._told(expert, call, answer)

    async def _with_retries(self, expert: Expert, call: Call) -> Answer:
        from openai import OpenAIError

        request = call.request(expert.name)
        for tries in range(self.retries + 1):
            await self._paces[expert.name].turn(request.prompt_tokens + (request.max_tokens or 0))
            try:
                return await self._when_affordable(expert, call)
            except AllExpertsFailed as failed:
                error = failed.exceptions[0]
            except (
                OpenAIError
            ) as refused:  # the request's fault: another expert would refuse it as well
                raise NoAnswer(
                    f"the expert refused the prompt: {describe_error(refused)}"
                ) from refused
            if not is_transient(error):
                raise self._stop(
                    expert,
                    f"it refuses calls: {describe_error(error)}; check base_url, model and key",
                )
            if tries < self.retries:
                self._paces[expert.name].pause(_wait_s(error, tries))
        self._failures[expert.name] += 1
        if self._failures[expert.name] >= GIVE_UP_AFTER:
            raise self._stop(
                expert,
                f"{GIVE_UP_AFTER} calls in a row failed, the last by {describe_error(error)}",
            )
        raise NoAnswer(f"given up after try {self.retries + 1}: {describe_error(error)}")

    async def _when_affordable(self, expert: Expert, call: Call) -> Answer:
        """One try; while other calls of this run hold money, being refused only means to wait for them."""
        while True:
            changed, refused = self._changed, None
            self._calling += 1
            try:
                return await self._once(expert, call)
            except BudgetExceeded as error:
                refused = error
            finally:
                self._calling -= 1
                if refused is None:
                    self._wake()
            if changed.is_set():
                continue
            if not self._calling:
                self._wake()
                raise refused
            await changed.wait()

    def _wake(self) -> None:
        """Let those try again who wait for money."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _once(self, expert: Expert, call: Call) -> Answer:
        request = call.request(expert.name)
        async for attempt in self.router.aattempts(request):
            async with attempt:
                return await self._call(attempt, call)
        raise AssertionError("an attempt succeeds or raises")

    async def _call(self, attempt: Attempt, call: Call) -> Answer:
        expert, started = attempt.expert, time.monotonic()
        reply = await self.clients[expert.name].answer(call, attempt.max_tokens)
        took = time.monotonic() - started
        usage = reply.usage or Usage(
            expert.prompt_tokens(call.request(expert.name)), count_tokens(reply.text)
        )
        cost = expert.cost(usage)
        prompt, written = (
            (usage.prompt_tokens, usage.completion_tokens) if reply.usage else (None, None)
        )
        answer = Answer(reply.text, reply.logprob, prompt, written, cost, took)
        self.store.put(
            expert, call, answer
        )  # before it is paid: killed in between, it is not paid for again
        await attempt.asettle(usage)
        self.spent += cost
        return answer

    def _told(self, expert: Expert, call: Call, answer: Answer) -> Answer:
        if isinstance(call, Likelihood) and answer.logprob is None:
            raise self._stop(
                expert,
                "it tells no log-probabilities of a prompt (neither 'echo' with 'logprobs' on completions, nor "
                "llama.cpp's grammars of tokens); grade it by letter instead",
            )
        return answer

    def _stop(self, expert: Expert, why: str) -> NoAnswer:
        self.stopped.setdefault(expert.name, why)
        return NoAnswer(why)


def _wait_s(error: Exception, tries: int) -> float:
    """Seconds before the next try: what the server asks for, else twice as long each time."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    asked = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(asked))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    return min(_LONGEST_WAIT_S, 2.0 ** (tries - 1)) * random.uniform(0.75, 1.25)  # noqa: S311
