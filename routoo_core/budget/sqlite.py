"""The default ledger: one SQLite file, shared by any number of threads and processes of a machine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from routoo_core.budget.account import AccountState, Budget, binding_account, combine_slots
from routoo_core.budget.ledger import HourlyCalls, Reservation, amount_to_hold
from routoo_core.budget.period import (
    HOUR_S,
    RETENTION_S,
    ROLLING_SPAN_S,
    Clock,
    Window,
    rolling_window,
)
from routoo_core.errors import ConfigurationError, LedgerError
from routoo_core.money import NanoUsd

SCHEMA_VERSION = 5
_SCHEMAS = [
    """
CREATE TABLE accounts (
    account TEXT NOT NULL, window TEXT NOT NULL, start REAL NOT NULL, "end" REAL, "limit" INTEGER,
    spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0,
    calls INTEGER NOT NULL DEFAULT 0, overshoot INTEGER NOT NULL DEFAULT 0, used REAL NOT NULL,
    PRIMARY KEY (account, window)
) WITHOUT ROWID;
CREATE TABLE reservations (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, window TEXT NOT NULL,
    amount INTEGER NOT NULL, estimate INTEGER NOT NULL, expires REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'settled', 'released', 'expired'))
) WITHOUT ROWID;
CREATE INDEX open_reservations ON reservations (expires) WHERE state = 'open';
PRAGMA user_version = 1;
""",
    """
CREATE TABLE holds (
    id TEXT NOT NULL, account TEXT NOT NULL, window TEXT NOT NULL, PRIMARY KEY (id, account)
) WITHOUT ROWID;
INSERT INTO holds SELECT id, account, window FROM reservations;
PRAGMA user_version = 2;
""",
    """
ALTER TABLE accounts ADD COLUMN carried INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 3;
""",
    """
ALTER TABLE accounts ADD COLUMN span REAL;
PRAGMA user_version = 4;
""",
    """
