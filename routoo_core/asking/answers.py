"""Answers stored in SQLite as they arrive: grading again is free, and a killed run continues."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple
from pathlib import Path

from routoo_core.asking.calls import Answer, Call, answer_key
from routoo_core.budget.sqlite_waits import use_write_ahead_log
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    expert TEXT NOT NULL,
    model TEXT NOT NULL,
    text TEXT NOT NULL,
    logprob REAL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cost INTEGER NOT NULL,
    latency_s REAL NOT NULL,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) WITHOUT ROWID
"""
_COLUMNS = "text, logprob, prompt_tokens, completion_tokens, cost, latency_s"
_SELECT = f"SELECT {_COLUMNS} FROM answers WHERE key = ?"  # noqa: S608
_INSERT = f"""
INSERT OR REPLACE INTO answers (key, expert, model, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608


def _check_own(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a database of something else, such as a ledger, before anything is written to it."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if tables and "answers" not in tables:
        raise ConfigurationError(
            f"answers: {path}: holds {', '.join(tables)} instead of answers; name a new file, or one that "
            "'routoo score' wrote"
        )


class AnswerStore:
    """Answers by expert, settings and a hash of the prompt: ``AnswerStore(Path("answers.db"))``.

    Prompts are not stored.

    Raises:
        ConfigurationError: The file cannot be opened, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            _check_own(self._db, path)
            use_write_ahead_log(self._db)
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(_SCHEMA)
            self._db.execute(_SELECT, ("",))  # fails where the table has other columns
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"answers: {path}: {error}; name a new file, or one that 'routoo score' wrote"
            ) from error

    def get(self, expert: Expert, call: Call) -> Answer | None:
        """The stored answer of ``expert`` to exactly this call, if there is one."""
        key = answer_key(expert, call)
        row = self._db.execute(_SELECT, (key,)).fetchone()
        return Answer(*row) if row else None

    def put(self, expert: Expert, call: Call, answer: Answer) -> None:
        """Store an answer durably; it replaces one with the same key."""
        key = answer_key(expert, call)
        row = (key, expert.name, expert.model, *astuple(answer))
        self._db.execute(_INSERT, row)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
