"""Keys in a SQLite file, which the processes of one machine share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from routoo_core.budget.sqlite_waits import BUSY_TIMEOUT_S
from routoo_core.errors import LedgerError
from routoo_integrations.gateway.database import open_database
from routoo_integrations.gateway.keys import (
    AccessKey,
    Change,
    KeyTerms,
    KnownKeys,
    SignIn,
    account_has_key,
)

_REMEDY = "check who may read it, or restore it from a backup; without it, whoever reaches the gateway needs no key"
_SCHEMA = (
    """
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
    """,
    """
    CREATE TABLE IF NOT EXISTS sessions (
        digest BLOB PRIMARY KEY,
        key_id TEXT NOT NULL,
        key_digest BLOB NOT NULL,
        expires_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
)
_COLUMNS = "id, account, digest, previous_digest, previous_until, terms, created_at, expires_at, revoked_at"
_SELECT = f"SELECT {_COLUMNS} FROM keys"  # noqa: S608 (constants alone)
_PUT = f"INSERT OR REPLACE INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SELECT_SIGN_IN = "SELECT key_id, key_digest, expires_at FROM sessions WHERE digest = ?"


class KeyFile:
    """Keys and sign-ins in a SQLite file; see :class:`~routoo_integrations.gateway.keys.KeyStorage`.

    Args:
        path: The file; it is made where it is missing, for its owner alone.

    Raises:
        ConfigurationError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        statements = (*_SCHEMA, _SELECT)
        # Calls read without a wait; what waits for other writers has a connection of its own.
        self._db = open_database(path, statements, "the keys", BUSY_TIMEOUT_S, _REMEDY)
        self._writer = open_database(path, statements, "the keys", BUSY_TIMEOUT_S, _REMEDY)
        self._lock = threading.Lock()
        self._file_version: int | None = None
        self._keys = KnownKeys(0, {})

    def current(self) -> KnownKeys:
        """All keys, read again whenever the file was changed."""
        with self._failing_as_ledger():
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version != self._file_version:
                keys = [_key_of(row) for row in self._db.execute(f"{_SELECT} ORDER BY account")]
                self._keys = KnownKeys(self._keys.revision + 1, {key.id: key for key in keys})
                self._file_version = version
        return self._keys

    def add(self, key: AccessKey) -> None:
        """Keep a new key.

        Raises:
            ConfigurationError: Its account has one.
        """
        with self._changing() as db:
            row = db.execute("SELECT 1 FROM keys WHERE account = ?", (key.account,)).fetchone()
            if row is not None:
                raise account_has_key(key.account)
            db.execute(_PUT, _row_of(key))

    def change(self, key_id: str, change: Change) -> AccessKey:
        """Change a key; what it is then."""
        with self._changing() as db:
            row = db.execute(f"{_SELECT} WHERE id = ?", (key_id,)).fetchone()
            if row is None:
                raise LedgerError(
                    f"{self.path}: the key {key_id} is gone; restore the file of the keys"
                )
            key = change(_key_of(row))
            db.execute(_PUT, _row_of(key))
        return key

    def add_sign_in(self, digest: bytes, sign_in: SignIn, now: float) -> None:
        """Keep a sign-in, and forget those that have expired."""
        row = (digest, sign_in.key_id, sign_in.key_digest, sign_in.expires_at)
        with self._changing() as db:
            db.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
            db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", row)

    def sign_in(self, digest: bytes) -> SignIn | None:
        """The sign-in of a cookie; ``None`` for none."""
        with self._failing_as_ledger(), self._lock:
            row = self._writer.execute(_SELECT_SIGN_IN, (digest,)).fetchone()
        return None if row is None else SignIn(*row)

    def remove_sign_in(self, digest: bytes) -> None:
        """Forget a sign-in."""
        with self._changing() as db:
            db.execute("DELETE FROM sessions WHERE digest = ?", (digest,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        self._writer.close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One change of the file."""
        with self._failing_as_ledger(), self._lock, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer

    @contextmanager
    def _failing_as_ledger(self) -> Iterator[None]:
        """Errors of the file are the ledger's.

        Raises:
            LedgerError: The file cannot be read or written.
        """
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}; check the file of the keys") from error


def _key_of(row: tuple[Any, ...]) -> AccessKey:
    """The key of a row."""
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


def _row_of(key: AccessKey) -> tuple[Any, ...]:
    """The row of a key."""
    return (
        key.id,
        key.account,
        key.digest,
        key.previous_digest,
        key.previous_until,
        key.terms.to_json(),
        key.created_at,
        key.expires_at,
        key.revoked_at,
    )
