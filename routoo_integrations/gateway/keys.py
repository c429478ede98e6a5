"""Keys of the gateway in a SQLite file. Each key is an account: its rights, and the digest of its secret.

A secret is shown once and never stored. Whoever reads the file cannot call.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from routoo_core.budget.ledger import Ledger
from routoo_core.budget.sqlite_file import BUSY_TIMEOUT_S
from routoo_core.errors import ConfigurationError, LedgerError
from routoo_integrations.gateway.database import beside_ledger, open_database

_PREFIX = "sk-routoo-"
_ID_BYTES = 6
_SECRET_BYTES = 32
_NO_DIGEST = hashlib.sha256(b"").digest()
_REMEDY = "check who may read it, or restore it from a backup; without it, whoever reaches the gateway needs no key"
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY,
        account TEXT NOT NULL UNIQUE,
        digest BLOB NOT NULL,
        previous_digest BLOB,
        previous_until REAL,
        terms TEXT NOT NULL,
        created_at REAL NOT NULL,
        expires_at REAL,
        revoked_at REAL
    ) WITHOUT ROWID
"""
_SELECT = """
    SELECT id, account, digest, previous_digest, previous_until, terms, created_at, expires_at, revoked_at
    FROM keys ORDER BY account
"""


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key may do.

    Attributes:
        within: The account that its own is part of; ``None`` for the one that usually pays.
        limit: USD that it may spend in each period, a decimal string; ``None`` for no limit of its own.
        period: ``hour``, ``day`` or ``month``.
        experts: Names, or patterns such as ``gpt-*``, of those that may answer it; empty for all.
        policy: Ranks the experts of its calls; ``None`` leaves that to the router and the caller.
        accounts: Patterns, such as ``alice-*``, of accounts within its own that a call may let pay.
        rate: How many calls it may make in which time, such as ``60/minute``; ``None`` for any number.
        is_admin: Whether it may read the figures of all accounts.
    """

    within: str | None = None
    limit: str | None = None
    period: str = "day"
    experts: tuple[str, ...] = ()
    policy: str | None = None
    accounts: tuple[str, ...] = ()
    rate: str | None = None
    is_admin: bool = False

    def to_json(self) -> str:
        """The key as JSON, as it is stored."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, text: str) -> KeyTerms:
        """What :meth:`to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        for name in ("experts", "accounts"):
            values[name] = tuple(values[name])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key, without its secret.

    Attributes:
        id: Part of the key that is no secret.
        account: Whose calls it makes, and whose money they spend.
        terms: What it may do.
        created_at: Seconds since the epoch, like the others.
        expires_at: From when on it opens nothing; ``None`` for never.
        revoked_at: When it was revoked; ``None`` where it was not.
        digest: SHA-256 of the whole key.
        previous_digest: Of the one before the last rotation.
        previous_until: How long that one still opens.
    """

    id: str
    account: str
    terms: KeyTerms
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    digest: bytes = field(default=_NO_DIGEST, repr=False)
    previous_digest: bytes | None = field(default=None, repr=False)
    previous_until: float | None = None

    def is_usable(self, now: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def opens(self, digest: bytes, now: float) -> bool:
        """Whether a key of this digest is this one; takes the same time whichever it is."""
        is_current = hmac.compare_digest(digest, self.digest)
        is_previous = hmac.compare_digest(digest, self.previous_digest or _NO_DIGEST)
        previous_counts = now < (self.previous_until or 0.0)
        return is_current or (is_previous and previous_counts)


_NOBODY = AccessKey("", "", KeyTerms(), 0.0)
"""Compared with where no key goes by an id, so that this takes as long."""


class KeyStore:
    """The keys of a gateway, in a SQLite file that its processes and the command line share.

    Args:
        path: The file; it is made where it is missing, for its owner alone.
        clock: Tells the time, seconds since the epoch.

    Raises:
        ConfigurationError: The file cannot be opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.clock = clock
        self._db = open_database(path, (_SCHEMA, _SELECT), "the keys", BUSY_TIMEOUT_S, _REMEDY)
        self._file_version: int | None = None
        self._revision = 0
        self._keys: dict[str, AccessKey] = {}

    # Who calls

    def find(self, key: str) -> AccessKey | None:
        """The key with a caller's secret, usable or not; ``None`` for an unknown secret."""
        digest = hashlib.sha256(key.encode()).digest()
        access_key = self._current().get(_id_of(key), _NOBODY)
        # The key of nobody is compared, too, so that both take as long.
        is_open = access_key.opens(digest, self.clock())
        return access_key if is_open and access_key is not _NOBODY else None

    def get(self, key_id: str) -> AccessKey | None:
        """The key of an id, whether or not it is still usable; ``None`` for none."""
        return self._current().get(key_id)

    @property
    def has_keys(self) -> bool:
        """Whether any key was ever made, even a revoked one. Once there is a key, every call needs one."""
        return bool(self._current())

    @property
    def has_usable_keys(self) -> bool:
        """Whether any key can be used now."""
        now = self.clock()
        return any(key.is_usable(now) for key in self._current().values())

    @property
    def revision(self) -> int:
        """A number that changes whenever a key may have changed, up to the last look-up."""
        return self._revision

    def list_keys(self) -> list[AccessKey]:
        """All keys, by account."""
        return list(self._current().values())

    # Changes

    def create(self, account: str, terms: KeyTerms, expires_at: float | None = None) -> str:
        """Make a key for an account, which has none yet.

        Returns:
            The key, which is shown once and cannot be read again.

        Raises:
            ConfigurationError: The account has a key.
        """
        if self._of_account(account) is not None:
            raise ConfigurationError(
                f"account: {account!r} has a key; replace it with 'routoo key rotate {account}', or name "
                "another account"
            )
        key_id = secrets.token_hex(_ID_BYTES)
        key = _new_key(key_id)
        row = (key_id, account, digest_of(key), terms.to_json(), self.clock(), expires_at)
        with self._changing() as db:
            db.execute(
                "INSERT INTO keys (id, account, digest, terms, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
        return key

    def rotate(self, account: str, grace_s: float = 0.0) -> str:
        """Make a new key for an account; the old one opens for a while longer.

        Args:
            account: Whose.
            grace_s: Seconds for which the old key still opens.

        Raises:
            ConfigurationError: The account has no key.
        """
        access_key = self._named(account)
        key = _new_key(access_key.id)
        until = self.clock() + grace_s
        with self._changing() as db:
            db.execute(
                """
                UPDATE keys SET previous_digest = digest, previous_until = ?, digest = ?, revoked_at = NULL
                WHERE id = ?
                """,
                (until, digest_of(key), access_key.id),
            )
        return key

    def revoke(self, account: str) -> AccessKey:
        """Let an account's key open nothing from now on.

        Raises:
            ConfigurationError: The account has no key.
        """
        access_key = self._named(account)
        now = self.clock()
        with self._changing() as db:
            db.execute(
                "UPDATE keys SET revoked_at = ?, previous_digest = NULL WHERE id = ?",
                (now, access_key.id),
            )
        return replace(access_key, revoked_at=now)

    def expire(self, account: str, expires_at: float | None) -> AccessKey:
        """Set from when on an account's key opens nothing; ``None`` for never.

        Raises:
            ConfigurationError: The account has no key.
        """
        access_key = self._named(account)
        with self._changing() as db:
            db.execute("UPDATE keys SET expires_at = ? WHERE id = ?", (expires_at, access_key.id))
        return replace(access_key, expires_at=expires_at)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _named(self, account: str) -> AccessKey:
        access_key = self._of_account(account)
        if access_key is None:
            names = ", ".join(key.account for key in self.list_keys()) or "none yet"
            raise ConfigurationError(f"account: {account!r} has no key; those with one: {names}")
        return access_key

    def _of_account(self, account: str) -> AccessKey | None:
        for key in self.list_keys():
            if key.account == account:
                return key
        return None

    def _current(self) -> dict[str, AccessKey]:
        """Every key by its id, read again whenever the file was changed."""
        with self._failing_as_ledger():
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version != self._file_version:
                keys = [_key_of(row) for row in self._db.execute(_SELECT)]
                self._keys = {key.id: key for key in keys}
                self._file_version = version
                self._revision += 1
        return self._keys

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One change of the file."""
        with self._failing_as_ledger(), self._db:
            yield self._db
        self._file_version = None  # SQLite's own counts what others change

    @contextmanager
    def _failing_as_ledger(self) -> Iterator[None]:
        """Errors of the file are the ledger's: nothing may be spent while nobody can say whose it is.

        Raises:
            LedgerError: The file cannot be read or written.
        """
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}; check the file of the keys") from error


def keys_beside(ledger: Ledger, folder: Path) -> Path:
    """The file of the keys: beside a ledger's own file, else in a folder."""
    return beside_ledger(ledger, folder, "keys")


def _key_of(row: tuple[Any, ...]) -> AccessKey:
    """A row of ``_SELECT``."""
    key_id, account, digest, previous, until, terms, created_at, expires_at, revoked_at = row
    return AccessKey(
        id=key_id,
        account=account,
        terms=KeyTerms.from_json(terms),
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        digest=digest,
        previous_digest=previous,
        previous_until=until,
    )


def _new_key(key_id: str) -> str:
    return f"{_PREFIX}{key_id}-{secrets.token_urlsafe(_SECRET_BYTES)}"


def _id_of(key: str) -> str:
    """The part of a key that is no secret."""
    return key.removeprefix(_PREFIX)[: 2 * _ID_BYTES]


def digest_of(key: str) -> bytes:
    """What is stored in the place of a secret."""
    return hashlib.sha256(key.encode()).digest()
