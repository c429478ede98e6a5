"""Servers on loopback that speak Anthropic's messages protocol and Gemini's, and keep the bill of every request."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from routoo_core.testing import Bill
from routoo_core.testing.bills import NOTHING
from routoo_core.testing.wire import LoopbackServer, WireHandler
from routoo_core.usage import Usage

BREAK_OFF = "break off"


@dataclass(frozen=True)
class ProviderReply:
    """What a server does with a call.

    Attributes:
        text: Said word by word.
        tokens: Billed.
        usage: Reported instead of the protocol's form of these.
        status: Anything but 200 is answered as an error.
        error: The error object, of a status or of a stream's error event.
        headers: Sent with an error status.
        error_after: Words of a stream before an error event.
        cut_after: Words of a stream before the connection is cut.
        finish_reason: In the protocol's own words; ``None`` for none, and with Anthropic's no end of the stream.
        hangs: Says nothing until the caller gives up.
        word_delay_s: Waited before each word of a stream.
    """

    text: str = "The answer is four."
    tokens: Usage = field(default_factory=lambda: Usage(10, 4))
    usage: Mapping[str, Any] | None = None
    status: int = 200
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    error_after: int | None = None
    cut_after: int | None = None
    finish_reason: str | None = "the usual"
    hangs: bool = False
    word_delay_s: float = 0.0

    def words(self):
        """The words of the text, each with the space before it."""
        first, *others = self.text.split()
        return [first, *(f" {word}" for word in others)]


class ProviderServer(LoopbackServer):
    """Answers every model as told.

    Attributes:
        replies: Model → what to do, or a function of the request's body that says so; others get ``ProviderReply()``.
        requests: Bodies received, in order.
        headers: Headers received, in the same order; their names are in lower case.
        bills: What each request was billed.
    """

    handler: type[WireHandler]

    def __init__(self):
        super().__init__(self.handler)
        self.replies = {}
        self.requests = []
        self.headers = []
        self.bills = []


class _Handler(WireHandler):
    def answer(self, model, body, streamed):
        self.endpoint.requests.append(body)
        self.endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
        reply = self.endpoint.replies.get(model, ProviderReply())
        if callable(reply):
            reply = reply(body)
        tokens = NOTHING if reply.status != 200 else reply.tokens
        self.endpoint.bills.append(Bill({**body, "model": model}, tokens))
        try:
            if reply.hangs:
                self.wait_for_hang_up()
            elif reply.status != 200:
                self.send_body(reply.status, self.error_body(reply), reply.headers)
            elif streamed:
                self.stream(model, reply)
            else:
                self.send_body(200, self.whole(model, reply))
        except ConnectionError:
            self.cut()

    def stream(self, model, reply):
        self.start_stream()
        for event in self.events(model, reply):
            if event == BREAK_OFF:
                self.cut()
                return
            self.send_event(event, event.get("type"))
        self.end_stream()

    def words_of(self, reply):
        """The words of a stream, each as the protocol's event; and where it breaks off."""
        for position, word in enumerate([*reply.words(), None]):
            if position == reply.error_after:
                yield self.error_body(reply)
                return
            if position == reply.cut_after:
                yield BREAK_OFF
                return
            if word is not None:
                time.sleep(reply.word_delay_s)
                yield self.word_event(word)


# Anthropic's messages


def anthropic_usage(tokens):
    """Tokens as Anthropic reports them: read from the cache and written into it come on top of the input."""
    writes = tokens.cache_write_tokens
    usage = {
        "input_tokens": tokens.prompt_tokens - tokens.cached_tokens - writes,
        "cache_creation_input_tokens": writes,
        "cache_read_input_tokens": tokens.cached_tokens,
        "output_tokens": tokens.completion_tokens,
    }
    if writes:
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": writes - tokens.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h_tokens,
        }
    return usage