CREATE TABLE arrivals (
    account TEXT NOT NULL, hour REAL NOT NULL, calls INTEGER NOT NULL, PRIMARY KEY (account, hour)
) WITHOUT ROWID;
PRAGMA user_version = 5;
""",
]
"""What brings a file from each version to the next."""
_SELECT = 'SELECT account, window, start, "end", span, "limit", spent, held, calls, overshoot FROM accounts'


class SqliteLedger:
    """Accounts in a SQLite file (WAL), or in memory: ``SqliteLedger("routoo.db")``, ``SqliteLedger()``.

    Args:
        path: The file; ``:memory:`` keeps the accounts in this process only.
        ttl: Seconds after which an open hold is booked at its estimate: its process must have died.
        clock: Tells the time.

    Raises:
        ConfigurationError: The file cannot be opened, is not a ledger, or was written by a newer version.
    """

    def __init__(
        self, path: str | Path = ":memory:", ttl: float = 900.0, clock: Clock = time.time
    ) -> None:
        self.path, self.ttl, self.clock = str(path), ttl, clock
        self._lock = threading.RLock()
        self._connection, self._pid = self._connect(), os.getpid()

    @property
    def url(self) -> str:
        """What ``open_ledger`` opens it by."""
        return "memory://" if self.path == ":memory:" else f"sqlite:///{Path(self.path).resolve()}"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "ttl": self.ttl, "clock": self.clock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        SqliteLedger.__init__(self, **state)

    def reserve(
        self,
        budget: Budget,
        *,
        minimum: NanoUsd,
        maximum: NanoUsd,
        estimate: NanoUsd,
        enforce: bool = True,
    ) -> Reservation:
        """Hold money; see :class:`~routoo_core.budget.ledger.Ledger`."""
        now = self.clock()
        with self._transaction() as db:
            self._expire(db, now)
            states = [self._open(db, account, now) for account in budget.chain]
            state = binding_account(states)
            amount = amount_to_hold(state.available if enforce else None, minimum, maximum)
            if amount is None:
                raise state.refusal(minimum)
            held = Reservation(uuid.uuid4().hex, budget.account, states[0].window, amount, enforce)
            db.execute(
                "INSERT INTO reservations (id, account, window, amount, estimate, expires) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    held.id,
                    held.account,
                    held.window.key,
                    amount,
                    min(estimate, amount),
                    now + self.ttl,
                ),
            )
            holds = [(held.id, one.account, one.window.slot_at(now).key) for one in states]
            db.executemany("INSERT INTO holds (id, account, window) VALUES (?, ?, ?)", holds)
            self._book(db, held.id, held=amount)
        return held

    def settle(self, reservation: Reservation, cost: NanoUsd) -> AccountState:
        """Book the cost; see :class:`~routoo_core.budget.ledger.Ledger`."""
        now = self.clock()
        with self._transaction() as db:
            booked = self._close(db, reservation, "settled")
            over = max(0, cost - reservation.amount)
            self._book(db, reservation.id, spent=cost - booked, calls=1, overshoot=over)
            self._arrive(db, reservation.id, now)
            return self._read(db, reservation.account, reservation.window, now)

    def release(self, reservation: Reservation) -> AccountState:
        """Free the hold; see :class:`~routoo_core.budget.ledger.Ledger`."""
        with self._transaction() as db:
            self._book(db, reservation.id, spent=-self._close(db, reservation, "released"))
            return self._read(db, reservation.account, reservation.window, self.clock())

    def state(self, budget: Budget) -> AccountState:
        """Where the account stands in the current window."""
        now = self.clock()
        with self._transaction() as db:
            self._expire(db, now)
            return self._open(db, budget, now)

    def accounts(self) -> list[AccountState]:
        """Every account in the window it last used, by name."""
        now = self.clock()
        with self._transaction() as db:
            self._expire(db, now)
            rows = db.execute(
                'SELECT account, window, start, "end", span, max(used) FROM accounts GROUP BY account ORDER BY account'
            )
            return [
                self._read(db, account, Window(*window).period_until(now), now)
                for account, *window, _ in rows.fetchall()
            ]

    def history(self, account: str | None = None) -> list[AccountState]:
        """Every window of one account, or of all, by account and then oldest first; of a rolling period, its slots."""
        now = self.clock()
        with self._transaction() as db:
            self._expire(db, now)
            rows = db.execute(
                f"{_SELECT} WHERE ?1 IS NULL OR account = ?1 ORDER BY account, start", (account,)
            )
            return [_account_state(row, now) for row in rows]

    def arrivals(self, account: str) -> list[HourlyCalls]:
        """When the account's calls were settled, by the hour."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT hour, calls FROM arrivals WHERE account = ? ORDER BY hour", (account,)
            )
            return [HourlyCalls(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _open(self, db: sqlite3.Connection, budget: Budget, now: float) -> AccountState:
        window = budget.window(now)
        slot = window.slot_at(now)
        if budget.carry_over and not self._known(db, budget.account, window.key):
            self._carry(db, budget, window, now)
        db.execute(
            'INSERT INTO accounts (account, window, start, "end", span, "limit", used) VALUES (?, ?, ?, ?, ?, ?, ?)'
            ' ON CONFLICT DO UPDATE SET "limit" = excluded."limit" + carried, used = excluded.used',
            (budget.account, slot.key, slot.start, slot.end, slot.span, budget.limit_nano, now),
        )
        state = self._read(db, budget.account, window, now)
        return replace(state, limit=budget.limit_nano) if budget.rolling else state

    @staticmethod
    def _known(db: sqlite3.Connection, account: str, window: str) -> bool:
        query = "SELECT 1 FROM accounts WHERE account = ? AND window = ?"
        return db.execute(query, (account, window)).fetchone() is not None

    @staticmethod
    def _carry(db: sqlite3.Connection, budget: Budget, window: Window, now: float) -> None:
        """Open a window with what the one before it left."""
        before = db.execute(
            'SELECT "limit" - spent - held FROM accounts WHERE account = ? AND start < ? AND span IS NULL'
            " ORDER BY start DESC LIMIT 1",
            (budget.account, window.start),
        ).fetchone()
        left = min(max(0, (before or (0,))[0] or 0), budget.limit_nano or 0)
        db.execute(
            'INSERT INTO accounts (account, window, start, "end", used, carried) VALUES (?, ?, ?, ?, ?, ?)',
            (budget.account, window.key, window.start, window.end, now, left),
        )

    def _read(
        self, db: sqlite3.Connection, account: str, window: Window, now: float
    ) -> AccountState:
        if window.span is None:
            row = db.execute(
                f"{_SELECT} WHERE account = ? AND window = ?", (account, window.key)
            ).fetchone()
            return _account_state(row, now)
        oldest = window.slot_at(
            now - max(window.span, self.ttl)
        )  # a hold counts while it is open, however short the span
        query = f"{_SELECT} WHERE account = ? AND window BETWEEN ? AND ? ORDER BY window"
        rows = db.execute(query, (account, oldest.key, f"{window.key} ~")).fetchall()
        rows = (
            rows
            or db.execute(
                f"{query} DESC LIMIT 1", (account, window.key, f"{window.key} ~")
            ).fetchall()
        )
        return combine_slots([_account_state(row, now) for row in rows], now)

    def _expire(self, db: sqlite3.Connection, now: float) -> None:
        """Book the holds of dead processes at their estimate; a late settle corrects it."""
        late = db.execute(
            "UPDATE reservations SET state = 'expired' WHERE state = 'open' AND expires <= ?"
            " RETURNING id, amount, estimate",
            (now,),
        ).fetchall()
        for reservation, amount, estimate in late:
            self._book(db, reservation, spent=estimate, held=-amount)

    def _close(self, db: sqlite3.Connection, reservation: Reservation, state: str) -> int:
        """Close a reservation; returns what was already booked for it when it expired."""
        row = db.execute(
            "SELECT state, estimate FROM reservations WHERE id = ?", (reservation.id,)
        ).fetchone()
        if row is None or row[0] in {"settled", "released"}:
            raise LedgerError(
                f"reservation {reservation.id} is {row[0] if row else 'unknown'}; settle a hold once"
            )
        db.execute("UPDATE reservations SET state = ? WHERE id = ?", (state, reservation.id))
        if row[0] == "open":
            self._book(db, reservation.id, held=-reservation.amount)
            return 0
        return int(row[1])

    def _book(
        self,
        db: sqlite3.Connection,
        reservation: str,
        spent: int = 0,
        held: int = 0,
        calls: int = 0,
        overshoot: int = 0,
    ) -> None:
        """Add to every account that a reservation was held against."""
        db.execute(
            "UPDATE accounts SET spent = spent + ?, held = held + ?, calls = calls + ?, overshoot = overshoot + ?"
            " WHERE (account, window) IN (SELECT account, window FROM holds WHERE id = ?)",
            (spent, held, calls, overshoot, reservation),
        )

    @staticmethod
    def _arrive(db: sqlite3.Connection, reservation: str, now: float) -> None:
        """Count a call in every account; whenever an hour begins, forget what is old."""
        counted = db.execute(
            "INSERT INTO arrivals (account, hour, calls) SELECT account, ?, 1 FROM holds WHERE id = ?"
            " ON CONFLICT DO UPDATE SET calls = calls + 1 RETURNING account, calls",
            (now // HOUR_S * HOUR_S, reservation),
        ).fetchall()
        begun = [account for account, calls in counted if calls == 1]
        if begun:
            _forget(db, begun, now - RETENTION_S)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if (
                self._pid != os.getpid() and self.path != ":memory:"
            ):  # a connection must not cross a fork
                self._connection, self._pid = self._connect(), os.getpid()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(
                self.path, timeout=30, isolation_level=None, check_same_thread=False
            )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            _migrate(db, self.path)
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"ledger {self.path}: {error}; give the path of a new or a Routoo file"
            ) from error
        return db


def _account_state(row: tuple[Any, ...], now: float) -> AccountState:
    account, key, start, end, span, *amounts = row
    return AccountState(account, Window(key, start, end, span), now, *amounts)


def _forget(db: sqlite3.Connection, accounts: Sequence[str], before: float) -> None:
    """Drop calls and rolling slots of accounts, and everybody's closed reservations, that are older than ``before``.

    A slot that holds money stays, and so does the newest of each rolling period: its account may have used it last.
    """
    db.executemany(
        "DELETE FROM arrivals WHERE account = ? AND hour < ?",
        [(account, before) for account in accounts],
    )
    windows = [rolling_window(period, before) for period in ROLLING_SPAN_S]
    db.executemany(
        "DELETE FROM accounts WHERE account = ?1 AND window > ?2 AND window < ?3 AND held = 0"
        " AND window < (SELECT max(window) FROM accounts WHERE account = ?1 AND window BETWEEN ?2 AND ?2 || ' ~')",
        [
            (account, window.key, window.slot_at(before).key)
            for account in accounts
            for window in windows
        ],
    )
    closed = "SELECT id FROM reservations WHERE state <> 'open' AND expires < ?"
    for table in ("holds", "reservations"):
        db.execute(f"DELETE FROM {table} WHERE id IN ({closed})", (before,))  # noqa: S608


def _migrate(db: sqlite3.Connection, path: str) -> None:
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        db.execute("ROLLBACK")
        raise ConfigurationError(
            f"ledger {path}: written by a newer Routoo (schema {version}, this one knows {SCHEMA_VERSION}); upgrade"
        )
    for schema in _SCHEMAS[version:]:
        for statement in schema.split(";\n"):
            db.execute(statement)
    db.execute("COMMIT")
