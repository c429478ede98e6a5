"""Answers kept in a SQLite file as they come: grading again costs nothing, and a killed run goes on where it was."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple
from pathlib import Path

from routoo_core.asking.calls import Answer, Call, answer_key
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, expert TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL, logprob REAL,
    prompt_tokens INTEGER, completion_tokens INTEGER, cost INTEGER NOT NULL, latency_s REAL NOT NULL,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) WITHOUT ROWID
"""
_FIELDS = "text, logprob, prompt_tokens, completion_tokens, cost, latency_s"


class AnswerStore:
    """Answers by expert, settings and a hash of the prompt: ``AnswerStore(Path("answers.db"))``; prompts are not kept.

    Raises:
        ConfigurationError: The file cannot be opened, or is something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(_SCHEMA)
            self._db.execute(f"SELECT {_FIELDS} FROM answers LIMIT 1")  # noqa: S608
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"--answers: {path}: {error}; name a new file, or one of routoo score"
            ) from error

    def get(self, expert: Expert, call: Call) -> Answer | None:
        """What ``expert`` answered when it was asked just this."""
        query = f"SELECT {_FIELDS} FROM answers WHERE key = ?"  # noqa: S608
        found = self._db.execute(query, (answer_key(expert, call),)).fetchone()
        return Answer(*found) if found else None

    def put(self, expert: Expert, call: Call, answer: Answer) -> None:
        """Keep an answer, durably from here on; one of the same key is replaced."""
        self._db.execute(
            f"INSERT OR REPLACE INTO answers (key, expert, model, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (answer_key(expert, call), expert.name, expert.model, *astuple(answer)),
        )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
