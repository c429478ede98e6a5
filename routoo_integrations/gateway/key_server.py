"""Keys in the Redis server that keeps the ledger, which gateways on several machines share."""

from __future__ import annotations

import json
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from routoo_core.budget.redis_client import RedisClient, RedisFailure
from routoo_core.errors import LedgerError
from routoo_core.lifetimes import PerProcess
from routoo_integrations.gateway.keys import (
    AccessKey,
    Change,
    KeyTerms,
    KnownKeys,
    SignIn,
    account_has_key,
)

LOOK_EVERY_S = 0.5
"""Seconds after which a change that another process made is known here, at most, while the server answers."""
OUTDATED_S = 10.0
"""One of the keys may have been revoked since."""
_KEYS = "{routoo}:gateway:keys"
_REVISION = "{routoo}:gateway:keys:revision"
"""Counts the changes of keys: a smaller number is that of an older state."""
_MARK = "{routoo}:gateway:keys:mark"
"""Another text after each change of a key."""
_MARK_BYTES = 8
_SIGN_IN = "{routoo}:gateway:sign-in:"
_LOGGER = logging.getLogger(__name__)


class KeyServer:
    """Keys and sign-ins in Redis; see :class:`~routoo_integrations.gateway.keys.KeyStorage`.

    Calls do not wait for the server: a thread asks it for changes.

    Args:
        url: The ledger's address.
        outdated_s: Seconds without an answer of the server after which no key is known any more.

    Raises:
        LedgerError: The server cannot be used, or has lost a part of the keys.
        MissingDependency: ``redis`` is not installed.
    """

    def __init__(self, url: str, outdated_s: float = OUTDATED_S) -> None:
        server = RedisClient(url, "keep the keys in Redis")
        self._server = server
        self._watch = PerProcess(lambda: _KeyWatch(server, outdated_s))
        try:
            self._watch.get().look()
        except LedgerError:
            self.close()
            raise

    def current(self) -> KnownKeys:
        """All keys, as they were a moment ago."""
        return self._watch.get().keys()

    def add(self, key: AccessKey) -> None:
        """Keep a new key.

        Raises:
            ConfigurationError: Its account has one.
        """

        def add(pipeline: Any) -> None:
            for text in pipeline.hvals(_KEYS):
                if _key_of(text).account == key.account:
                    raise account_has_key(key.account)
            pipeline.multi()
            _put(pipeline, key)

        self._change_keys(add)

    def change(self, key_id: str, change: Change) -> AccessKey:
        """Change a key; what it is then."""
        changed_keys: list[AccessKey] = []

        def replace_key(pipeline: Any) -> None:
            text = pipeline.hget(_KEYS, key_id)
            if text is None:
                raise _keys_lost()
            key = change(_key_of(text))
            changed_keys.append(key)
            pipeline.multi()
            _put(pipeline, key)

        self._change_keys(replace_key)
        return changed_keys[-1]

    def add_sign_in(self, digest: bytes, sign_in: SignIn, now: float) -> None:
        """Keep a sign-in; Redis forgets it by itself."""
        life_ms = max(1, round((sign_in.expires_at - now) * 1000))
        with _using(self._server) as client:
            client.set(_SIGN_IN + digest.hex(), _sign_in_text(sign_in), px=life_ms)

    def sign_in(self, digest: bytes) -> SignIn | None:
        """The sign-in of a cookie; ``None`` for none."""
        with _using(self._server) as client:
            text = client.get(_SIGN_IN + digest.hex())
        return None if text is None else _sign_in_of(text)

    def remove_sign_in(self, digest: bytes) -> None:
        """Forget a sign-in."""
        with _using(self._server) as client:
            client.delete(_SIGN_IN + digest.hex())

    def close(self) -> None:
        """Ask the server no more."""
        self._watch.get().stop()

    def _change_keys(self, change: Callable[[Any], None]) -> None:
        """Make a change that is tried again where another one came in between."""
        watch = self._watch.get()
        watch.look()
        with _using(self._server) as client:
            client.transaction(change, _KEYS)
        watch.look()


