"""SQLite files of the gateway: beside the ledger, for their owner alone, shared by all of its processes."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from routoo_core.budget.ledger import Ledger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.budget.sqlite_file import IN_MEMORY
from routoo_core.budget.sqlite_waits import use_write_ahead_log
from routoo_core.errors import ConfigurationError


def beside_ledger(ledger: Ledger, folder: Path, name: str) -> Path:
    """The path of one of the gateway's files: next to the ledger's file if it has one, else in a folder.

    Args:
        ledger: Keeps the accounts.
        folder: The folder of the configuration.
        name: The file's content in a word, such as ``keys`` for ``routoo.keys.db``.
    """
    if isinstance(ledger, SqliteLedger) and ledger.path != IN_MEMORY:
        return Path(ledger.path).with_suffix(f".{name}.db")
    return folder / f"routoo.{name}.db"


def open_database(
    path: Path | None, schema: tuple[str, ...], about: str, busy_timeout_s: float, remedy: str
) -> sqlite3.Connection:
    """Open a file, and make it where it is missing; the connection may be used from any thread.

    Args:
        path: The file; ``None`` keeps everything in memory.
        schema: Statements that make its tables where they are missing.
        about: What is in it, for the error.
        busy_timeout_s: Seconds to wait for other processes that write.
        remedy: What to do where it cannot be opened, for the error.

    Raises:
        ConfigurationError: It cannot be opened.
    """
    try:
        if path is not None:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        place = IN_MEMORY if path is None else path
        db = sqlite3.connect(place, timeout=busy_timeout_s, check_same_thread=False)
        if path is not None:
            use_write_ahead_log(db)
        with db:
            for statement in schema:
                db.execute(statement)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"{path}: {about} cannot be opened ({error}); {remedy}") from error
    return db
