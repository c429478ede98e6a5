"""Stored responses in the Redis server that keeps the ledger, which gateways on several machines share."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

from routoo_core.budget.redis_client import RedisClient, RedisFailure
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.stored_responses import (
    BYTES_PER_MB,
    DEFAULT_ACCOUNT_MB,
    LARGEST_CONVERSATION,
    StoredResponse,
    store_failed,
    too_long,
    unknown_previous,
)

_PREFIX = "{routoo}:responses:"
_LOGGER = logging.getLogger(__name__)


class ResponseServer:
    """Responses in Redis, which forgets them by itself when they are too old.

    See :class:`~routoo_integrations.gateway.stored_responses.ResponseStore`. A response is a hash. Beside those of an
    account stand a sorted set of their ids by last use, a hash of their sizes, and the sum of these.

    Args:
        url: The ledger's address.
        keep_s: Seconds after which a response is forgotten that no call has gone on from.
        account_mb: Megabytes that each account may store; what it used longest ago goes first.
        clock: Tells the time, seconds since the epoch.

    Raises:
        MissingDependency: ``redis`` is not installed.
    """

    def __init__(
        self,
        url: str,
        keep_s: float,
        account_mb: float = DEFAULT_ACCOUNT_MB,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = RedisClient(url, "store responses in Redis")
        self._keep_s = keep_s
        self._account_bytes = round(account_mb * BYTES_PER_MB)
        self._clock = clock
        self._put_script = _read_script("put")
        self._conversation_script = _read_script("conversation")
        self._delete_script = _read_script("delete")

    def put(
        self, owner: str, response: JsonObject, items: list[JsonObject], previous: str | None
    ) -> None:
        """Store a response."""
        items_text = json.dumps(items)
        text = json.dumps(response)
        names = _Names(owner)
        try:
            with self._server.using() as client:
                arguments = [
                    response["id"],
                    items_text,
                    text,
                    previous or "",
                    len(items_text) + len(text),
                    self._clock(),
                    self._since(),
                    self._keep_ms,
                    self._account_bytes,
                ]
                client.eval(self._put_script, len(names.of_scripts), *names.of_scripts, *arguments)
        except RedisFailure as failure:
            _LOGGER.error("a response could not be stored: Redis: %s", failure)

    def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """The response of an id; ``None`` where the owner has none."""
        names = _Names(owner)
        with self._reading() as client:
            if not self._is_live(client.zscore(names.by_use, response_id)):
                return None
            items, text = client.hmget(names.response(response_id), "input", "response")
        return None if text is None else StoredResponse(json.loads(text), json.loads(items))

    def conversation(self, owner: str, response_id: str) -> list[JsonObject]:
        """Everything that was said up to and with a response; from now on it is kept for as long again."""
        names = _Names(owner)
        arguments = [
            response_id,
            self._clock(),
            self._since(),
            self._keep_ms,
            LARGEST_CONVERSATION,
        ]
        with self._reading() as client:
            status, *texts = client.eval(
                self._conversation_script, len(names.of_scripts), *names.of_scripts, *arguments
            )
        if status == "missing":
            raise unknown_previous(texts[0])
        if status == "too long":
            raise too_long()
        items: list[JsonObject] = []
        for items_text, text in zip(texts[::2], texts[1::2], strict=True):
            items += json.loads(items_text)
            items += json.loads(text)["output"]
        return items

    def delete(self, owner: str, response_id: str) -> bool:
        """Forget a response; whether the owner had it."""
        names = _Names(owner)
        with self._reading() as client:
            is_live = self._is_live(client.zscore(names.by_use, response_id))
            client.eval(self._delete_script, len(names.of_scripts), *names.of_scripts, response_id)
        return is_live

    def close(self) -> None:
        """Nothing to close: connections end with the process."""

    @property
    def _keep_ms(self) -> int:
        return max(1, round(self._keep_s * 1000))

    def _since(self) -> float:
        return self._clock() - self._keep_s

    def _is_live(self, used_at: float | None) -> bool:
        return used_at is not None and used_at > self._since()

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """The client; its errors are told to the caller.

        Raises:
            CallRefused: The server cannot be used.
        """
        try:
            with self._server.using() as client:
                yield client
        except RedisFailure as failure:
            _LOGGER.error("stored responses cannot be read: Redis: %s", failure)
            raise store_failed() from None


class _Names:
    """The keys in Redis of an account's responses.

    Args:
        owner: The account, whose name may be of any form.
    """

    def __init__(self, owner: str) -> None:
        digest = hashlib.sha256(owner.encode(errors="replace")).hexdigest()
        self.by_use = f"{_PREFIX}use:{digest}"
        self.sizes = f"{_PREFIX}sizes:{digest}"
        self.total = f"{_PREFIX}total:{digest}"
        self._response = f"{_PREFIX}of:{digest}:"

    @property
    def of_scripts(self) -> tuple[str, ...]:
        """What the scripts are given, in their order; the last is the beginning of all responses' keys."""
        return self.by_use, self.sizes, self.total, self._response

    def response(self, response_id: str) -> str:
        """The key of a response."""
        return self._response + response_id


def _read_script(name: str) -> str:
    """The text of a script, behind the functions that all use."""
    folder = resources.files("routoo_integrations.gateway").joinpath("lua")
    common = folder.joinpath("common.lua").read_text(encoding="utf-8")
    script = folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return f"{common}\n{script}"
