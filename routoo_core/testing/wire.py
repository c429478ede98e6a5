"""A server on loopback, and how it writes whole bodies, streams of events, and silence."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_POLL_S = 0.01  # how soon the server notices that it is to stop
_SILENCE_POLL_S = 0.02  # how soon a silent server notices that the caller gave up


class LoopbackServer:
    """An HTTP server on loopback that runs in a thread of its own; use as a context manager.

    Args:
        handler: Answers its requests; finds this object as ``self.endpoint``.

    Attributes:
        is_stopped: Set when it is left; nobody waits any longer.
    """

    def __init__(self, handler: type[WireHandler]) -> None:
        self.is_stopped = threading.Event()
        self._server = _Server(self, handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), daemon=True
        )

    @property
    def address(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.is_stopped.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # hundreds may call at the same moment

    def __init__(self, endpoint: LoopbackServer, handler: type[WireHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.endpoint = endpoint


class WireHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection; a subclass says how in :meth:`post`."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else small writes wait for the caller's acknowledgement

    @property
    def endpoint(self) -> Any:
        """The server it answers for."""
        return self.server.endpoint

    def handle(self) -> None:
        """Answer until either side closes the connection."""
        with suppress(ConnectionError):  # callers under test hang up
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        """Read the request's JSON and answer it."""
        self.post(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def post(self, body: dict[str, Any]) -> None:
        """Answer a request."""
        raise NotImplementedError

    def send_body(
        self,
        status: int,
        body: Any,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:
        """A whole body: bytes and text as they are, anything else as JSON."""
        payload = encode_body(body)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def start_stream(self) -> None:
        """The head of a stream of events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_event(self, data: Any, name: str | None = None) -> None:
        """An event of a stream: a text as it is, anything else as JSON."""
        text = data if isinstance(data, str) else json.dumps(data)
        prefix = f"event: {name}\n" if name else ""
        self._send_chunk(f"{prefix}data: {text}\n\n".encode())

    def end_stream(self) -> None:
        """The end of a stream that is complete as HTTP."""
        self._send_chunk(b"")

    def cut(self) -> None:
        """Close the connection, whatever is still to come."""
        self.close_connection = True

    def wait_for_hang_up(self) -> None:
        """Say nothing until the caller closes the connection or the server stops."""
        connection: socket.socket = self.connection
        while not self.endpoint.is_stopped.is_set():
            readable, _, _ = select.select([connection], [], [], _SILENCE_POLL_S)
            if readable and not connection.recv(1, socket.MSG_PEEK):
                break
        self.cut()

    def _send_chunk(self, data: bytes) -> None:
        """One chunk of a chunked HTTP body; an empty one ends the body."""
        size = f"{len(data):x}\r\n".encode()
        self.wfile.write(size + data + b"\r\n")
        self.wfile.flush()


def encode_body(body: Any) -> bytes:
    """A body as bytes: bytes and text as they are, anything else as JSON."""
    if isinstance(body, bytes):
        return body
    text = body if isinstance(body, str) else json.dumps(body)
    return text.encode()
