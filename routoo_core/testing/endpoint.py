"""An HTTP server on loopback that answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from routoo_core.experts import Expert
from routoo_core.testing.replies import ChatAnswer, JsonObject, Reply, text_completion

_POLL_S = 0.01  # how soon the server notices that it is to stop


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
        self.replies: dict[str, Reply | Callable[[JsonObject], Reply]] = {}
        self.requests: list[JsonObject] = []
        self.hung_up: list[str] = []
        self.llama = False
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), daemon=True
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

    def reply_to(self, body: JsonObject) -> Reply:
        """What it does with a call of this body."""
        reply = self.replies.get(body["model"], Reply())
        return reply(body) if callable(reply) else reply

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # hundreds may call at the same moment

    def __init__(self, endpoint: FakeEndpoint) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = endpoint


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with suppress(ConnectionError):  # callers under test hang up
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/completions"):
            self._complete(body)
        elif self.path.endswith("/tokenize") and self.server.endpoint.llama:
            self._send_json(200, {"tokens": [ord(character) for character in body["content"]]})
        else:
            self._send_error(404, f"{self.path} is not served")

    def _complete(self, body: JsonObject) -> None:
        endpoint = self.server.endpoint
        endpoint.requests.append(body)
        try:
            self._answer(body, endpoint.reply_to(body))
        except ConnectionError:
            endpoint.hung_up.append(body["model"])
            self.close_connection = True

    def _answer(self, body: JsonObject, reply: Reply) -> None:
        time.sleep(reply.delay_s)
        if reply.status != 200:
            self._send_error(reply.status, f"told to answer {reply.status}", reply.headers)
        elif body.get("stream"):
            self._stream(ChatAnswer(reply, body), reply)
        elif reply.drop_after is not None:
            self.close_connection = True
        elif self.path.endswith("/chat/completions"):
            self._send_json(200, ChatAnswer(reply, body).whole())
        else:
            self._send_json(200, text_completion(reply, body))

    # Whole answers

    def _send_error(
        self, status: int, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        error = {"message": message, "type": "fake"}
        self._send_json(status, {"error": error}, headers)

    def _send_json(
        self, status: int, content: JsonObject, headers: Mapping[str, str] | None = None
    ) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    # Streams

    def _stream(self, answer: ChatAnswer, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True

        for position, word in enumerate(answer.words):
            time.sleep(reply.word_delay_s)
            if position == reply.drop_after:
                return  # without an end: the connection is cut
            self._send_event(json.dumps(answer.word_chunk(word)))
        for chunk in answer.closing_chunks():
            self._send_event(json.dumps(chunk))
        self._send_event("[DONE]")
        self._send_chunk(b"")

    def _send_event(self, data: str) -> None:
        self._send_chunk(f"data: {data}\n\n".encode())

    def _send_chunk(self, data: bytes) -> None:
        """One chunk of a chunked HTTP body; an empty one ends the body."""
        size = f"{len(data):x}\r\n".encode()
        self.wfile.write(size + data + b"\r\n")
        self.wfile.flush()
