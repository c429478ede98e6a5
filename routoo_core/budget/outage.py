"""A store that fails is asked by one caller at a time; the others are refused at once, so that they do not pile up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from routoo_core.errors import LedgerError, LedgerUnavailable
from routoo_core.lifetimes import PerProcess

Turn = Callable[[], AbstractContextManager[None]]
"""Opens the block in which the store is asked, for a caller that may."""


@dataclass(slots=True)
class _Standing:
    """How the store does, as one process knows it."""

    problem: str | None = None
    probing: threading.Lock = field(default_factory=threading.Lock)


class Outage:
    """Notes that a store fails until it answers again; safe from any thread.

    ::

        with outage.asking() as turn:
            with lock, turn():  # it may have begun to fail while this waited
                read_rows()

    Args:
        errors: What the store raises where it fails.
        failure_of: What is raised instead.
        adjust: Told after each failure that the store fails, and once that it answers again.
    """

    def __init__(
        self,
        errors: tuple[type[Exception], ...],
        failure_of: Callable[[Exception], LedgerError],
        adjust: Callable[[bool], None] | None = None,
    ) -> None:
        self._errors = errors
        self._failure_of = failure_of
        self._adjust = adjust
        self._standings: PerProcess[_Standing] = PerProcess(_Standing)

    @property
    def is_on(self) -> bool:
        """Whether the last access to the store failed."""
        return self._standings.get().problem is not None

    @contextmanager
    def asking(self) -> Iterator[Turn]:
        """Ask the store, in a block that the yielded function opens; :meth:`_turn` says what that raises.

        Raises:
            LedgerUnavailable: It fails, and another caller finds out whether it still does.
        """
        standing = self._standings.get()
        if standing.problem is None:
            yield lambda: self._turn(standing, may_probe=False)
            return
        if not standing.probing.acquire(blocking=False):
            raise LedgerUnavailable(standing.problem)
        try:
            yield lambda: self._turn(standing, may_probe=True)
        finally:
            standing.probing.release()

    @contextmanager
    def _turn(self, standing: _Standing, may_probe: bool) -> Iterator[None]:
        """Ask the store in this block, and note how it does.

        Raises:
            LedgerUnavailable: It has begun to fail for another caller.
            LedgerError: It fails.
        """
        if standing.problem is not None and not may_probe:
            raise LedgerUnavailable(standing.problem)
        try:
            yield
        except self._errors as error:
            failure = self._failure_of(error)
            standing.problem = str(failure)
            self._tell(True)
            raise failure from error
        except LedgerError:  # nothing is known of the store
            raise
        except Exception:
            self._note_answer(standing)
            raise
        self._note_answer(standing)

    def _note_answer(self, standing: _Standing) -> None:
        if standing.problem is not None:
            self._tell(False)
            standing.problem = None

    def _tell(self, is_on: bool) -> None:
        if self._adjust is not None:
            self._adjust(is_on)
