"""The last calls of a gateway, in a SQLite file that its processes share: decision records, without prompts.

Nobody waits for the file. Calls are noted in memory and written in batches by a thread of their own; where that fails,
the page knows less, and calls go on. What has been read once is remembered, so that each refresh of the page reads what
is new.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from routoo_core.budget.ledger import Ledger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.budget.sqlite_file import IN_MEMORY
from routoo_core.errors import LedgerError
from routoo_core.monitoring.logged_calls import RECORD_KEY, LoggedCall
from routoo_core.monitoring.routed_calls import SCALE, RoutedCall, routed_call
from routoo_core.record import DecisionRecord
from routoo_integrations.gateway.database import beside_ledger, open_database

MOST_CALLS = 2000
"""Calls that are remembered; older ones are forgotten."""
WRITE_EVERY_S = 0.3
_BUSY_S = 5.0
_PAUSE_S = 0.0001
"""Between the rows that the writer makes: calls that are being answered need the interpreter meanwhile."""
_WARN_EVERY_S = 60.0
Note = TypeVar("Note")
_LOGGER = logging.getLogger(__name__)
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS calls (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        time REAL NOT NULL,
        account TEXT NOT NULL,
        caller TEXT NOT NULL,
        wait_s REAL,
        why TEXT NOT NULL,
        record TEXT NOT NULL,
        score REAL
    )
    """,
    # Which calls were rated, in order: a reader that knows the calls asks for the scores that are new.
    "CREATE TABLE IF NOT EXISTS ratings (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL)",
    """
    CREATE TABLE IF NOT EXISTS refusals (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        time REAL NOT NULL,
        caller TEXT NOT NULL,
        status INTEGER NOT NULL,
        code TEXT NOT NULL,
        reason TEXT NOT NULL
    )
    """,
    "PRAGMA synchronous = OFF",  # nobody's money is in it
)
_INSERT = """
    INSERT OR IGNORE INTO calls (id, time, account, caller, wait_s, why, record) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_FORGET = "DELETE FROM calls WHERE number <= (SELECT MAX(number) FROM calls) - ?"
_INSERT_REFUSAL = """
    INSERT INTO refusals (id, time, caller, status, code, reason) VALUES (?, ?, ?, ?, ?, ?)
"""
_FORGET_REFUSALS = "DELETE FROM refusals WHERE number <= (SELECT MAX(number) FROM refusals) - ?"
_FORGET_RATINGS = "DELETE FROM ratings WHERE number <= (SELECT MAX(number) FROM ratings) - ?"
_SELECT = """
    SELECT number, id, time, caller, wait_s, why, record, score FROM calls WHERE number > ? ORDER BY number
"""
_SELECT_RATINGS = """
    SELECT ratings.number, calls.id, calls.score FROM ratings JOIN calls USING (id)
    WHERE ratings.number > ? ORDER BY ratings.number
"""
_SELECT_REFUSALS = """
    SELECT number, id, time, caller, status, code, reason FROM refusals WHERE number > ? ORDER BY number
