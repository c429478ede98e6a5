"""What an expert is asked, and what came of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from routoo_core.errors import RoutooError
from routoo_core.experts import Expert
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.usage import Usage


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation that the expert is to go on with.

    Attributes:
        messages: Role and text of each, oldest first.
        max_tokens: Limit on the reply.
        temperature: 0–2; ``None`` leaves it to the endpoint.
    """

    messages: tuple[tuple[str, str], ...] = field(repr=False)
    max_tokens: int = 512
    temperature: float | None = 0.0

    def request(self, expert: str) -> RoutedRequest:
        """What the router prices."""
        messages = [{"role": role, "content": text} for role, text in self.messages]
        return RoutedRequest.from_messages(
            messages, max_tokens=self.max_tokens, overrides=Overrides(expert=expert)
        )


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A text that the expert is to say how likely it finds, after another; nothing is written."""

    context: str = field(repr=False)
    continuation: str = field(repr=False)

    def request(self, expert: str) -> RoutedRequest:
        """What the router prices; endpoints that cannot read log-probabilities off a prompt write the continuation."""
        most = max(1, len(self.continuation.encode()))
        text = self.context + self.continuation
        return RoutedRequest.from_text(text, max_tokens=most, overrides=Overrides(expert=expert))


Call = Chat | Likelihood


@dataclass(frozen=True, slots=True)
class ClientReply:
    """What a client brings back.

    Attributes:
        usage: Tokens, where the endpoint reported them.
        text: What was said; empty for a likelihood.
        logprob: Of a continuation, summed over its tokens; ``None`` for a chat, or where the endpoint does not tell.
    """

    usage: Usage | None
    text: str = field(default="", repr=False)
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with what it cost.

    Attributes:
        text: What was said; empty for a likelihood.
        logprob: Summed over the continuation's tokens, natural logarithm; ``None`` for a chat.
        prompt_tokens: As reported; ``None`` where they were not.
        completion_tokens: The same.
        cost: Nano-USD; of an estimate where tokens were not reported.
        latency_s: Of the try that succeeded.
    """

    text: str = field(repr=False)
    logprob: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: int
    latency_s: float


class NoAnswer(RoutooError):
    """An expert gave no answer; the message says why, without the prompt."""


def answer_key(expert: Expert, call: Call) -> str:
    """What an answer is stored under: the expert's name and model, what it was asked, and how it was to answer.

    The address is left out, so that an endpoint may move.
    """
    settings: dict[str, Any] = {
        "expert": expert.name,
        "model": expert.model,
        "provider": expert.provider,
    }
    asked = json.dumps([settings, type(call).__name__, asdict(call)], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()
