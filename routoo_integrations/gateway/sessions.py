"""Sign-ins to the gateway's page: a cookie stands for a key for a while, and the key itself is in no browser.

They are kept in the file of the keys, so that every process knows them, as SHA-256 of what the cookie holds.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from routoo_core.budget.sqlite_file import BUSY_TIMEOUT_S
from routoo_core.errors import LedgerError
from routoo_integrations.gateway.keys import AccessKey, KeyStore, digest_of

SESSION_S = 12 * 3600
"""How long a sign-in lasts, at most."""
_TOKEN_BYTES = 32
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS sessions (
        digest BLOB PRIMARY KEY,
        key_id TEXT NOT NULL,
        key_digest BLOB NOT NULL,
        expires_at REAL NOT NULL
    ) WITHOUT ROWID
"""


class Sessions:
    """The sign-ins of a gateway.

    Args:
        keys: Whose holders may sign in.

    Raises:
        LedgerError: The file of the keys cannot be used.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        with self._failing_as_ledger():
            self._db = sqlite3.connect(keys.path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            self._db.execute(_SCHEMA)

    def begin(self, key: str) -> str | None:
        """Sign in.

        Args:
            key: What was entered.

        Returns:
            What the cookie is to hold; ``None`` where the key opens nothing.

        Raises:
            LedgerError: The file cannot be used.
        """
        access_key = self._keys.find(key)
        now = self._keys.clock()
        if access_key is None or not access_key.is_usable(now):
            return None
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        row = (digest_of(token), access_key.id, digest_of(key), now + SESSION_S)
        with self._failing_as_ledger(), self._db:
            self._db.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
            self._db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", row)
        return token

    def key_of(self, token: str) -> AccessKey | None:
        """The key of a sign-in; ``None`` once the key is revoked, replaced or expired.

        Raises:
            LedgerError: The file cannot be used.
        """
        now = self._keys.clock()
        with self._failing_as_ledger():
            row = self._db.execute(
                "SELECT key_id, key_digest FROM sessions WHERE digest = ? AND expires_at > ?",
                (digest_of(token), now),
            ).fetchone()
        if row is None:
            return None
        key_id, key_digest = row
        key = self._keys.get(key_id)
        is_open = key is not None and key.is_usable(now) and key.opens(key_digest, now)
        return key if is_open else None

    def end(self, token: str) -> None:
        """Sign out.

        Raises:
            LedgerError: The file cannot be used.
        """
        with self._failing_as_ledger(), self._db:
            self._db.execute("DELETE FROM sessions WHERE digest = ?", (digest_of(token),))

    @contextmanager
    def _failing_as_ledger(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(f"{self._keys.path}: {error}; check the file of the keys") from error
