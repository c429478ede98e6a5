"""Where answers are stored: the contract, and a SQLite file that the processes of a machine share."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Protocol

from routoo_core.answer_cache.answers import StoredAnswer, StoredAnswers, StoredQuestion
from routoo_core.budget.clock import WALL_CLOCK, Clock
from routoo_core.budget.sqlite_file import IN_MEMORY
from routoo_core.budget.sqlite_waits import use_write_ahead_log
from routoo_core.errors import CacheError
from routoo_core.lifetimes import PerProcess, fork_safe_lock

MOST_COMPARED = 1000
"""Questions that one is compared with at most, those that were used last."""
PATIENCE_S = 1.0
"""Seconds for which a call waits for a file that others have locked."""
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS answers (
        key TEXT PRIMARY KEY,
        account TEXT NOT NULL,
        created REAL NOT NULL,
        used REAL NOT NULL,
        hits INTEGER NOT NULL DEFAULT 0,
        cost INTEGER NOT NULL,
        answer TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS answers_by_use ON answers (account, used)",
    """
    CREATE TABLE IF NOT EXISTS questions (
        key TEXT PRIMARY KEY,
        scope TEXT NOT NULL,
        question TEXT NOT NULL,
        vector TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS questions_by_scope ON questions (scope)",
    """
    CREATE TRIGGER IF NOT EXISTS forget_question AFTER DELETE ON answers
    BEGIN DELETE FROM questions WHERE key = OLD.key; END
    """,
    "PRAGMA synchronous = OFF",  # nobody's money is in it
    "PRAGMA secure_delete = ON",
)
_FIND = "SELECT answer FROM answers WHERE key = ? AND created > ?"
_USE = "UPDATE answers SET used = ?, hits = hits + 1 WHERE key = ?"
_PUT = """
    INSERT INTO answers (key, account, created, used, cost, answer) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET created = excluded.created, used = excluded.used, cost = excluded.cost,
        answer = excluded.answer
"""
_FORGET_OLD = "DELETE FROM answers WHERE account = ? AND created <= ?"
_FORGET_SURPLUS = """
    DELETE FROM answers WHERE key IN (
        SELECT key FROM answers WHERE account = ? ORDER BY used DESC LIMIT -1 OFFSET ?
    )
"""
_SHOW = """
    SELECT account, COUNT(*), SUM(hits), SUM(hits * cost), MIN(created) FROM answers
    WHERE created > ? GROUP BY account ORDER BY account
"""
_PUT_QUESTION = (
    "INSERT OR REPLACE INTO questions (key, scope, question, vector) VALUES (?, ?, ?, ?)"
)
_QUESTIONS = """
    SELECT questions.key, scope, question, vector FROM questions JOIN answers USING (key)
    WHERE scope = ? AND created > ? ORDER BY used DESC LIMIT ?
"""
_EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"


class AnswerStore(Protocol):
    """Stores answers by key; safe from any thread.

    Every method raises :class:`~routoo_core.errors.CacheError` where the store fails.
    """

    def find(self, key: str, is_use: bool = True) -> StoredAnswer | None:
        """The answer of a key that is young enough; ``None`` where there is none.

        Args:
            key: Names what was asked.
            is_use: Whether it is given again, and counts as used.
        """
        ...

    def put(
        self, key: str, account: str, answer: StoredAnswer, question: StoredQuestion | None = None
    ) -> None:
        """Store an answer, and forget what the account has no room for.

        Args:
            key: Names what was asked.
            account: Whose it is.
            answer: The answer; it replaces an earlier one.
            question: What it answers, where questions in other words are looked for.
        """
        ...

    def questions(self, scope: str) -> list[StoredQuestion]:
        """The questions of a scope that were used last, at most :data:`MOST_COMPARED`."""
        ...

    def show(self) -> list[StoredAnswers]:
        """What is stored for each account."""
        ...

    def clear(self, account: str | None = None) -> int:
        """Forget the answers of an account and of those within it, or all; how many there were."""
        ...


