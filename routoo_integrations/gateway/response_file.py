"""Stored responses in a SQLite file that the gateway's processes share.

What is deleted or too old is overwritten.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from routoo_core.budget.sqlite_waits import BUSY_TIMEOUT_S
from routoo_integrations.gateway.database import open_database
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

_PRUNE_SHARE = 64
"""Old responses are looked for whenever 1/64 of what an account may store has been written."""
_PRUNE_EVERY_S = 60.0
PATIENCE_S = 1.0
"""Seconds for which a call waits for a file that others have locked, and for its turn in this process."""
_LOGGER = logging.getLogger(__name__)
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS responses (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        previous TEXT,
        used_at REAL NOT NULL,
        bytes INTEGER NOT NULL,
        input TEXT NOT NULL,
        response TEXT NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS responses_by_use ON responses (owner, used_at, bytes)",
    "PRAGMA secure_delete = ON",
)
_CHAIN = """
    WITH RECURSIVE chain (id, previous, bytes, depth) AS (
        SELECT id, previous, bytes, 0 FROM responses WHERE id = :id AND owner = :owner AND used_at > :since
        UNION ALL
        SELECT earlier.id, earlier.previous, earlier.bytes, chain.depth + 1
        FROM chain JOIN responses AS earlier ON earlier.id = chain.previous
        WHERE earlier.owner = :owner AND earlier.used_at > :since
    )
"""
_SIZES = f"{_CHAIN} SELECT previous, bytes FROM chain ORDER BY depth DESC"  # noqa: S608 (constants alone)
_CONTENTS = (
    f"{_CHAIN} SELECT input, response FROM chain JOIN responses USING (id) "  # noqa: S608
    "ORDER BY depth DESC"
)
_USE = f"{_CHAIN} UPDATE responses SET used_at = :now WHERE id IN (SELECT id FROM chain)"  # noqa: S608
_INSERT = "INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)"
_SELECT = "SELECT input, response FROM responses WHERE id = ? AND owner = ? AND used_at > ?"
_DELETE = "DELETE FROM responses WHERE id = ? AND owner = ?"
_EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"
_FORGET_OLD = "DELETE FROM responses WHERE used_at <= ?"
_FORGET_SURPLUS = """
    DELETE FROM responses WHERE id IN (
        SELECT id FROM (
            SELECT id, sum(bytes) OVER (PARTITION BY owner ORDER BY used_at DESC, id) AS total FROM responses
        ) WHERE total > ?
    )
"""


class ResponseFile:
    """Responses in a SQLite file; see :class:`~routoo_integrations.gateway.stored_responses.ResponseStore`.

    Args:
        path: The file; it is made where it is missing, for its owner alone. ``None`` keeps them in memory.
        keep_s: Seconds after which a response is forgotten that no call has gone on from.
        account_mb: Megabytes that each account may store; what it used longest ago goes first.
        clock: Tells the time, seconds since the epoch.

    Raises:
        ConfigurationError: The file cannot be opened.
    """

    def __init__(
        self,
        path: Path | None,
        keep_s: float,
        account_mb: float = DEFAULT_ACCOUNT_MB,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._keep_s = keep_s
        self._account_bytes = round(account_mb * BYTES_PER_MB)
        self._clock = clock
        self._lock = threading.Lock()
        self._unpruned_bytes = 0
        self._pruned_at = -math.inf
        self._is_log_stale = False
        about = "the file of stored responses"
        remedy = "check or remove the file"
        self._db = open_database(path, _SCHEMA, about, BUSY_TIMEOUT_S, remedy)
        self._db.execute(f"PRAGMA busy_timeout = {round(1000 * PATIENCE_S)}")
        self._prune()

    def put(
        self, owner: str, response: JsonObject, items: list[JsonObject], previous: str | None
    ) -> None:
        """Store a response."""
        items_text = json.dumps(items)
        text = json.dumps(response)
        size = len(items_text) + len(text)
        row = (response["id"], owner, previous, self._clock(), size, items_text, text)
        try:
            with self._turn() as db:
                with db:
                    db.execute(_INSERT, row)
                self._unpruned_bytes += size
                self._prune_now_and_then()
        except sqlite3.Error as error:
            _LOGGER.error("a response could not be stored: %s: %s", self.path, error)

    def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """The response of an id; ``None`` where the owner has none.

        Raises:
            CallRefused: The file cannot be read.
        """
        with self._reading() as db:
            row = db.execute(_SELECT, (response_id, owner, self._since())).fetchone()
        if row is None:
            return None
        items, response = row
        return StoredResponse(json.loads(response), json.loads(items))

    def conversation(self, owner: str, response_id: str) -> list[JsonObject]:
        """Everything that was said up to and with a response; from now on it is kept for as long again.

        Raises:
            CallRefused: The owner has no such response, an earlier one is gone, or all together are too long.
        """
        place = {"id": response_id, "owner": owner, "since": self._since(), "now": self._clock()}
        with self._reading() as db, db:
            db.execute("BEGIN IMMEDIATE")
            links = db.execute(_SIZES, place).fetchall()
            if not links or links[0][0] is not None:
                raise unknown_previous(links[0][0] if links else response_id)
            if sum(size for _, size in links) > LARGEST_CONVERSATION:
                raise too_long()
            rows = db.execute(_CONTENTS, place).fetchall()
            db.execute(_USE, place)
        items: list[JsonObject] = []
        for items_text, response in rows:
            items += json.loads(items_text)
            items += json.loads(response)["output"]
        return items

    def delete(self, owner: str, response_id: str) -> bool:
        """Forget a response; whether the owner had it.

        Raises:
            CallRefused: The file cannot be written.
        """
        with self._reading() as db:
            with db:
                is_gone = db.execute(_DELETE, (response_id, owner)).rowcount == 1
            if is_gone:
                self._empty_log()
        return is_gone

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _since(self) -> float:
        return self._clock() - self._keep_s

    def _prune_now_and_then(self) -> None:
        """Prune when a minute has passed, or much was written."""
        is_much = self._unpruned_bytes * _PRUNE_SHARE >= self._account_bytes
        if is_much or self._clock() - self._pruned_at >= _PRUNE_EVERY_S:
            self._prune()

    def _prune(self) -> None:
        """Forget what is too old or too much; a failure stops no call, as the next one tries again."""
        self._unpruned_bytes = 0
        self._pruned_at = self._clock()
        try:
            with self._db:
                old = self._db.execute(_FORGET_OLD, (self._since(),)).rowcount
                surplus = self._db.execute(_FORGET_SURPLUS, (self._account_bytes,)).rowcount
            if old or surplus or self._is_log_stale:
                self._empty_log()
        except sqlite3.Error as error:
            _LOGGER.warning("old responses could not be forgotten: %s: %s", self.path, error)

    def _empty_log(self) -> None:
        """Empty the write-ahead log, where the text of deleted rows is too; while others read it, later."""
        is_busy, *_ = self._db.execute(_EMPTY_LOG).fetchone()
        self._is_log_stale = bool(is_busy)

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """The file, for one call at a time.

        Raises:
            OperationalError: Other calls of the process have it for too long.
        """
        if not self._lock.acquire(timeout=PATIENCE_S):
            raise sqlite3.OperationalError("other calls wait for the file")
        try:
            yield self._db
        finally:
            self._lock.release()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The file; its errors are told to the caller.

        Raises:
            CallRefused: It cannot be used.
        """
        try:
            with self._turn() as db:
                self._prune_now_and_then()
                yield db
        except sqlite3.Error as error:
            _LOGGER.error("stored responses cannot be read: %s: %s", self.path, error)
            raise store_failed() from error
