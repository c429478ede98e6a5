"""How the driver of calls asks an expert directly: the answer is stored first, and settled then."""

from __future__ import annotations

import time
from dataclasses import dataclass

from routoo_core.asking.answers import AnswerStore
from routoo_core.asking.calls import Answer, Call, ClientReply, ExpertClient
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.readings import Reading
from routoo_core.experts import Expert
from routoo_core.money import NanoUsd
from routoo_core.record import DecisionRecord
from routoo_core.tokens import count_tokens
from routoo_core.usage import Usage


@dataclass(frozen=True, slots=True)
class MeteredAnswer:
    """An answer, and the usage that it is settled for.

    Attributes:
        answer: What is stored.
        usage: As reported; estimated from the texts where the endpoint reported none.
    """

    answer: Answer
    usage: Usage


@dataclass(frozen=True, slots=True)
class MeteredCall:
    """A call for :func:`routoo_core.calling.driver.arun`.

    Attributes:
        call: What the expert is asked.
        client: Reaches the expert.
        store: Keeps the answer.
    """

    call: Call
    client: ExpertClient
    store: AnswerStore

    async def asend(self, attempt: Attempt) -> MeteredAnswer:
        """Ask the attempt's expert, and store the answer."""
        start = time.monotonic()
        reply = await self.client.answer(self.call, attempt.max_tokens)
        latency_s = time.monotonic() - start

        expert = attempt.expert
        usage = self._complete_usage(expert, reply)
        answer = _answer_of(reply, expert.cost(usage), latency_s)
        # Stored before it is settled: a run that is killed in between does not pay for it again.
        self.store.put(expert, self.call, answer)
        return MeteredAnswer(answer, usage)

    def read(self, reply: MeteredAnswer) -> Reading:
        """What the driver settles."""
        return Reading(reply.answer.text, reply.usage)

    def stamp(self, reply: MeteredAnswer, record: DecisionRecord) -> MeteredAnswer:
        """The answer as it is: a store has no place for records."""
        return reply

    def _complete_usage(self, expert: Expert, reply: ClientReply) -> Usage:
        """What was reported, with an estimate of what was not."""
        prompt_tokens = expert.prompt_tokens(self.call.request(expert.name))
        estimate = Usage(prompt_tokens, count_tokens(reply.text))
        return reply.usage.filled(estimate) if reply.usage else estimate


def _answer_of(reply: ClientReply, cost: NanoUsd, latency_s: float) -> Answer:
    prompt_tokens = None
    completion_tokens = None
    if reply.usage is not None:
        prompt_tokens = reply.usage.prompt_tokens
        completion_tokens = reply.usage.completion_tokens
    return Answer(reply.text, reply.logprob, prompt_tokens, completion_tokens, cost, latency_s)
