"""What reservations write into the SQLite ledger: holds, bookings, counts of calls, and forgetting what is old.

Each function works within the transaction of its caller.
"""

from __future__ import annotations

import sqlite3

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.ledger import Reservation
from routoo_core.budget.period import (
    HOUR_S,
    RETENTION_S,
    ROLLING_SPAN_S,
    Window,
    rolling_window,
)
from routoo_core.budget.sqlite_file import Booking, newest_slot_key
from routoo_core.errors import ReservationClosed


def hold_amount(
    db: sqlite3.Connection, reservation: Reservation, budget: Budget, state: AccountState
) -> None:
    """Hold a reservation's money in one account; its first hold in a window opens that window."""
    carryover = 0
    if state.limit is not None and budget.limit_nano is not None:
        carryover = state.limit - budget.limit_nano
    slot = state.window.slot_at(state.as_of)
    row = (
        budget.account,
        slot.key,
        slot.start,
        slot.end,
        slot.span,
        state.limit,
        carryover,
        reservation.amount,
        state.as_of,
    )
    db.execute(
        """
        INSERT INTO accounts (account, window, start, "end", span, "limit", carried, held, used)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE
            SET "limit" = excluded."limit", held = held + excluded.held, used = excluded.used
        """,
        row,
    )
    db.execute(
        "INSERT INTO holds (id, account, window) VALUES (?, ?, ?)",
        (reservation.id, budget.account, slot.key),
    )


def book(db: sqlite3.Connection, reservation_id: str, booking: Booking) -> None:
    """Add to every window that a reservation is held in."""
    db.execute(
        """
        UPDATE accounts
        SET spent = spent + ?, held = held + ?, calls = calls + ?, overshoot = overshoot + ?
        WHERE (account, window) IN (SELECT account, window FROM holds WHERE id = ?)
        """,
        (booking.spent, booking.held, booking.calls, booking.overshoot, reservation_id),
    )


def book_expired_holds(db: sqlite3.Connection, now: float) -> None:
    """Book holds that were not settled in time, in full. A late settlement corrects the amount."""
    query = "SELECT id, amount FROM reservations WHERE state = 'open' AND expires <= ?"
    for reservation_id, amount in db.execute(query, (now,)).fetchall():
        db.execute("UPDATE reservations SET state = 'expired' WHERE id = ?", (reservation_id,))
        book(db, reservation_id, Booking(spent=amount, held=-amount))


def close_reservation(db: sqlite3.Connection, reservation: Reservation, outcome: str) -> Booking:
    """Close a reservation.

    Returns:
        The booking that takes its hold, or what was booked when it expired, off the accounts.
    """
    query = "SELECT state FROM reservations WHERE id = ?"
    row = db.execute(query, (reservation.id,)).fetchone()
    state = row[0] if row else "unknown"
    if state not in {"open", "expired"}:
        raise ReservationClosed(reservation.id, state)

    db.execute("UPDATE reservations SET state = ? WHERE id = ?", (outcome, reservation.id))
    if state == "expired":
        return Booking(spent=-reservation.amount)
    return Booking(held=-reservation.amount)


def count_call(db: sqlite3.Connection, reservation_id: str, now: float) -> None:
    """Count a call in each of its accounts; the first one of an hour deletes what is too old."""
    query = """
        INSERT INTO arrivals (account, hour, calls) SELECT account, ?, 1 FROM holds WHERE id = ?
        ON CONFLICT DO UPDATE SET calls = calls + 1
        RETURNING account, calls
    """
    hour_start = now // HOUR_S * HOUR_S
    rows = db.execute(query, (hour_start, reservation_id)).fetchall()
    is_first = False
    for account, calls in rows:
        if calls == 1:
            is_first = True
            _forget_account(db, account, now - RETENTION_S)
    if is_first:
        _forget_reservations(db, now - RETENTION_S)


def _forget_account(db: sqlite3.Connection, account: str, before: float) -> None:
    """Delete an account's hourly counts and rolling slots that are older than ``before``.

    A slot that holds money stays. So does the newest of each period, as the account may have used
    it last.
    """
    db.execute("DELETE FROM arrivals WHERE account = ? AND hour < ?", (account, before))
    db.execute("DELETE FROM alerts WHERE account = ? AND raised < ?", (account, before))
    for period in ROLLING_SPAN_S:
        window = rolling_window(period, before)
        _forget_slots(db, account, window, window.slot_at(before))


def _forget_slots(db: sqlite3.Connection, account: str, period: Window, before: Window) -> None:
    db.execute(
        """
        DELETE FROM accounts
        WHERE account = :account AND window > :period AND window < :before AND held = 0
            AND window < (
                SELECT max(window) FROM accounts
                WHERE account = :account AND window BETWEEN :period AND :newest
            )
        """,
        {
            "account": account,
            "period": period.key,
            "before": before.key,
            "newest": newest_slot_key(period),
        },
    )


def _forget_reservations(db: sqlite3.Connection, before: float) -> None:
    """Delete the closed reservations of all accounts that are older than ``before``."""
    closed_ids = "SELECT id FROM reservations WHERE state <> 'open' AND expires < ?"
    for table in ("holds", "reservations"):
        db.execute(f"DELETE FROM {table} WHERE id IN ({closed_ids})", (before,))  # noqa: S608
