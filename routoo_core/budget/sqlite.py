"""The default ledger: one SQLite file, shared by threads and processes of a machine."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from routoo_core.budget.account import (
    AccountState,
    Budget,
    binding_account,
    paying,
    tightest_share,
)
from routoo_core.budget.clock import WALL_CLOCK, Clock
from routoo_core.budget.ledger import (
    DECLARED_RETENTION_S,
    FORGOTTEN_REBUILD,
    FORGOTTEN_REFUSE,
    HOLD_TTL_S,
    Cooldown,
    DeclaredLimit,
    HourlyCalls,
    KnownSpending,
    Reservation,
    amount_to_hold,
    check_on_forgotten,
)
from routoo_core.budget.outage import Outage
from routoo_core.budget.sqlite_file import (
    IN_MEMORY,
    AccountReader,
    Booking,
    add_unbooked,
    file_failure,
    find_file_id,
    open_file,
    read_expired_holds,
    recall,
)
from routoo_core.budget.sqlite_holds import (
    book,
    book_expired_holds,
    close_reservation,
    count_call,
    hold_amount,
)
from routoo_core.budget.sqlite_waits import PATIENCE_S, PROBE_S, begin_writing, set_patience
from routoo_core.errors import (
    ConfigurationError,
    HeldShareExceeded,
    LedgerError,
    LedgerForgot,
)
from routoo_core.lifetimes import PerProcess, fork_safe_lock
from routoo_core.money import NanoUsd

FILE_CHECK_S = 1.0
"""How long a file is taken to be where it was."""


@dataclass(frozen=True, slots=True)
class _Connection:
    """A connection to the file, which file that is, and the lock of the threads that share it."""

    db: sqlite3.Connection
    file_id: tuple[int, int] | None = None
    lock: Any = field(default_factory=fork_safe_lock)


class SqliteLedger:
    """Accounts in a SQLite file (WAL) or in memory: ``SqliteLedger("routoo.db")``.

    Args:
        path: The file; ``:memory:`` keeps the accounts in this process only.
        ttl: Seconds after which an open hold counts as spent, all of it: its process must have died. A
            settlement that comes later corrects that.
        clock: Tells the time.
        on_forgotten: Where the file was moved or deleted: ``refuse`` calls, or ``rebuild`` it.

    Raises:
        ConfigurationError: The file cannot be opened, is not a ledger, or has another schema.
    """

    def __init__(
        self,
        path: str | Path = IN_MEMORY,
        ttl: float = HOLD_TTL_S,
        clock: Clock = WALL_CLOCK,
        on_forgotten: str = FORGOTTEN_REFUSE,
    ) -> None:
        self.path = str(path)
        self.ttl = ttl
        self.clock = clock
        self.on_forgotten = check_on_forgotten(on_forgotten)
        self._last_check = -FILE_CHECK_S
        self._patience_s = PATIENCE_S
        # Who only reads does not wait for those who write, so the one may fail without the other.
        self._outages = {"IMMEDIATE": self._new_outage(), "DEFERRED": self._new_outage()}
        self._in_memory: _Connection | None = None
        self._opening = fork_safe_lock()
        # What is wrong with a file is said at once; accounts in memory are opened by the first call, as a model may be
        # built on an event loop, which must not wait.
        connection = None if self.path == IN_MEMORY else _open(self.path)
        self._connections = PerProcess(self._connect, connection)

    @property
    def _connection(self) -> sqlite3.Connection:
        """This process's."""
        return self._connections.get().db

    @property
    def url(self) -> str:
        """The URL that ``open_ledger`` opens it by."""
        if self.path == IN_MEMORY:
            return "memory://"
        return f"sqlite:///{Path(self.path).resolve()}"

    def __reduce__(self) -> tuple[type[SqliteLedger], tuple[str, float, Clock, str]]:
        return type(self), (self.path, self.ttl, self.clock, self.on_forgotten)

    def reserve(
        self,
        budget: Budget,
        *,
        minimum: NanoUsd,
        maximum: NanoUsd,
        enforce: bool = True,
    ) -> Reservation:
        """Hold money; see :class:`~routoo_core.budget.ledger.Ledger`."""
        now = self.clock()
        chain = paying(budget).chain
        self._check_file()
        with self._transaction("IMMEDIATE") as db:
            book_expired_holds(db, now)
            reader = AccountReader(db, now, self.ttl)
            states = [reader.current(payer) for payer in chain]

            binding = binding_account(states)
            available = binding.available if enforce else None
            amount = amount_to_hold(available, minimum, maximum)
            if amount is None:
                raise binding.refusal(minimum)
            share = tightest_share(chain, states) if enforce else None
            if share is not None:
                if share.room < minimum:
                    raise HeldShareExceeded(*share, minimum)
                amount = min(amount, share.room)

            reservation = Reservation(
                uuid.uuid4().hex, budget.account, states[0].window, amount, enforce
            )
            db.execute(
                "INSERT INTO reservations (id, amount, expires) VALUES (?, ?, ?)",
                (reservation.id, amount, now + self.ttl),
            )
            for payer, state in zip(chain, states, strict=True):
                hold_amount(db, reservation, payer, state)
        return reservation

    def settle(self, reservation: Reservation, cost: NanoUsd) -> AccountState:
        """Book the cost; see :class:`~routoo_core.budget.ledger.Ledger`."""
        now = self.clock()
        if self.on_forgotten == FORGOTTEN_REBUILD:
            self._check_file()
        with self._transaction("IMMEDIATE") as db:
            closing = close_reservation(db, reservation, "settled")
            booking = Booking(
                spent=closing.spent + cost,
                held=closing.held,
                calls=1,
                overshoot=max(0, cost - reservation.amount),
            )
            book(db, reservation.id, booking)
            count_call(db, reservation.id, now)
            reader = AccountReader(db, now, self.ttl)
            return reader.period(reservation.account, reservation.window)

    def release(self, reservation: Reservation) -> AccountState:
        """Free the hold; see :class:`~routoo_core.budget.ledger.Ledger`."""
        now = self.clock()
        with self._transaction("IMMEDIATE") as db:
            closing = close_reservation(db, reservation, "released")
            book(db, reservation.id, closing)
            reader = AccountReader(db, now, self.ttl)
            return reader.period(reservation.account, reservation.window)

    def state(self, budget: Budget) -> AccountState:
        """The account in the current window; see :class:`~routoo_core.budget.ledger.Ledger`."""
        with self._reading() as reader:
            return reader.current(budget)

    def accounts(self) -> list[AccountState]:
        """Every account in the window it last used, by name."""
        with self._reading() as reader:
            return reader.last_used()

    def history(self, account: str | None = None) -> list[AccountState]:
        """Every window of one account, or of all, by account and then oldest first.

        Of a rolling period, its slots.
        """
        with self._reading() as reader:
            return reader.history(account)

    def arrivals(self, account: str) -> list[HourlyCalls]:
        """How many calls of the account were settled in each hour, oldest first."""
        query = "SELECT hour, calls FROM arrivals WHERE account = ? ORDER BY hour"
        with self._transaction("DEFERRED") as db:
            return [HourlyCalls(*row) for row in db.execute(query, (account,))]

    def cooldowns(self) -> list[Cooldown]:
        """The last cooldown of every expert; see :class:`~routoo_core.budget.ledger.CooldownStore`."""
        query = "SELECT expert, reason, until, failures FROM cooldowns ORDER BY expert"
        with self._transaction("DEFERRED") as db:
            return [Cooldown(*row) for row in db.execute(query)]

    def set_cooldown(self, cooldown: Cooldown) -> None:
        """Remember a cooldown; see :class:`~routoo_core.budget.ledger.CooldownStore`."""
        with self._transaction("IMMEDIATE") as db:
            db.execute("INSERT OR REPLACE INTO cooldowns VALUES (?, ?, ?, ?)", astuple(cooldown))

    def clear_cooldown(self, expert: str) -> None:
        """Forget a cooldown; see :class:`~routoo_core.budget.ledger.CooldownStore`."""
        with self._transaction("IMMEDIATE") as db:
            db.execute("DELETE FROM cooldowns WHERE expert = ?", (expert,))

    def limits(self) -> list[DeclaredLimit]:
        """Every declared limit; see :class:`~routoo_core.budget.ledger.LimitStore`."""
        query = """
            SELECT account, "limit", period, rolling, source, set_at, timezone
            FROM limits ORDER BY account
        """
        with self._transaction("DEFERRED") as db:
            return [_declared_limit(row) for row in db.execute(query)]

    def set_limit(self, limit: DeclaredLimit) -> None:
        """Declare a limit; see :class:`~routoo_core.budget.ledger.LimitStore`."""
        with self._transaction("IMMEDIATE") as db:
            db.execute(
                """
                INSERT OR REPLACE INTO limits
                    (account, "limit", period, rolling, source, set_at, timezone)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                """,
                astuple(limit),
            )

    def last_declared(self, source: str) -> list[DeclaredLimit]:
        """What a file last said; see :class:`~routoo_core.budget.ledger.LimitStore`."""
        query = """
            SELECT account, "limit", period, rolling, source, set_at, timezone
            FROM declarations WHERE source = ? ORDER BY account
        """
        with self._transaction("DEFERRED") as db:
            return [_declared_limit(row) for row in db.execute(query, (source,))]

    def note_declared(self, limits: Sequence[DeclaredLimit]) -> None:
        """Remember what files say; see :class:`~routoo_core.budget.ledger.LimitStore`."""
        oldest = self.clock() - DECLARED_RETENTION_S
        with self._transaction("IMMEDIATE") as db:
            db.executemany(
                """
                INSERT OR REPLACE INTO declarations
                    (account, "limit", period, rolling, source, set_at, timezone)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                """,
                [astuple(limit) for limit in limits],
            )
            db.execute("DELETE FROM declarations WHERE set_at < ?", (oldest,))

    def claim_alert(self, account: str, window: str, percent: int) -> bool:
        """Claim an alert; see :class:`~routoo_core.budget.ledger.AlertStore`."""
        row = (account, window, percent, self.clock())
        with self._transaction("IMMEDIATE") as db:
            return db.execute("INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?)", row).rowcount > 0

    def restore(self, spending: Sequence[KnownSpending]) -> bool:
        """Go on with the file that is there now; see :class:`~routoo_core.budget.ledger.RestorableLedger`.

        A file that was deleted can be read while it is open: all that it held counts as seen.
        """
        now = self.clock()
        connection = self._connections.get()
        is_lost = self._is_lost(connection)
        if not is_lost:
            with self._transaction("IMMEDIATE") as db:
                add_unbooked(db, spending, now)
            return False

        try:
            last_spending = self._read_spending(connection)
        except LedgerError:  # it is damaged, too
            last_spending = [entry._replace(spent=entry.spent + entry.own) for entry in spending]
        self._open_anew()
        with self._transaction("IMMEDIATE") as db:
            recall(db, last_spending, now)
            add_unbooked(db, spending, now)
        return True

    def close(self) -> None:
        """Close the file."""
        connection = self._connections.get()
        with connection.lock:
            connection.db.close()

    def _check_file(self) -> None:
        """Refuse to hold money in a file that is no longer where others find it.

        It is looked at once a second, or at every step where the ledger is to be rebuilt.

        Raises:
            LedgerForgot: The file was moved, deleted or replaced.
        """
        moment = time.monotonic()
        is_checked = moment - self._last_check < FILE_CHECK_S
        if is_checked and self.on_forgotten == FORGOTTEN_REFUSE:
            return
        if self._is_lost(self._connections.get()):
            raise LedgerForgot(
                f"the ledger {self.path} was moved or deleted while it was open",
                "Put the file back",
            )
        self._last_check = moment

    def _is_lost(self, connection: _Connection) -> bool:
        """Whether the file that is open is no longer where others find it."""
        file_id = connection.file_id
        return file_id is not None and file_id != find_file_id(self.path)

    def _read_spending(self, connection: _Connection) -> list[KnownSpending]:
        """What is spent in the windows that have not passed."""
        now = self.clock()
        with self._transaction("DEFERRED", connection) as db:
            reader = AccountReader(db, now, self.ttl, read_expired_holds(db, now))
            states = reader.history(None)
        spending = []
        for state in states:
            if not state.window.has_passed(now):
                entry = KnownSpending(state.account, state.window, state.limit, state.spent)
                spending.append(entry)
        return spending

    def _open_anew(self) -> None:
        """Open the file that is there now, or a new one; calls that use the old one end with it."""
        try:
            connection = _open(self.path)
        except ConfigurationError as error:
            raise LedgerError(f"the ledger {self.path} cannot be opened anew: {error}") from error
        self._connections = PerProcess(self._connect, connection)

    @contextmanager
    def _reading(self) -> Iterator[AccountReader]:
        """Read from one state of the file, without waiting for those who write."""
        now = self.clock()
        with self._transaction("DEFERRED") as db:
            yield AccountReader(db, now, self.ttl, read_expired_holds(db, now))

    @contextmanager
    def _transaction(
        self, kind: str, connection: _Connection | None = None
    ) -> Iterator[sqlite3.Connection]:
        """``DEFERRED`` reads one state of the file; ``IMMEDIATE`` keeps others from writing.

        Raises:
            LedgerError: SQLite failed: the file is locked for too long, the disk is full.
        """
        connection = connection or self._connections.get()
        outage = self._outages[kind]
        with outage.asking() as turn, self._turn(connection), turn():
            db = connection.db
            try:
                if kind == "IMMEDIATE":
                    begin_writing(db, self._patience_s)
                else:
                    db.execute(f"BEGIN {kind}")
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    db.execute("ROLLBACK")
                raise

    def _new_outage(self) -> Outage:
        return Outage((sqlite3.Error,), lambda error: file_failure(self.path, error), self._adjust)

    def _adjust(self, is_failing: bool) -> None:
        """While the file fails, who finds out whether it still does keeps nobody waiting."""
        self._patience_s = PROBE_S if is_failing else PATIENCE_S
        with suppress(sqlite3.Error):  # it may be closed
            set_patience(self._connection, self._patience_s)

    @contextmanager
    def _turn(self, connection: _Connection) -> Iterator[None]:
        """One thread's turn to use a connection.

        Raises:
            LedgerError: Other calls of this process have used it for too long.
        """
        if not connection.lock.acquire(timeout=PATIENCE_S):
            raise LedgerError(
                f"the ledger {self.path} is used by other calls of this process for long; see whether its disk is "
                "slow. Nothing is called while it cannot be asked"
            )
        try:
            yield
        finally:
            connection.lock.release()

    def _connect(self) -> _Connection:
        """A connection for a forked child, as one to a file must not cross a fork; in memory, the copy it got."""
        if self.path != IN_MEMORY:
            return _open(self.path)
        with self._opening:
            if self._in_memory is None:
                self._in_memory = _Connection(open_file(self.path), None, self._opening)
            return self._in_memory


def _declared_limit(row: tuple[Any, ...]) -> DeclaredLimit:
    """A row of the limits."""
    account, limit, period, rolling, source, set_at, timezone = row
    return DeclaredLimit(account, limit, period, bool(rolling), source, set_at, timezone)


def _open(path: str) -> _Connection:
    db = open_file(path)
    return _Connection(db, find_file_id(path))
