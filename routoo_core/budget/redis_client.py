"""The ledger's Redis server, for what is kept beside the ledger there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from routoo_core.budget.outage import Outage
from routoo_core.budget.redis import PASSWORD_VARIABLE, connection_settings
from routoo_core.errors import LedgerError, LedgerUnavailable, MissingDependency
from routoo_core.lifetimes import PerProcess
from routoo_core.redaction import expand_environment, scrubbed

PATIENCE_S = 2.0
"""Seconds to wait for the server, which keeps nobody's money here."""


class RedisFailure(LedgerError):
    """The server cannot be used; the message holds no password."""


class RedisClient:
    """Connections to the server of a ledger; each process opens its own.

    While the server fails, one caller at a time asks it, and the others are refused at once.

    Args:
        url: The ledger's address.
        purpose: What it is needed for, for the error.

    Raises:
        MissingDependency: ``redis`` is not installed.
    """

    def __init__(self, url: str, purpose: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise MissingDependency("redis", "redis", purpose) from error
        self._url = url
        self._outage = Outage((redis.RedisError,), self._failure)
        self._client = PerProcess(self._connect)

    @contextmanager
    def using(self) -> Iterator[Any]:
        """The client of this process, a ``redis.Redis`` that reads and writes text.

        Raises:
            RedisFailure: The server cannot be used.
        """
        try:
            with self._outage.asking() as turn, turn():
                yield self._client.get()
        except LedgerUnavailable as error:
            raise RedisFailure(str(error)) from None

    def _failure(self, error: Exception) -> RedisFailure:
        password = self._client.get().connection_pool.connection_kwargs.get("password")
        return RedisFailure(scrubbed(str(error), [password]))

    def _connect(self) -> Any:
        import redis

        return redis.Redis.from_url(
            expand_environment(self._url, "budget.ledger"),
            password=os.environ.get(PASSWORD_VARIABLE),
            decode_responses=True,
            **{
                **connection_settings(),
                "socket_timeout": PATIENCE_S,
                "socket_connect_timeout": PATIENCE_S,
            },
        )