"""
_RATE = "UPDATE calls SET score = ? WHERE id = ? AND (? IS NULL OR account = ? OR caller = ?)"


@dataclass(frozen=True, slots=True)
class CallEnd:
    """A call that has ended.

    Attributes:
        id: Names it in the header ``Routoo-Call``.
        time: When it ended, seconds since the epoch.
        caller: The account of the key that made it; empty without keys.
        wait_s: Seconds until its caller had the whole reply or the first event; ``None`` where there was none.
        why: Why its expert was chosen, in a sentence.
        record: The decision record.
    """

    id: str
    time: float
    caller: str
    wait_s: float | None
    why: str
    record: DecisionRecord = field(repr=False)


@dataclass(frozen=True, slots=True)
class RememberedCall:
    """A call as the file has it.

    Attributes:
        end: The call.
        routed: The same, as savings and quality are estimated from it.
        score: How good its caller found it, 0–1; ``None`` where nobody said.
    """

    end: CallEnd
    routed: RoutedCall
    score: float | None

    @property
    def has_answer(self) -> bool:
        """Whether the call got an answer, from an expert or from the cache. Otherwise every try failed."""
        record = self.end.record
        return record.cached or any(attempt.outcome == "answered" for attempt in record.attempts)

    def is_seen_by(self, account: str | None) -> bool:
        """Whether an account may see it: one that paid or called; ``None`` sees all."""
        return account is None or account in {self.end.caller, self.end.record.account}


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that no expert answered, without text of its caller.

    Attributes:
        id: As in :class:`EndedCall`, for a call that experts were asked to answer.
        time: When, seconds since the epoch.
        caller: The account of the key that made it; empty without keys.
        status: Of HTTP, as the caller was told.
        code: Likewise.
        reason: Why, in a sentence.
    """

    id: str
    time: float
    caller: str
    status: int
    code: str
    reason: str

    def is_seen_by(self, account: str | None) -> bool:
        """Whether an account may see it: the one that called; ``None`` sees all."""
        return account is None or account == self.caller