class _KeyWatch:
    """The keys as one process knows them, and the thread that asks for changes.

    Args:
        server: Where they are kept.
        outdated_s: Seconds without an answer of the server after which no key is known any more.
    """

    def __init__(self, server: RedisClient, outdated_s: float) -> None:
        self._server = server
        self._outdated_s = outdated_s
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._revision = 0
        self._mark: str | None = None
        self._keys = KnownKeys(0, {})
        self._seen_at = -math.inf
        threading.Thread(target=self._look_on, daemon=True, name="routoo-keys").start()

    def keys(self) -> KnownKeys:
        """All keys.

        Raises:
            LedgerError: The server has not answered for a while.
        """
        if time.monotonic() - self._seen_at > self._outdated_s:
            raise LedgerError("the keys in Redis cannot be read; check that the server runs")
        return self._keys

    def look(self) -> None:
        """Read the keys again if they have changed.

        Raises:
            LedgerError: The server cannot be used, or has lost the keys.
        """
        with self._lock, _using(self._server) as client:
            asked_at = time.monotonic()
            count, mark = client.mget(_REVISION, _MARK)
            revision = int(count or 0)
            if revision < self._revision:
                raise _keys_lost()
            is_first = self._seen_at == -math.inf
            if is_first or mark != self._mark:
                self._keys = self._read(client, revision)
            self._revision = revision
            self._mark = mark
            self._seen_at = asked_at

    def stop(self) -> None:
        """Ask no more."""
        self._end.set()

    def _read(self, client: Any, revision: int) -> KnownKeys:
        """All keys; none is ever removed.

        Raises:
            LedgerError: Some are missing.
        """
        keys = sorted(map(_key_of, client.hvals(_KEYS)), key=_account_of)
        by_id = {key.id: key for key in keys}
        has_changes = revision > 0
        if bool(by_id) != has_changes or not self._keys.by_id.keys() <= by_id.keys():
            raise _keys_lost()
        return KnownKeys(self._keys.revision + 1, by_id)

    def _look_on(self) -> None:
        is_failing = False
        while True:
            try:
                self.look()
                is_failing = False
            except Exception as error:  # noqa: BLE001 (the next look may succeed)
                if not is_failing:
                    _LOGGER.warning("%s", error)
                is_failing = True
            if self._end.wait(LOOK_EVERY_S):
                return


@contextmanager
def _using(server: RedisClient) -> Iterator[Any]:
    """The client of this process; errors of the server are the ledger's.

    Raises:
        LedgerError: The server cannot be used.
    """
    try:
        with server.using() as client:
            yield client
    except RedisFailure as failure:
        raise LedgerError(f"the keys in Redis: {failure}; check that the server runs") from None


def _keys_lost() -> LedgerError:
    return LedgerError(
        "the Redis server has lost keys of the gateway, or holds an older state of them; restore its data, or make new "
        "keys and start the gateway again"
    )


def _put(pipeline: Any, key: AccessKey) -> None:
    """The steps that keep a key."""
    pipeline.hset(_KEYS, key.id, _key_text(key))
    pipeline.incr(_REVISION)
    pipeline.set(_MARK, secrets.token_hex(_MARK_BYTES))


def _account_of(key: AccessKey) -> str:
    return key.account


# As text: JSON, with digests in hexadecimal


def _key_text(key: AccessKey) -> str:
    return json.dumps(
        {
            "id": key.id,
            "account": key.account,
            "terms": key.terms.to_json(),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
            "digest": key.digest.hex(),
            "previous_digest": None if key.previous_digest is None else key.previous_digest.hex(),
            "previous_until": key.previous_until,
        }
    )


def _key_of(text: str) -> AccessKey:
    """The key of a text.

    Raises:
        LedgerError: It is none.
    """
    try:
        return _parsed_key(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerError(f"a key of the gateway in Redis cannot be read ({error!r})") from None


def _parsed_key(values: dict[str, Any]) -> AccessKey:
    previous = values["previous_digest"]
    return AccessKey(
        id=values["id"],
        account=values["account"],
        terms=KeyTerms.from_json(values["terms"]),
        created_at=values["created_at"],
        expires_at=values["expires_at"],
        revoked_at=values["revoked_at"],
        digest=bytes.fromhex(values["digest"]),
        previous_digest=None if previous is None else bytes.fromhex(previous),
        previous_until=values["previous_until"],
    )


def _sign_in_text(sign_in: SignIn) -> str:
    return json.dumps([sign_in.key_id, sign_in.key_digest.hex(), sign_in.expires_at])


def _sign_in_of(text: str) -> SignIn:
    key_id, key_digest, expires_at = json.loads(text)
    return SignIn(key_id, bytes.fromhex(key_digest), expires_at)