class _AnthropicHandler(_Handler):
    def post(self, body):
        assert self.path == "/v1/messages", self.path
        self.answer(body["model"], body, body.get("stream", False))

    def error_body(self, reply):
        return {"type": "error", "error": dict(reply.error), "request_id": "req_1"}

    def whole(self, model, reply):
        content = [{"type": "text", "text": reply.text}]
        usage = reply.usage or anthropic_usage(reply.tokens)
        return self._message(model, content, usage, self._stop_reason(reply))

    def word_event(self, word):
        delta = {"type": "text_delta", "text": word}
        return {"type": "content_block_delta", "index": 0, "delta": delta}

    def events(self, model, reply):
        usage = reply.usage or anthropic_usage(reply.tokens)
        opening = self._message(model, [], {**usage, "output_tokens": 1}, None)
        yield {"type": "message_start", "message": opening}
        block = {"type": "text", "text": ""}
        yield {"type": "content_block_start", "index": 0, "content_block": block}
        yield {"type": "ping"}
        for event in self.words_of(reply):
            yield event
            if event == BREAK_OFF or event["type"] == "error":
                return
        yield {"type": "content_block_stop", "index": 0}
        if reply.finish_reason is None:
            return
        delta = {"stop_reason": self._stop_reason(reply), "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": self.last_usage(usage)}
        yield {"type": "message_stop"}

    def last_usage(self, usage):
        """What ``message_delta`` reports."""
        return usage

    @staticmethod
    def _stop_reason(reply):
        return "end_turn" if reply.finish_reason == "the usual" else reply.finish_reason

    @staticmethod
    def _message(model, content, usage, stop_reason):
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }


class AnthropicServer(ProviderServer):
    """``POST /v1/messages``, whole and streamed."""

    handler = _AnthropicHandler

    @property
    def base_url(self):
        return self.address


# Gemini


def gemini_usage(tokens):
    """Tokens as Gemini reports them: thoughts stand beside the candidates, and the total counts both."""
    thoughts = tokens.reasoning_tokens
    usage = {
        "promptTokenCount": tokens.prompt_tokens,
        "totalTokenCount": tokens.prompt_tokens + tokens.completion_tokens,
    }
    if tokens.completion_tokens > thoughts:
        usage["candidatesTokenCount"] = tokens.completion_tokens - thoughts
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if tokens.cached_tokens:
        usage["cachedContentTokenCount"] = tokens.cached_tokens
    return usage


class _GeminiHandler(_Handler):
    def post(self, body):
        path, _, _ = self.path.partition("?")
        model, _, method = path.removeprefix("/v1beta/models/").partition(":")
        assert method in {"generateContent", "streamGenerateContent"}, self.path
        self.answer(model, body, method == "streamGenerateContent")

    def error_body(self, reply):
        return {"error": dict(reply.error)}

    def whole(self, model, reply):
        usage = gemini_usage(reply.tokens) if reply.usage is None else reply.usage
        finish_reason = "STOP" if reply.finish_reason == "the usual" else reply.finish_reason
        return {**self._chunk(model, reply.text, finish_reason), "usageMetadata": usage}

    def word_event(self, word):
        return {**self._chunk("", word, None)}

    def events(self, model, reply):
        usage = gemini_usage(reply.tokens) if reply.usage is None else reply.usage
        so_far = dict(usage)
        candidates = usage.get("candidatesTokenCount")
        if candidates:
            so_far["candidatesTokenCount"] = 1
            so_far["totalTokenCount"] = usage["totalTokenCount"] - candidates + 1
        for event in self.words_of(reply):
            if event == BREAK_OFF or "error" in event:
                yield event
                return
            yield {**event, "modelVersion": model, "usageMetadata": so_far}
        if reply.finish_reason is not None:
            yield self.whole(model, ProviderReply("", reply.tokens, reply.usage))

    @staticmethod
    def _chunk(model, text, finish_reason):
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
        if finish_reason is not None:
            candidate["finishReason"] = finish_reason
        return {"candidates": [candidate], "modelVersion": model, "responseId": "r1"}


class GeminiServer(ProviderServer):
    """``POST /v1beta/models/{model}:generateContent`` and its streamed form."""

    handler = _GeminiHandler

    @property
    def base_url(self):
        return self.address