class ActivityLog:
    """Remembers the last :data:`MOST_CALLS` calls, and as many refusals; safe from any thread.

    Args:
        path: The file; it is made where it is missing, for its owner alone. ``None`` keeps the calls in memory.

    Raises:
        ConfigurationError: The file cannot be opened.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._waiting: deque[CallEnd] = deque(maxlen=MOST_CALLS)
        self._waiting_refusals: deque[RefusedCall] = deque(maxlen=MOST_CALLS)
        self._db = open_database(
            path, _SCHEMA, "the file of the last calls", _BUSY_S, "check or remove the file"
        )
        self._db_lock = threading.Lock()
        self._calls: dict[str, RememberedCall] = {}
        self._refusals: deque[RefusedCall] = deque(maxlen=MOST_CALLS)
        self._last_call = 0
        self._last_rating = 0
        self._last_refusal = 0
        self._wake = threading.Event()
        self._is_closed = False
        self._writer: threading.Thread | None = None
        self._writer_lock = threading.Lock()
        self._warned_at = -_WARN_EVERY_S

    def note(self, call: CallEnd) -> None:
        """Remember a call, soon."""
        self._waiting.append(call)
        self._write_soon()

    def note_refusal(self, refusal: RefusedCall) -> None:
        """Remember a call that no expert answered, soon."""
        self._waiting_refusals.append(refusal)
        self._write_soon()

    def refusals(self, account: str | None = None) -> list[RefusedCall]:
        """The refusals that an account may see, the latest first; ``None`` sees all.

        Raises:
            LedgerError: The file cannot be read.
        """
        self._write()
        with self._using_file() as db:
            for number, *values in db.execute(_SELECT_REFUSALS, (self._last_refusal,)):
                self._refusals.append(RefusedCall(*values))
                self._last_refusal = number
            latest = list(reversed(self._refusals))
        return [refusal for refusal in latest if refusal.is_seen_by(account)]

    def recent(self, account: str | None = None) -> list[RememberedCall]:
        """The calls that an account may see, the latest first; ``None`` sees all.

        Raises:
            LedgerError: The file cannot be read.
        """
        self._write()
        with self._using_file() as db:
            self._read_new(db)
            latest = list(reversed(self._calls.values()))
        return [call for call in latest if call.is_seen_by(account)]

    def rate(self, call_id: str, score: float, account: str | None = None) -> bool:
        """Note how good a reply was.

        Args:
            call_id: Which call's.
            score: From 0 to 1; a later one replaces it.
            account: Who says so; ``None`` may speak of any call.

        Returns:
            Whether the call is remembered, and is the account's.

        Raises:
            LedgerError: The file cannot be written.
        """
        self._write()
        with self._using_file() as db, db:
            values = (score, call_id, account, account, account)
            is_known = db.execute(_RATE, values).rowcount == 1
            if is_known:
                db.execute("INSERT INTO ratings (id) VALUES (?)", (call_id,))
                db.execute(_FORGET_RATINGS, (MOST_CALLS,))
            return is_known

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._is_closed = True
        self._wake.set()
        if self._writer is not None:
            self._writer.join()
        self._write()
        self._db.close()

    def _write_soon(self) -> None:
        if self._writer is None:
            self._start_writer()
        self._wake.set()

    def _start_writer(self) -> None:
        with self._writer_lock:
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._keep_writing, daemon=True, name="routoo-activity"
                )
                self._writer.start()

    def _keep_writing(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            time.sleep(WRITE_EVERY_S)
            self._wake.clear()
            self._write(_PAUSE_S)

    def _write(self, pause_s: float = 0.0) -> None:
        """Write what waits; what cannot be written is forgotten, and the log of the process says so.

        Args:
            pause_s: Seconds between two rows.
        """
        with self._db_lock:  # who reads next finds all that was noted before
            rows = []
            for call in _take_all(self._waiting):
                rows.append(_row_of(call))
                time.sleep(pause_s)
            refusals = [astuple(refusal) for refusal in _take_all(self._waiting_refusals)]
            if not rows and not refusals:
                return
            try:
                with self._db:
                    self._db.executemany(_INSERT, rows)
                    self._db.execute(_FORGET, (MOST_CALLS,))
                    self._db.executemany(_INSERT_REFUSAL, refusals)
                    self._db.execute(_FORGET_REFUSALS, (MOST_CALLS,))
            except sqlite3.Error as error:
                missing = len(rows) + len(refusals)
                self._warn(f"{missing} calls are missing on the page: {self.path}: {error}")

    def _warn(self, message: str) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _WARN_EVERY_S:
            self._warned_at = now
            _LOGGER.warning(message)

    @contextmanager
    def _using_file(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._db_lock:
                yield self._db
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}; check the file of the last calls") from error

    def _read_new(self, db: sqlite3.Connection) -> None:
        """Read the calls and the scores that are new, and forget the oldest calls."""
        for number, *row in db.execute(_SELECT, (self._last_call,)):
            call = _call_of(row)
            self._calls[call.end.id] = call
            self._last_call = number
        while len(self._calls) > MOST_CALLS:
            del self._calls[next(iter(self._calls))]
        for number, call_id, score in db.execute(_SELECT_RATINGS, (self._last_rating,)):
            self._last_rating = number
            earlier = self._calls.get(call_id)
            if earlier is not None:
                self._calls[call_id] = replace(earlier, score=score)


def activity_beside(ledger: Ledger, folder: Path | None) -> Path | None:
    """The file of the last calls: beside a ledger's own file, else in a folder; ``None`` where there is none."""
    is_in_file = isinstance(ledger, SqliteLedger) and ledger.path != IN_MEMORY
    if folder is None and not is_in_file:
        return None
    return beside_ledger(ledger, folder or Path(), "calls")


def _take_all(waiting: deque[Note]) -> Iterator[Note]:
    """Everything that waits, which then waits no longer."""
    while waiting:
        yield waiting.popleft()


def _call_of(row: Sequence[Any]) -> RememberedCall:
    """A row of ``_SELECT``, without its number."""
    call_id, moment, caller, wait_s, why, text, score = row
    line = {"time": moment, RECORD_KEY: json.loads(text)}
    if score is not None:
        line["score"] = score
    entry = LoggedCall("the file of the last calls", line)
    record = entry.record
    assert record is not None  # noqa: S101
    end = CallEnd(call_id, moment, caller, wait_s, why, record)
    return RememberedCall(end, routed_call(entry, record, SCALE), score)


def _row_of(call: CallEnd) -> tuple[Any, ...]:
    record = json.dumps(call.record.to_dict(), separators=(",", ":"))
    account = call.record.account or ""
    return (call.id, call.time, account, call.caller, call.wait_s, call.why, record)
