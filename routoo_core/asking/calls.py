"""Calls to an expert, its answers, and the interface of the clients that reach it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Protocol

from routoo_core.errors import RoutooError
from routoo_core.experts import Expert
from routoo_core.money import NanoUsd
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.usage import Usage


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation that the expert continues.

    Attributes:
        messages: Role and text of each message, oldest first.
        max_tokens: Limit on the reply.
        temperature: 0–2; ``None`` leaves it to the endpoint.
    """

    messages: tuple[tuple[str, str], ...] = field(repr=False)
    max_tokens: int = 512
    temperature: float | None = 0.0

    def request(self, expert: str) -> RoutedRequest:
        """The request that the router prices for this expert."""
        messages = [{"role": role, "content": text} for role, text in self.messages]
        return RoutedRequest.from_messages(
            messages, max_tokens=self.max_tokens, overrides=Overrides(expert=expert)
        )


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Asks how likely a continuation is after a context; the expert writes nothing.

    Attributes:
        context: The text before the continuation.
        continuation: The text whose log-probability is summed.
    """

    context: str = field(repr=False)
    continuation: str = field(repr=False)

    def request(self, expert: str) -> RoutedRequest:
        """The request that the router prices for this expert.

        It leaves room for a reply as long as the continuation: an endpoint that reports no
        log-probabilities of a prompt is made to write the continuation.
        """
        text = self.context + self.continuation
        max_tokens = max(1, len(self.continuation.encode()))
        return RoutedRequest.from_text(
            text, max_tokens=max_tokens, overrides=Overrides(expert=expert)
        )


Call = Chat | Likelihood


@dataclass(frozen=True, slots=True)
class ClientReply:
    """What a client returns for a call.

    Attributes:
        usage: Tokens, where the endpoint reported them.
        text: The reply; empty for a likelihood.
        logprob: Of the continuation, summed over its tokens, natural logarithm. ``None`` for a
            chat, and where the endpoint does not report it.
    """

    usage: Usage | None
    text: str = field(default="", repr=False)
    logprob: float | None = None


class ExpertClient(Protocol):
    """Calls one expert.

    It raises the exceptions of its own protocol, which :mod:`routoo_core.failures` reads.
    """

    async def answer(self, call: Call, max_tokens: int) -> ClientReply:
        """The expert's reply to ``call``, of at most ``max_tokens``."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and its cost.

    Attributes:
        text: The reply; empty for a likelihood.
        logprob: Summed over the continuation's tokens, natural logarithm; ``None`` for a chat.
        prompt_tokens: As reported; ``None`` where the endpoint reported none.
        completion_tokens: As reported; ``None`` where the endpoint reported none.
        cost: Nano-USD. It is estimated where tokens were not reported.
        latency_s: Of the try that succeeded.
    """

    text: str = field(repr=False)
    logprob: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: NanoUsd
    latency_s: float


class NoAnswer(RoutooError):
    """An expert gave no answer; the message says why, without the prompt."""


def answer_key(expert: Expert, call: Call) -> str:
    """The key of a stored answer: a hash of the expert's identity and of everything in the call.

    The identity is name, model and provider. The address is not part of it: an endpoint may move.
    """
    identity = {"expert": expert.name, "model": expert.model, "provider": expert.provider}
    kind = type(call).__name__
    content = json.dumps([identity, kind, asdict(call)], sort_keys=True)
    digest = hashlib.sha256(content.encode())
    return digest.hexdigest()
