"""What a fake endpoint answers, in the JSON of OpenAI's protocol and of llama.cpp's."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]

_WORD = re.compile(r"\s*\S+")
_FORCED_TOKEN = re.compile(r"<\[(\d+)\]>")
"""A token in a grammar of llama.cpp."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a fake endpoint does with a call.

    Attributes:
        text: Said word by word; cut at the call's ``max_tokens`` words.
        status: Anything but 200 is answered as an error.
        delay_s: Waited before answering.
        drop_after: Words streamed before the connection is cut; 0 cuts before the first.
        prompt_tokens: Reported.
        cached_tokens: Of these, reported as read from the prompt cache.
        report_usage: ``False`` leaves the usage out.
        tool_calls: Calls it makes after the text, each ``{"name": …, "arguments": {…}}``.
        word_delay_s: Waited before each word of a stream.
        headers: Sent along with an error, such as ``{"Retry-After": "1"}``.
        logprob: Reported for every word of a text it is to echo (completions); ``None`` reports none.
    """

    text: str = "The answer is four."
    status: int = 200
    delay_s: float = 0.0
    drop_after: int | None = None
    prompt_tokens: int = 10
    cached_tokens: int = 0
    report_usage: bool = True
    tool_calls: Sequence[Mapping[str, Any]] = ()
    word_delay_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    logprob: float | None = None

    def words(self, body: Mapping[str, Any]) -> tuple[list[str], str]:
        """The words of the text up to the call's stop sequences and limit, and the finish reason."""
        stops = body.get("stop") or []
        if isinstance(stops, str):
            stops = [stops]
        text = self.text
        for stop in stops:
            text = text.partition(stop)[0]

        words = _WORD.findall(text.strip())
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(words)
        if self.tool_calls:
            finish_reason = "tool_calls"
        elif len(words) > limit:
            finish_reason = "length"
        else:
            finish_reason = "stop"
        return words[:limit], finish_reason


class ChatAnswer:
    """The answer to a call of ``/chat/completions``, whole or in chunks."""

    def __init__(self, reply: Reply, body: Mapping[str, Any]) -> None:
        self._reply = reply
        self._body = body
        self.words, self.finish_reason = reply.words(body)
        self.tool_calls = []
        for index, call in enumerate(reply.tool_calls):
            self.tool_calls.append(_tool_call(index, call))

    def whole(self) -> JsonObject:
        """The answer at once."""
        message: JsonObject = {"role": "assistant", "content": "".join(self.words) or None}
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        answer = {**_envelope(self._body, "chat.completion"), "choices": [choice]}
        if self._reply.report_usage:
            answer["usage"] = self._usage()
        return answer

    def word_chunk(self, word: str) -> JsonObject:
        """A chunk of a stream with one word."""
        return self._chunk({"role": "assistant", "content": word})

    def closing_chunks(self) -> list[JsonObject]:
        """The chunks after the words: tool calls, the finish reason, and the usage where it was asked for."""
        chunks = [self._chunk({"tool_calls": [call]}) for call in self.tool_calls]
        chunks.append(self._chunk({}, self.finish_reason))

        options = self._body.get("stream_options") or {}
        if self._reply.report_usage and options.get("include_usage"):
            envelope = _envelope(self._body, "chat.completion.chunk")
            chunks.append({**envelope, "choices": [], "usage": self._usage()})
        return chunks

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return {**_envelope(self._body, "chat.completion.chunk"), "choices": [choice]}

    def _usage(self) -> JsonObject:
        """A word, and a word of a tool call's arguments, is one token."""
        completion_tokens = len(self.words)
        for call in self.tool_calls:
            completion_tokens += len(call["function"]["arguments"].split())

        usage: JsonObject = {
            "prompt_tokens": self._reply.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self._reply.prompt_tokens + completion_tokens,
        }
        if self._reply.cached_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": self._reply.cached_tokens}
        return usage


def text_completion(reply: Reply, body: Mapping[str, Any]) -> JsonObject:
    """The answer to a call of ``/completions``.

    With log-probabilities of the prompt's words where it is to be echoed, or of the tokens that a grammar forces.
    """
    words, finish_reason = reply.words(body)
    forced = [int(token) for token in _FORCED_TOKEN.findall(body.get("grammar", ""))]
    logprobs = None
    if reply.logprob is not None:
        if forced:
            logprobs = _logprobs_of_tokens(forced, reply.logprob)
        elif body.get("echo"):
            logprobs = _logprobs_of_words(body["prompt"], reply.logprob)

    choice = {
        "index": 0,
        "text": "".join(words),
        "logprobs": logprobs,
        "finish_reason": finish_reason,
    }
    prompt_tokens = len(body["prompt"])
    completion_tokens = len(forced or words)
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    return {**_envelope(body, "text_completion"), "choices": [choice], "usage": usage}


def _logprobs_of_words(prompt: str, logprob: float) -> JsonObject | None:
    """As vLLM, SGLang and OpenAI's completions report them of an echoed prompt; the first has none."""
    words = list(_WORD.finditer(prompt))
    if not words:
        return None
    return {
        "tokens": [word[0] for word in words],
        "token_logprobs": [None] + [logprob] * (len(words) - 1),
        "text_offset": [word.start() for word in words],
    }


def _logprobs_of_tokens(tokens: Sequence[int], logprob: float) -> JsonObject:
    """As llama.cpp reports them."""
    content = []
    for token in tokens:
        content.append({"id": token, "token": chr(token), "logprob": logprob})
    return {"content": content}


def _tool_call(index: int, call: Mapping[str, Any]) -> JsonObject:
    function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
    return {
        "index": index,
        "id": f"call_{index}_{time.monotonic_ns()}",
        "type": "function",
        "function": function,
    }


def _envelope(body: Mapping[str, Any], kind: str) -> JsonObject:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1_700_000_000, "model": body["model"]}
