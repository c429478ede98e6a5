"""Runs the gateway's application on uvicorn, by default for this machine alone."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from types import TracebackType
from typing import Any, Self

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from routoo_core.errors import ConfigurationError
from routoo_integrations.gateway.app import Gateway

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8484
HEAD_TIMEOUT_S = 20.0
"""Seconds within which a request must have begun on a connection that was opened."""
LARGEST_HEAD = 32 * 1024
"""Bytes of a request's line and headers."""
KEEP_ALIVE_S = 75
_INVALID_REQUEST = "Invalid HTTP request received."
_UPGRADE_HEADERS = frozenset({b"upgrade", b"connection", b"http2-settings"})
"""Without them a request asks for no other protocol; a connection of HTTP/1.1 stays open by itself."""
_SHUTDOWN_S = 10
_BACKLOG = 2048


class UnservedHead(Exception):
    """The head of a request has more than :data:`LARGEST_HEAD` bytes, or asks for a tunnel."""


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 whose callers must send the head of each request in time, and within a bound.

    A request that offers another protocol beside (``Upgrade: h2c``, as Java's own client sends) is served as it is:
    httptools stops behind the head of such a one, so it is handed the head once more without the offer.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _is_in_head = False
    _head_bytes = 0
    _offers_upgrade = False

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Wait no longer for a head that is there; for one that has only begun, no longer than for another."""
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response(_INVALID_REQUEST)
        if self._is_between_requests():
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the caller."""
        self._stop_waiting()
        super().connection_lost(exc)

    # Called by the parser

    def on_message_begin(self) -> None:
        """Begin to count the bytes of a head."""
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = 0
        self._offers_upgrade = False

    def on_headers_complete(self) -> None:
        """Begin to answer.

        Raises:
            UnservedHead: It is too large, or asks for a tunnel; the parser makes an error of its own of it.
        """
        self._is_in_head = False
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value)
        if size > LARGEST_HEAD or self.parser.get_method() == b"CONNECT":
            raise UnservedHead
        self._offers_upgrade = self.parser.should_upgrade()
        if not self._offers_upgrade:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is there."""
        if not self._offers_upgrade:
            super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        """Parse what has come.

        Raises:
            httptools.HttpParserError: It is no HTTP, or a head beyond the bound.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            rest = data[offer.args[0] :]
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self._feed(head + rest)
            return
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD:
                raise httptools.HttpParserError("the head is too large")

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b" ".join((self.parser.get_method(), self.url, b"HTTP/" + version))]
        for name, value in self.headers:
            if name not in _UPGRADE_HEADERS:
                lines.append(name + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    # Waiting

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close_if_waiting)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_if_waiting(self) -> None:
        """Close a connection on which the head of a request has not come."""
        self._head_timer = None
        if self._is_between_requests():
            self.transport.close()


class GatewayServer:
    """A gateway that listens: ``run`` serves until it is told to stop; as a context manager it serves in a thread.

    ::

        with GatewayServer(Gateway(router), port=0) as server:
            client = OpenAI(base_url=server.base_url, api_key="none")

    Args:
        gateway: What is served.
        host: The address to listen on.
        port: 0 for any that is free.
        listening: A socket that is listened on already, instead of host and port; see :func:`listen`.

    Raises:
        ConfigurationError: The port cannot be listened on.
    """

    def __init__(
        self,
        gateway: Gateway,
        host: str = LOOPBACK,
        port: int = DEFAULT_PORT,
        listening: socket.socket | None = None,
    ) -> None:
        self.gateway = gateway
        self._socket = listening or listen(host, port)
        config = uvicorn.Config(
            gateway.app(),
            http=BoundedHttp,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=_SHUTDOWN_S,
            access_log=False,
            log_level="warning",
            server_header=False,
            lifespan="on",
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.run, daemon=True, name="routoo-gateway")

    @property
    def base_url(self) -> str:
        """What clients of OpenAI's are given as their base address."""
        return f"{self.address}/v1"

    @property
    def address(self) -> str:
        """Where it listens, without a path."""
        return address_of(self._socket)

    def run(self) -> None:
        """Serve until the process is told to stop."""
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            threading.Event().wait(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(listening: socket.socket) -> str:
    """Where a socket is reached, without a path."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address.

    Raises:
        ConfigurationError: It is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small parts at once on the connections that are accepted.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise ConfigurationError(
            f"port: {host}:{port} cannot be listened on ({reason}); choose another"
        ) from error
    return listening
