"""The ledger's Redis server, for what is kept beside the ledger there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from routoo_core.budget.redis import PASSWORD_VARIABLE, connection_settings
from routoo_core.errors import MissingDependency
from routoo_core.lifetimes import PerProcess
from routoo_core.redaction import expand_environment, scrubbed


class RedisFailure(Exception):
    """The server cannot be used; the message holds no password."""


class RedisClient:
    """Connections to the server of a ledger; each process opens its own.

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
        self._redis_error = redis.RedisError
        self._client = PerProcess(self._connect)

    @contextmanager
    def using(self) -> Iterator[Any]:
        """The client of this process, a ``redis.Redis`` that reads and writes text.

        Raises:
            RedisFailure: The server cannot be used.
        """
        client = self._client.get()
        try:
            yield client
        except self._redis_error as error:
            password = client.connection_pool.connection_kwargs.get("password")
            raise RedisFailure(scrubbed(str(error), [password])) from None

    def _connect(self) -> Any:
        import redis

        return redis.Redis.from_url(
            expand_environment(self._url, "budget.ledger"),
            password=os.environ.get(PASSWORD_VARIABLE),
            decode_responses=True,
            **connection_settings(),
        )
