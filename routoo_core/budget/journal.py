"""Settlements that a ledger could not take: kept on disk until it can, each in a file of its own."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from routoo_core.budget.ledger import Ledger, Reservation
from routoo_core.budget.period import Window
from routoo_core.files import replacing
from routoo_core.money import NanoUsd

_SQLITE_SCHEME = "sqlite:///"
_MEMORY_SCHEME = "memory://"
_SUFFIX = ".unbooked"
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a reservation is to be closed.

    Attributes:
        reservation: The money that was held.
        cost: What the call cost, nano-USD; ``None`` gives the hold back.
    """

    reservation: Reservation
    cost: NanoUsd | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"reservation": asdict(self.reservation), "cost": self.cost}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settlement:
        """Read what :meth:`to_dict` wrote.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is unknown, or of the wrong type.
        """
        fields = dict(values["reservation"])
        fields["window"] = Window(**fields["window"])
        return cls(Reservation(**fields), values["cost"])


class Journal:
    """Settlements that wait for their ledger; safe from any thread and process.

    Args:
        folder: Where they are kept, created with the first; ``None`` keeps them in this process alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._in_memory: dict[str, Settlement] = {}
        self._lock = threading.Lock()

    def add(self, settlement: Settlement) -> None:
        """Keep a settlement; in memory where the disk fails too."""
        try:
            self._write(settlement)
        except OSError as error:
            _LOGGER.error(
                "%s cannot be written (%s); what is kept is lost with this process",
                self.folder,
                error,
            )
            self._remember(settlement)

    def settlements(self) -> list[Settlement]:
        """Everything that waits."""
        with self._lock:
            waiting = list(self._in_memory.values())
        if self.folder is None or not self.folder.is_dir():
            return waiting
        for path in sorted(self.folder.glob("*.json")):
            settlement = _read(path)
            if settlement is not None:
                waiting.append(settlement)
        return waiting

    def remove(self, settlement: Settlement) -> bool:
        """Forget a settlement, which is booked now.

        Returns:
            Whether it was there: of several processes that remove it, one hears so.
        """
        with self._lock:
            was_there = self._in_memory.pop(settlement.reservation.id, None) is not None
        if self.folder is not None:
            with suppress(OSError):
                self._path_of(settlement).unlink()
                was_there = True
        return was_there

    def _write(self, settlement: Settlement) -> None:
        if self.folder is None:
            self._remember(settlement)
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(self._path_of(settlement)) as path:
            path.touch(mode=0o600)
            with path.open("w", encoding="utf-8") as file:
                json.dump(settlement.to_dict(), file)
                file.flush()
                os.fsync(file.fileno())

    def _remember(self, settlement: Settlement) -> None:
        with self._lock:
            self._in_memory[settlement.reservation.id] = settlement

    def _path_of(self, settlement: Settlement) -> Path:
        assert self.folder is not None  # noqa: S101
        name = hashlib.sha256(settlement.reservation.id.encode()).hexdigest()[:32]
        return self.folder / f"{name}.json"


def journal_of(ledger: Ledger) -> Journal:
    """The journal of a ledger: beside its file, else in the user's folder for state; in memory for one in memory."""
    url = ledger.url
    if url.startswith(_MEMORY_SCHEME):
        return Journal(None)
    if url.startswith(_SQLITE_SCHEME):
        return Journal(Path(url.removeprefix(_SQLITE_SCHEME) + _SUFFIX))
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Journal(user_state_path("routoo") / f"{name}{_SUFFIX}")


def _read(path: Path) -> Settlement | None:
    """A settlement that was kept; ``None`` where another process has just booked it."""
    try:
        return Settlement.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOGGER.error("%s cannot be read (%s); remove it to lose what it holds", path, error)
        return None
