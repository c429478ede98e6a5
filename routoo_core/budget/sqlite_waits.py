"""Waiting for a SQLite file that other connections have locked."""

from __future__ import annotations

import random
import sqlite3
import time

BUSY_TIMEOUT_S = 30.0
"""Seconds for which a program that starts waits for a file that others use."""
PATIENCE_S = 10.0
"""Seconds for which a call waits for a file that others have locked."""
PROBE_S = 0.1
"""The same while the file has failed, as other calls of the process wait for their turn meanwhile."""
_RETRY_S = 0.01
_LONGEST_PAUSE_S = 0.001
"""Seconds between two tries to write; at random, so that processes do not try in step."""
_PRIMARY_CODE = 0xFF
"""The part of SQLite's error codes that says the kind of error."""


def use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Switch a file to write-ahead logging, which needs it for itself.

    SQLite does not wait for that by itself: of several programs that open a new file at once, all but one would fail.

    Raises:
        sqlite3.OperationalError: Others have used the file for :data:`BUSY_TIMEOUT_S`.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return


def begin_writing(db: sqlite3.Connection, patience_s: float) -> None:
    """Begin a transaction that keeps others from writing.

    While others write, it is tried again soon. SQLite's own wait sleeps for longer each time, up to 100 ms, though a
    call has the file for less than one: of two busy processes, one would wait and the other one work.

    Args:
        db: A connection of one thread at a time.
        patience_s: Seconds to wait, and what the connection waits for anything else afterwards.

    Raises:
        sqlite3.OperationalError: Others have had the file for that long, or it fails.
    """
    deadline = time.monotonic() + patience_s
    set_patience(db, 0)
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 (nothing secret hangs on it)
    finally:
        set_patience(db, patience_s)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether a statement failed since another connection has locked the file."""
    return error.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_BUSY


def set_patience(db: sqlite3.Connection, seconds: float) -> None:
    """Set for how long a connection waits for a file that others have locked."""
    db.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