class SqliteAnswers:
    """Answers in a SQLite file, for its owner alone.

    Args:
        path: The file; ``None`` keeps the answers in memory.
        max_age_s: Seconds after which an answer is not given again.
        max_entries: Answers that are stored for each account.
        clock: Tells the time, seconds since the epoch.

    Raises:
        ConfigurationError: The file cannot be opened.
    """

    def __init__(
        self,
        path: Path | None,
        max_age_s: float,
        max_entries: int,
        clock: Clock = WALL_CLOCK,
    ) -> None:
        self.path = path
        self._max_age_s = max_age_s
        self._max_entries = max_entries
        self._clock = clock
        self._lock = fork_safe_lock()
        self._db = PerProcess(self._open)

    def find(self, key: str, is_use: bool = True) -> StoredAnswer | None:
        """See :meth:`AnswerStore.find`."""
        now = self._clock()
        with self._using() as db:
            row = db.execute(_FIND, (key, now - self._max_age_s)).fetchone()
            if row is None:
                return None
            if is_use:
                db.execute(_USE, (now, key))
        return StoredAnswer.from_json(row[0])

    def put(
        self, key: str, account: str, answer: StoredAnswer, question: StoredQuestion | None = None
    ) -> None:
        """See :meth:`AnswerStore.put`."""
        now = self._clock()
        values = (key, account, answer.created, now, answer.cost, answer.to_json())
        with self._using() as db:
            db.execute(_PUT, values)
            if question is not None:
                db.execute(_PUT_QUESTION, astuple(question))
            db.execute(_FORGET_OLD, (account, now - self._max_age_s))
            db.execute(_FORGET_SURPLUS, (account, self._max_entries))

    def questions(self, scope: str) -> list[StoredQuestion]:
        """See :meth:`AnswerStore.questions`."""
        with self._using() as db:
            values = (scope, self._clock() - self._max_age_s, MOST_COMPARED)
            rows = db.execute(_QUESTIONS, values).fetchall()
        return [StoredQuestion(*row) for row in rows]

    def show(self) -> list[StoredAnswers]:
        """See :meth:`AnswerStore.show`."""
        with self._using() as db:
            rows = db.execute(_SHOW, (self._clock() - self._max_age_s,)).fetchall()
        return [StoredAnswers(*row) for row in rows]

    def clear(self, account: str | None = None) -> int:
        """See :meth:`AnswerStore.clear`."""
        with self._using() as db:
            if account is None:
                count = db.execute("DELETE FROM answers").rowcount
            else:
                names = [name for (name,) in db.execute("SELECT DISTINCT account FROM answers")]
                count = 0
                for name in names:
                    if is_within(name, account):
                        cursor = db.execute("DELETE FROM answers WHERE account = ?", (name,))
                        count += cursor.rowcount
        if self.path is not None:
            with self._using(is_writing=False) as db:
                db.execute(_EMPTY_LOG)  # what was deleted stands in it
        return count

    def _open(self) -> sqlite3.Connection:
        if self.path is not None:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(
            IN_MEMORY if self.path is None else self.path,
            timeout=PATIENCE_S,
            isolation_level=None,
            check_same_thread=False,
        )
        if self.path is not None:
            use_write_ahead_log(db)
        for statement in _SCHEMA:
            db.execute(statement)
        return db

    @contextmanager
    def _using(self, is_writing: bool = True) -> Iterator[sqlite3.Connection]:
        """The connection, in one transaction.

        Raises:
            CacheError: The file cannot be used.
        """
        try:
            with self._lock:
                db = self._db.get()
                if is_writing:
                    with db:
                        db.execute("BEGIN IMMEDIATE")
                        yield db
                else:
                    yield db
        except (sqlite3.Error, OSError) as error:
            place = self.path or "memory"
            raise CacheError(f"the cache of answers in {place} failed: {error}") from error


def is_within(name: str, account: str) -> bool:
    """Whether stored answers are an account's, or those of one within it.

    Args:
        name: Whose they are, as in ``team/alice``.
        account: An account's name alone, or with those it is within.
    """
    return f"/{account}/" in f"/{name}/"
