"""Runs the gateway's application on uvicorn: on this machine alone unless it is told otherwise."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from routoo_core.errors import ConfigurationError
from routoo_integrations.gateway.app import Gateway

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8484
HEAD_TIMEOUT_S = 20.0
"""Seconds within which a request must have begun on a connection that was opened."""
LARGEST_HEAD = 32 * 1024
"""Bytes of a request's line and headers."""
KEEP_ALIVE_S = 75
_SHUTDOWN_S = 10


class BoundedHttp(H11Protocol):
    """HTTP whose callers must send the head of each request in time."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Wait no longer for a head that is there; for one that has only begun, no longer than for another."""
        super().data_received(data)
        if self._is_between_requests():
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the caller."""
        self._stop_waiting()
        super().connection_lost(exc)

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

    Raises:
        ConfigurationError: The port cannot be listened on.
    """

    def __init__(self, gateway: Gateway, host: str = LOOPBACK, port: int = DEFAULT_PORT) -> None:
        self.gateway = gateway
        self._socket = _listen(host, port)
        config = uvicorn.Config(
            gateway.app(),
            http=BoundedHttp,
            h11_max_incomplete_event_size=LARGEST_HEAD,
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
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

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


def _listen(host: str, port: int) -> socket.socket:
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
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise ConfigurationError(
            f"port: {host}:{port} cannot be listened on ({reason}); choose another"
        ) from error
    return listening
