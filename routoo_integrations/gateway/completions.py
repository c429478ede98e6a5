"""``POST /v1/completions``: OpenAI's legacy protocol, answered by experts that speak chat."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from routoo_integrations.gateway.authors import Author, Authors
from routoo_integrations.gateway.calls import ExpertEvent, ExpertReply
from routoo_integrations.gateway.chat import ChatCompletion, ChatForm, ChatWriter, chat_completion
from routoo_integrations.gateway.events import COMMENT, DONE, JsonObject, ServerEvent
from routoo_integrations.gateway.openai_replies import choices_of
from routoo_integrations.gateway.problems import Problem, invalid_request

_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "suffix": (None, ""),
    "echo": (None, False),
    "logprobs": (None, 0),
    "best_of": (None, 1),
}
"""A field that chat has no form for → its values that ask for nothing."""


@dataclass(frozen=True)
class TextCompletion(ChatForm):
    """A call of completions: its prompt is the one message of a chat."""

    @classmethod
    def read(cls, body: JsonObject, authors: Authors) -> TextCompletion:
        """A call with this body.

        Raises:
            CallRefused: It has several prompts, tokens for a prompt, or a field that chat has no form for.
        """
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str) or not prompt:
            raise invalid_request(
                "prompt: give one text; several, and lists of tokens, need a call each to /v1/chat/completions"
            )
        for name, values in _WITHOUT_EFFECT.items():
            if body.get(name) not in values:
                raise invalid_request(
                    f"{name}: experts here speak chat, which has no such field; leave it out"
                )
        rest = {
            name: value
            for name, value in body.items()
            if name != "prompt" and name not in _WITHOUT_EFFECT
        }
        messages = [{"role": "user", "content": prompt}]
        return cls(ChatCompletion.read({**rest, "messages": messages}, authors), authors)

    @property
    def pending_response(self) -> None:
        """Nothing stores its reply: this protocol has no name for it."""
        return

    def note_reply(self, author: Author, text: str) -> None:
        """Nothing: a completion has no next turn."""

    def whole(self, reply: ExpertReply) -> bytes:
        """The body of a whole reply."""
        return json.dumps(_text_form(chat_completion(reply), "message")).encode()

    def writer(self) -> TextWriter:
        """Writes a streamed reply."""
        return TextWriter(ChatWriter(self.authors, self.chat.wants_usage))


class TextWriter:
    """Writes a stream as chunks of text; the last one carries the decision record.

    Args:
        chat: Writes the same stream as chunks of a chat.
    """

    sign_of_life = COMMENT

    def __init__(self, chat: ChatWriter) -> None:
        self._chat = chat

    def write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from one of the expert's."""
        yield from self._texts(self._chat.write(piece))

    def end(self) -> Iterator[ServerEvent]:
        """What ends a stream that is complete."""
        yield from self._texts(self._chat.end())

    def fail(self, problem: Problem) -> Iterator[ServerEvent]:
        """What ends a stream that broke off."""
        yield from self._texts(self._chat.fail(problem))

    def refusal(self, problem: Problem) -> JsonObject:
        """The body of a reply in the stream's place."""
        return problem.openai_body()

    def _texts(self, events: Iterator[ServerEvent]) -> Iterator[ServerEvent]:
        for event in events:
            value = {} if event.data == DONE else json.loads(event.data)
            if event.data == DONE or "error" in value:
                yield event
                continue
            chunk = _text_form(value, "delta")
            if _says_something(chunk):
                yield ServerEvent.of(chunk)


def _text_form(completion: JsonObject, holder: str) -> JsonObject:
    """A chat completion, or a chunk of one, as a completion of text."""
    choices = []
    for choice in choices_of(completion):
        message = choice.get(holder) or {}
        choices.append(
            {
                "index": choice.get("index", 0),
                "text": message.get("content") or "",
                "logprobs": None,
                "finish_reason": choice.get("finish_reason"),
            }
        )
    return {**completion, "object": "text_completion", "choices": choices}


def _says_something(chunk: JsonObject) -> bool:
    """Whether a chunk is more than the opening of a chat, which a text does not have."""
    choices = chunk["choices"]
    says_text = any(choice["text"] or choice["finish_reason"] for choice in choices)
    return says_text or not choices or "routoo" in chunk
