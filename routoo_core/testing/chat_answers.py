"""The answers of a fake endpoint to ``/chat/completions``, whole or in chunks, in the JSON of OpenAI's protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from routoo_core.testing.bills import JsonObject, openai_usage
from routoo_core.testing.replies import AUTO, Reply
from routoo_core.usage import Usage

_HARMLESS = {"hate": {"filtered": False, "severity": "safe"}}
"""A verdict of Azure's content filter."""


class ChatAnswer:
    """The answer to a call of ``/chat/completions``.

    Attributes:
        words: What each choice says, a token a word.
        finish_reason: Of each choice.
        tool_calls: Of each choice.
        last_usage: The usage that was sent last; ``None`` before.
    """

    def __init__(self, reply: Reply, body: Mapping[str, Any]) -> None:
        self._reply = reply
        self._body = body
        self._choices = reply.count(body)
        self.words, self.finish_reason = reply.words(body)
        self.last_usage: Any = None
        self.tool_calls = []
        for index, call in enumerate(reply.tool_calls):
            self.tool_calls.append(_tool_call(index, call))

    @property
    def tokens(self) -> Usage:
        """What it bills in all."""
        return self._reply.tokens_of(self._choices * self._tokens_of_choice())

    def tokens_so_far(self, words: int) -> Usage:
        """The usage billed for a stream after a number of words."""
        return self._reply.tokens_of(self._choices * words)

    def whole(self) -> JsonObject:
        """The answer at once."""
        message: JsonObject = {"role": "assistant", "content": "".join(self.words) or None}
        if self._reply.refusal is not None:
            message = {**message, "content": None, "refusal": "".join(self.words)}
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls

        choices = []
        for index in range(self._choices):
            choice = {"index": index, "message": message, "finish_reason": self.finish_reason}
            choices.append(choice)
        answer = {**self._envelope("chat.completion"), "choices": choices}
        return self._with_usage(answer, self.tokens)

    # Chunks of a stream

    def opening_chunks(self) -> list[JsonObject]:
        """What comes before the first word."""
        if self._reply.opening is None:
            return []
        role = self._chunk({"role": "assistant", "content": ""}, words=0)
        if self._reply.opening == "role":
            return [role]
        verdict = {"prompt_index": 0, "content_filter_results": _HARMLESS}
        chunk = {**self._envelope("chat.completion.chunk"), "model": "", "choices": []}
        return [{**chunk, "prompt_filter_results": [verdict]}, role]

    def word_chunk(self, position: int) -> JsonObject:
        """The chunk with the word of this position."""
        field = "content" if self._reply.refusal is None else "refusal"
        delta = {field: self.words[position]}
        if position == 0:
            delta["role"] = "assistant"
        return self._chunk(delta, words=position + 1)

    def closing_chunks(self) -> list[JsonObject]:
        """The chunks after the words: tool calls, the finish reason, and the usage if it is reported."""
        chunks = []
        for call in self.tool_calls:
            chunks.append(self._chunk({"tool_calls": [call]}, words=len(self.words)))
        if self.finish_reason is not None:
            last = self._chunk({}, words=None, finish_reason=self.finish_reason)
            chunks.append(last)

        options = self._body.get("stream_options") or {}
        if self._reply.usage_at == "end" and options.get("include_usage"):
            chunk = {**self._envelope("chat.completion.chunk"), "choices": []}
            if self._reply.report_usage:
                chunks.append(self._with_usage(chunk, self.tokens))
        return chunks

    def _chunk(
        self, delta: JsonObject, words: int | None, finish_reason: str | None = None
    ) -> JsonObject:
        """A chunk for every choice, after so many words of each; ``None`` for all and the tool calls."""
        choices = []
        for index in range(self._choices):
            choices.append({"index": index, "delta": delta, "finish_reason": finish_reason})
        chunk = {**self._envelope("chat.completion.chunk"), "choices": choices}
        at_end = self._reply.usage_at == "finish" and finish_reason is not None
        if self._reply.usage_at == "every chunk" or at_end:
            tokens = self.tokens if words is None else self.tokens_so_far(words)
            return self._with_usage(chunk, tokens)
        return chunk

    def _with_usage(self, answer: JsonObject, tokens: Usage) -> JsonObject:
        """The answer with what it says of its usage."""
        if not self._reply.report_usage:
            return answer
        self.last_usage = (
            openai_usage(tokens) if self._reply.usage is AUTO else self._reply.report(tokens)
        )
        return {**answer, "usage": self.last_usage}

    def _tokens_of_choice(self) -> int:
        """A word, and a word of a tool call's arguments, is one token."""
        tokens = len(self.words)
        for call in self.tool_calls:
            tokens += len(call["function"]["arguments"].split())
        return tokens

    def _envelope(self, kind: str) -> JsonObject:
        model = self._reply.model or self._body["model"]
        return {"id": "chatcmpl-fake", "object": kind, "created": 1_700_000_000, "model": model}


def _tool_call(index: int, call: Mapping[str, Any]) -> JsonObject:
    arguments = call["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    function = {"name": call["name"], "arguments": arguments}
    return {
        "index": index,
        "id": f"call_{index}_{time.monotonic_ns()}",
        "type": "function",
        "function": function,
    }
