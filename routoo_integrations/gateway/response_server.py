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
                earlier = [] if previous is None else self._earlier(client, names, previous)
                arguments = [
                    response["id"],
                    items_text,
                    text,
                    json.dumps(earlier),
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
        with self._reading() as client:
            ids = self._earlier(client, names, response_id)
            self._check(client, names, ids)
            contents = self._read_all(client, names, ids)
        items: list[JsonObject] = []
        for items_text, text in contents:
            if items_text is None or text is None:  # it was deleted a moment ago
                raise unknown_previous(response_id)
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

    def _earlier(self, client: Any, names: _Names, response_id: str) -> list[str]:
        """The ids of a conversation up to and with a response, the first one first."""
        text = client.hget(names.response(response_id), "earlier")
        earlier: list[str] = [] if text is None else json.loads(text)
        return [*earlier, response_id]

    def _check(self, client: Any, names: _Names, ids: list[str]) -> None:
        """Refuse a conversation of which a part is gone, or that is too long.

        Raises:
            CallRefused: It is one of these.
        """
        with client.pipeline() as steps:
            for response_id in ids:
                steps.zscore(names.by_use, response_id)
            uses = steps.execute()
        for response_id, used_at in zip(reversed(ids), reversed(uses), strict=True):
            if not self._is_live(used_at):
                raise unknown_previous(response_id)
        sizes = client.hmget(names.sizes, ids)
        if sum(int(size or 0) for size in sizes) > LARGEST_CONVERSATION:
            raise too_long()

    def _read_all(
        self, client: Any, names: _Names, ids: list[str]
    ) -> list[tuple[str | None, str | None]]:
        """The items and the response of each id, which count as used now."""
        now = self._clock()
        with client.pipeline() as steps:
            for response_id in ids:
                steps.hmget(names.response(response_id), "input", "response")
            for response_id in ids:
                steps.zadd(names.by_use, {response_id: now}, xx=True)
                steps.pexpire(names.response(response_id), self._keep_ms)
            for key in names.of_account:
                steps.pexpire(key, self._keep_ms)
            replies: list[Any] = steps.execute()
        return replies[: len(ids)]

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
    def of_account(self) -> tuple[str, ...]:
        """The keys beside those of the responses."""
        return self.by_use, self.sizes, self.total

    @property
    def of_scripts(self) -> tuple[str, ...]:
        """What the scripts are given, in their order; the last is the beginning of all responses' keys."""
        return *self.of_account, self._response

    def response(self, response_id: str) -> str:
        """The key of a response."""
        return self._response + response_id


def _read_script(name: str) -> str:
    """The text of a script, behind the function that both use."""
    folder = resources.files("routoo_integrations.gateway").joinpath("lua")
    common = folder.joinpath("forget_response.lua").read_text(encoding="utf-8")
    script = folder.joinpath(f"{name}_response.lua").read_text(encoding="utf-8")
    return f"{common}\n{script}"
