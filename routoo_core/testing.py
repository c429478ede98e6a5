"""Fakes for our tests and our users': a predictor, a clock, and a real HTTP endpoint that says what it is told."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import numpy as np

from routoo_core.experts import Expert
from routoo_core.predictor.base import Quality


class FakePredictor:
    """Predicts what it is told: ``FakePredictor({"cheap": 0.4, "dear": 0.9})``.

    Args:
        quality: Expert → quality, the same for every prompt or as a function of the prompt.
    """

    fingerprint = "fake"

    def __init__(self, quality: Mapping[str, float | Callable[[str], float]]) -> None:
        self.quality = dict(quality)
        self.prompts: list[str] = []

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts it was told of."""
        return tuple(self.quality)

    def predict(self, prompts: Sequence[str]) -> Quality:
        """The qualities told, shape (prompts, experts)."""
        self.prompts += prompts
        told = [
            [q(prompt) if callable(q) else q for q in self.quality.values()] for prompt in prompts
        ]
        return np.array(told, dtype=np.float32).reshape(len(prompts), len(self.quality))


class ManualClock:
    """A clock that moves when told: ``clock = ManualClock(); clock.advance(60)``."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock; negative moves it back."""
        self.now += seconds


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
        headers: Sent along, such as ``{"Retry-After": "1"}``.
        logprob: Told of every word of a text it is to echo (completions); ``None`` tells none.
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


class FakeEndpoint:
    """An HTTP server on loopback that speaks OpenAI's chat protocol, for as many models as asked.

    ::

        with FakeEndpoint() as endpoint:
            endpoint.replies["dear-model"] = Reply(status=500)
            pool = Pool([endpoint.expert("cheap"), endpoint.expert("dear", model="dear-model")])

    Attributes:
        replies: Model → what to do, or a function of the request's body that says so; others get ``Reply()``.
        requests: Bodies received, in order.
        hung_up: Models whose caller closed the connection before the reply was complete.
        llama: Whether it speaks llama.cpp's own words too: ``/tokenize``, a token for each character, and grammars of
            tokens.
    """

    def __init__(self) -> None:
        self.replies: dict[str, Reply | Callable[[dict[str, Any]], Reply]] = {}
        self.requests: list[dict[str, Any]] = []
        self.hung_up: list[str] = []
        self.llama = False
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def expert(self, name: str, **settings: Any) -> Expert:
        """An expert served here; 1 USD per million tokens unless told otherwise."""
        defaults = {
            "model": name,
            "base_url": self.base_url,
            "input_usd_per_1m": 1,
            "output_usd_per_1m": 1,
        }
        return Expert(name=name, **{**defaults, **settings})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # hundreds may call at the same moment


def _handler(endpoint: FakeEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # callers under test hang up
                super().handle()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/tokenize") and endpoint.llama:
                self._json(200, {"tokens": [ord(character) for character in body["content"]]})
                return
            if not self.path.endswith("/completions"):
                self._json(
                    404, {"error": {"message": f"{self.path} is not served", "type": "fake"}}
                )
                return
            endpoint.requests.append(body)
            told = endpoint.replies.get(body["model"], Reply())
            try:
                self._answer(body, told(body) if callable(told) else told)
            except ConnectionError:
                endpoint.hung_up.append(body["model"])
                self.close_connection = True

        def _answer(self, body: dict[str, Any], reply: Reply) -> None:
            time.sleep(reply.delay_s)
            words, finish = _spoken(reply, body)
            calls = [_tool_call(index, call) for index, call in enumerate(reply.tool_calls)]
            written = len(words) + sum(len(call["function"]["arguments"].split()) for call in calls)
            usage = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": written}
            usage["total_tokens"] = sum(usage.values())
            details = (
                {"prompt_tokens_details": {"cached_tokens": reply.cached_tokens}}
                if reply.cached_tokens
                else {}
            )
            if reply.status != 200:
                error = {"message": f"told to answer {reply.status}", "type": "fake"}
                self._json(reply.status, {"error": error}, reply.headers)
            elif body.get("stream"):
                self._stream(body, reply, words, calls, {**usage, **details}, finish)
            elif reply.drop_after is not None:
                self.close_connection = True
            elif not self.path.endswith("/chat/completions"):
                self._json(200, {**_envelope(body, "text_completion"), **_completion(reply, body)})
            else:
                message = {"role": "assistant", "content": "".join(words) or None}
                said = {**message, "tool_calls": calls} if calls else message
                choice = {"index": 0, "message": said, "finish_reason": finish}
                full = {"usage": {**usage, **details}} if reply.report_usage else {}
                self._json(200, {**_envelope(body, "chat.completion"), "choices": [choice], **full})

        def _json(
            self, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None
        ) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def _stream(
            self,
            body: dict[str, Any],
            reply: Reply,
            words: list[str],
            calls: list[dict[str, Any]],
            usage: dict[str, Any],
            finish: str,
        ) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            for spoken, word in enumerate(words):
                time.sleep(reply.word_delay_s)
                if reply.drop_after == spoken:
                    return
                delta = {"role": "assistant", "content": word}
                self._event(
                    body, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
                )
            for call in calls:
                self._event(
                    body,
                    {
                        "choices": [
                            {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
                        ]
                    },
                )
            self._event(body, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
            if reply.report_usage and (body.get("stream_options") or {}).get("include_usage"):
                self._event(body, {"choices": [], "usage": usage})
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

        def _event(self, body: dict[str, Any], content: dict[str, Any]) -> None:
            event = {**_envelope(body, "chat.completion.chunk"), **content}
            self._chunk(f"data: {json.dumps(event)}\n\n".encode())

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _spoken(reply: Reply, body: Mapping[str, Any]) -> tuple[list[str], str]:
    """The words said, up to the call's stop sequences and limit, and the finish reason."""
    stops = body.get("stop") or []
    ends = [reply.text.find(stop) for stop in ([stops] if isinstance(stops, str) else stops)]
    words = re.findall(
        r"\s*\S+", reply.text[: min((end for end in ends if end >= 0), default=None)].strip()
    )
    said = words[: body.get("max_completion_tokens") or body.get("max_tokens") or len(words)]
    if reply.tool_calls:
        return said, "tool_calls"
    return said, "stop" if len(said) == len(words) else "length"


def _completion(reply: Reply, body: Mapping[str, Any]) -> dict[str, Any]:
    """A plain completion; with the prompt's words' log-probabilities where it is to be echoed."""
    words = list(re.finditer(r"\s*\S+", body["prompt"])) if body.get("echo") else []
    forced = [int(token) for token in re.findall(r"<\[(\d+)\]>", body.get("grammar", ""))]
    told: dict[str, Any] = {
        "tokens": [word[0] for word in words],
        "token_logprobs": [None, *[reply.logprob] * (len(words) - 1)],
        "text_offset": [word.start() for word in words],
    }
    if forced:
        told = {
            "content": [
                {"id": token, "token": chr(token), "logprob": reply.logprob} for token in forced
            ]
        }
    logprobs = told if (words or forced) and reply.logprob is not None else None
    said, finish = _spoken(reply, body)
    choice = {"index": 0, "text": " ".join(said), "logprobs": logprobs, "finish_reason": finish}
    usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(forced or said)}
    return {"choices": [choice], "usage": {**usage, "total_tokens": sum(usage.values())}}


def _tool_call(index: int, call: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
    return {
        "index": index,
        "id": f"call_{index}_{time.monotonic_ns()}",
        "type": "function",
        "function": function,
    }


def _envelope(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1_700_000_000, "model": body["model"]}
