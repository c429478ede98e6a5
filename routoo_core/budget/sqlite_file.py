"""The file of a SQLite ledger: its tables, and how accounts are read from them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from routoo_core.budget.account import AccountState, Budget, Slot, add_up_slots, carry_amount
from routoo_core.budget.ledger import KnownSpending
from routoo_core.budget.period import Window
from routoo_core.budget.sqlite_waits import (
    BUSY_TIMEOUT_S,
    PATIENCE_S,
    set_patience,
    use_write_ahead_log,
)
from routoo_core.errors import ConfigurationError, LedgerError
from routoo_core.money import NanoUsd

IN_MEMORY = ":memory:"
_LOG_PAGES = 4000
"""Pages of the write-ahead log after which a call waits until they are in the file: about every 400th."""

SCHEMA_VERSION = 7
_SCHEMA = (
    # One row for each account and window; a rolling period has a row for each of its slots.
    """
    CREATE TABLE accounts (
        account TEXT NOT NULL,
        window TEXT NOT NULL,
        start REAL NOT NULL,
        "end" REAL,
        span REAL,
        "limit" INTEGER,
        carried INTEGER NOT NULL DEFAULT 0,
        spent INTEGER NOT NULL DEFAULT 0,
        held INTEGER NOT NULL DEFAULT 0,
        calls INTEGER NOT NULL DEFAULT 0,
        overshoot INTEGER NOT NULL DEFAULT 0,
        used REAL NOT NULL,
        PRIMARY KEY (account, window)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE reservations (
        id TEXT PRIMARY KEY,
        amount INTEGER NOT NULL,
        expires REAL NOT NULL,
        state TEXT NOT NULL DEFAULT 'open'
            CHECK (state IN ('open', 'settled', 'released', 'expired'))
    ) WITHOUT ROWID
    """,
    "CREATE INDEX open_reservations ON reservations (expires) WHERE state = 'open'",
    # The windows that a reservation is held in, one in each account of its chain.
    """
    CREATE TABLE holds (
        id TEXT NOT NULL,
        account TEXT NOT NULL,
        window TEXT NOT NULL,
        PRIMARY KEY (id, account)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE arrivals (
        account TEXT NOT NULL,
        hour REAL NOT NULL,
        calls INTEGER NOT NULL,
        PRIMARY KEY (account, hour)
    ) WITHOUT ROWID
    """,
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
# Ledgers of before have no such tables; one of now is a ledger of theirs.
_ADDED_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS cooldowns (
        expert TEXT PRIMARY KEY,
        reason TEXT NOT NULL,
        until REAL NOT NULL,
        failures INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS limits (
        account TEXT PRIMARY KEY,
        "limit" INTEGER,
        period TEXT NOT NULL,
        rolling INTEGER NOT NULL,
        source TEXT NOT NULL,
        set_at REAL NOT NULL,
        timezone TEXT NOT NULL DEFAULT 'UTC'
    ) WITHOUT ROWID
    """,
    # What each file said when a program last read it, whether or not it counts.
    """
    CREATE TABLE IF NOT EXISTS declarations (
        source TEXT NOT NULL,
        account TEXT NOT NULL,
        "limit" INTEGER,
        period TEXT NOT NULL,
        rolling INTEGER NOT NULL,
        set_at REAL NOT NULL,
        timezone TEXT NOT NULL,
        PRIMARY KEY (source, account)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS alerts (
        account TEXT NOT NULL,
        window TEXT NOT NULL,
        percent INTEGER NOT NULL,
        raised REAL NOT NULL,
        PRIMARY KEY (account, window, percent)
    ) WITHOUT ROWID
    """,
    # What a file that was lost had spent, as far as anybody has seen it; part of what the accounts have spent.
    """
    CREATE TABLE IF NOT EXISTS recalled (
        account TEXT NOT NULL,
        window TEXT NOT NULL,
        spent INTEGER NOT NULL,
        PRIMARY KEY (account, window)
    ) WITHOUT ROWID
    """,
)

_SELECT_STATES = """
    SELECT account, window, start, "end", span, "limit", spent, held, calls, overshoot
    FROM accounts
"""
_SELECT_SLOTS = 'SELECT window, "end", "limit", spent, held, calls, overshoot FROM accounts'


def open_file(path: str) -> sqlite3.Connection:
    """Open a ledger's file; a new one gets its tables.

    Raises:
        ConfigurationError: The file cannot be opened, is not a ledger, or has another schema.
    """
    try:
        if path != IN_MEMORY:
            _create_private(path)
        db = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        is_new = _check_schema(db, path)
        use_write_ahead_log(db)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        if is_new:
            _create_tables(db, path)
        for statement in _ADDED_TABLES:
            db.execute(statement)
        _add_time_zones(db)
        set_patience(db, PATIENCE_S)
    except (sqlite3.Error, OSError, ValueError) as error:
        raise ConfigurationError(
            f"ledger {path}: {error}; give the path of a new file or of a ledger"
        ) from error
    return db


def find_file_id(path: str) -> tuple[int, int] | None:
    """Which file is at a path: its device and number there; ``None`` for none, and for a ledger in memory."""
    if path == IN_MEMORY:
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


_REMEDIES = (
    ("SQLITE_FULL", "make room on its disk"),
    ("SQLITE_BUSY", "another process has locked it for long; see which one has it open"),
    ("SQLITE_LOCKED", "another process has locked it for long; see which one has it open"),
    ("SQLITE_READONLY", "let this user write to the file and its folder"),
    ("SQLITE_PERM", "let this user write to the file and its folder"),
    ("SQLITE_CANTOPEN", "see that its folder is there and may be written to"),
    ("SQLITE_IOERR", "see that its disk works, and that the file was not moved or deleted"),
    ("SQLITE_CORRUPT", "restore it from a copy; the file is damaged"),
    ("SQLITE_NOTADB", "restore it from a copy; the file is no database any more"),
)
"""How the names of SQLite's errors begin → what to do."""


def file_failure(path: str, error: Exception) -> LedgerError:
    """The error of a file that SQLite cannot use, with what to do."""
    name = getattr(error, "sqlite_errorname", None) or ""
    remedy = "see that the file can be used"
    for beginning, words in _REMEDIES:
        if name.startswith(beginning):
            remedy = words
    return LedgerError(
        f"the ledger {path} failed ({error}); {remedy}. Nothing is called while it cannot be asked"
    )


def _create_private(path: str) -> None:
    """Create a file that only its owner can read, unless it is there; SQLite's files beside it get the same mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _check_schema(db: sqlite3.Connection, path: str) -> bool:
    """Whether a file is still empty; one that holds something else than a ledger is refused."""
    query = "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
    version, tables = db.execute(query).fetchone()
    if version == 0 and tables == 0:
        return True
    if version != SCHEMA_VERSION:
        db.close()
        raise ConfigurationError(
            f"ledger {path}: schema {version} is not the one this version of Routoo uses "
            f"({SCHEMA_VERSION}); name a new file in budget.ledger, "
            "or use the version that wrote this one"
        )
    return False


def _create_tables(db: sqlite3.Connection, path: str) -> None:
    """Create the tables, unless another process has done so meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    if _check_schema(db, path):
        for statement in _SCHEMA:
            db.execute(statement)
    db.execute("COMMIT")


def _add_time_zones(db: sqlite3.Connection) -> None:
    """Give the limits of ledgers of before a time zone, unless another process has done so meanwhile."""
    query = "SELECT count(*) FROM pragma_table_info('limits') WHERE name = 'timezone'"
    if db.execute(query).fetchone()[0]:
        return
    db.execute("BEGIN IMMEDIATE")
    if not db.execute(query).fetchone()[0]:
        db.execute("ALTER TABLE limits ADD COLUMN timezone TEXT NOT NULL DEFAULT 'UTC'")
    db.execute("COMMIT")


def newest_slot_key(window: Window) -> str:
    """A key that sorts after those of all slots of a rolling period."""
    return f"{window.key} ~"


@dataclass(frozen=True, slots=True)
class Booking:
    """Amounts to add to every window that a reservation is held in; nano-USD."""

    spent: NanoUsd = 0
    held: NanoUsd = 0
    calls: int = 0
    overshoot: NanoUsd = 0


ExpiredHolds = Mapping[tuple[str, str], Booking]
"""Account and key of a window → what is still to be booked there for holds that have expired."""


def read_expired_holds(db: sqlite3.Connection, now: float) -> ExpiredHolds:
    """The amounts to book for expired holds: each is booked in full, since it was not settled in time."""
    # CROSS JOIN makes SQLite start from the reservations, of which an index finds the few expired.
    query = """
        SELECT account, window, sum(amount)
        FROM reservations CROSS JOIN holds USING (id)
        WHERE state = 'open' AND expires <= ?
        GROUP BY account, window
    """
    bookings = {}
    for account, window, amount in db.execute(query, (now,)):
        bookings[account, window] = Booking(spent=amount, held=-amount)
    return bookings


def recall(db: sqlite3.Connection, spending: Sequence[KnownSpending], now: float) -> None:
    """Have each window's spending hold the most that anybody has seen of a file that was lost."""
    query = "SELECT spent FROM recalled WHERE account = ? AND window = ?"
    for entry in spending:
        key = (entry.account, entry.window.key)
        row = db.execute(query, key).fetchone()
        last_recall = 0 if row is None else row[0]
        if entry.spent > last_recall:
            db.execute("INSERT OR REPLACE INTO recalled VALUES (?, ?, ?)", (*key, entry.spent))
            _add_spending(db, entry, entry.spent - last_recall, now)


def add_unbooked(db: sqlite3.Connection, spending: Sequence[KnownSpending], now: float) -> None:
    """Book what calls cost whose holds were lost."""
    for entry in spending:
        if entry.unbooked:
            _add_spending(db, entry, entry.unbooked, now)


def _add_spending(
    db: sqlite3.Connection, entry: KnownSpending, amount: NanoUsd, now: float
) -> None:
    window = entry.window
    row = (
        entry.account,
        window.key,
        window.start,
        window.end,
        window.span,
        entry.limit,
        amount,
        now,
    )
    db.execute(
        """
        INSERT INTO accounts (account, window, start, "end", span, "limit", spent, used)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET spent = spent + excluded.spent
        """,
        row,
    )


@dataclass(frozen=True, slots=True)
class AccountReader:
    """Reads accounts at one moment, and writes nothing.

    Attributes:
        db: In a transaction, so that everything is read from one state of the file.
        now: The moment, seconds since the epoch.
        ttl: Seconds for which a hold may stay open.
        expired_holds: Counted as if they were booked.
    """

    db: sqlite3.Connection
    now: float
    ttl: float
    expired_holds: ExpiredHolds = field(default_factory=dict)

    def current(self, budget: Budget) -> AccountState:
        """The account in the budget's current window, also where no call has used that yet."""
        window = budget.window(self.now)
        if window.span is None:
            return self._current_window(budget, window)

        limit = budget.limit_nano
        slots = self._slots(budget.account, window)
        slot = window.slot_at(self.now)
        if all(window_slot.key != slot.key for window_slot in slots):
            slots.append(Slot(slot.key, slot.end or self.now, limit))
            slots.sort(key=lambda slot: slot.end)
        return add_up_slots(budget.account, window, limit, slots, self.now)

    def period(self, account: str, window: Window) -> AccountState:
        """The account in a window that it has used; of a rolling period, all its slots together."""
        if window.span is None:
            query = f"{_SELECT_STATES} WHERE account = ? AND window = ?"
            row = self.db.execute(query, (account, window.key)).fetchone()
            return self._state(row)

        slots = self._slots(account, window) or [self._last_slot(account, window)]
        return add_up_slots(account, window, slots[-1].limit, slots, self.now)

    def last_used(self) -> list[AccountState]:
        """Every account in the window it last used, by name."""
        # Beside max(), SQLite takes the other columns from the row that has the maximum.
        query = """
            SELECT account, window, start, "end", span, max(used) FROM accounts
            GROUP BY account ORDER BY account
        """
        states = []
        for account, key, start, end, span, _ in self.db.execute(query).fetchall():
            window = Window(key, start, end, span).period_until(self.now)
            states.append(self.period(account, window))
        return states

    def history(self, account: str | None) -> list[AccountState]:
        """Every window of one account or of all, by account and then oldest first."""
        query = f"{_SELECT_STATES} WHERE ?1 IS NULL OR account = ?1 ORDER BY account, start"
        return [self._state(row) for row in self.db.execute(query, (account,))]

    def _current_window(self, budget: Budget, window: Window) -> AccountState:
        query = """
            SELECT start, carried, spent, held, calls, overshoot FROM accounts
            WHERE account = ? AND window = ?
        """
        row = self.db.execute(query, (budget.account, window.key)).fetchone()
        if row is None:
            row = (window.start, self._carry_into(window, budget), 0, 0, 0, 0)
        # A run starts with its first call.
        start, carryover, *amounts = row
        window = Window(window.key, start, window.end)
        limit = budget.limit_nano
        if limit is not None:
            limit += carryover
        state = AccountState(budget.account, window, self.now, limit, *amounts)
        return self._with_expired_holds(state)

    def _carry_into(self, window: Window, budget: Budget) -> NanoUsd:
        """What the last run or calendar window of an account leaves for ``window``."""
        if not budget.carry_over:
            return 0
        query = f"""
            {_SELECT_STATES}
            WHERE account = ? AND start < ? AND span IS NULL
            ORDER BY start DESC LIMIT 1
        """
        row = self.db.execute(query, (budget.account, window.start)).fetchone()
        previous = None if row is None else self._state(row)
        return carry_amount(budget, window, previous)

    def _slots(self, account: str, window: Window) -> list[Slot]:
        """The slots of a rolling period, oldest first, as far back as they can matter."""
        # A hold counts while it is open, however short the span.
        reach = max(window.span or 0.0, self.ttl)
        oldest = window.slot_at(self.now - reach)
        query = f"{_SELECT_SLOTS} WHERE account = ? AND window BETWEEN ? AND ? ORDER BY window"
        rows = self.db.execute(query, (account, oldest.key, newest_slot_key(window)))
        slots = [Slot(*row) for row in rows]
        if not self.expired_holds:
            return slots
        return [self._slot_with_expired_holds(account, slot) for slot in slots]

    def _last_slot(self, account: str, window: Window) -> Slot:
        """The newest slot that an account has used of a rolling period."""
        query = f"""
            {_SELECT_SLOTS} WHERE account = ? AND window BETWEEN ? AND ?
            ORDER BY window DESC LIMIT 1
        """
        row = self.db.execute(query, (account, window.key, newest_slot_key(window))).fetchone()
        return self._slot_with_expired_holds(account, Slot(*row))

    def _state(self, row: tuple[Any, ...]) -> AccountState:
        """A row of ``_SELECT_STATES``."""
        account, key, start, end, span, *amounts = row
        window = Window(key, start, end, span)
        return self._with_expired_holds(AccountState(account, window, self.now, *amounts))

    def _with_expired_holds(self, state: AccountState) -> AccountState:
        booking = self.expired_holds.get((state.account, state.window.key))
        if booking is None:
            return state
        return replace(state, spent=state.spent + booking.spent, held=state.held + booking.held)

    def _slot_with_expired_holds(self, account: str, slot: Slot) -> Slot:
        booking = self.expired_holds.get((account, slot.key))
        if booking is None:
            return slot
        return slot._replace(spent=slot.spent + booking.spent, held=slot.held + booking.held)
