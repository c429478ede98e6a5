"""Progress of long work, as protocols: the library reports it, and a caller decides how to show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a bar forward."""

    def __call__(self, steps: int, description: str | None = None, /) -> None:
        """Add ``steps``; ``description`` replaces the text beside the bar."""


class Update(Protocol):
    """Replaces the text of a status line."""

    def __call__(self, message: str, /) -> None:
        """Show ``message`` instead of the text before it."""


class Progress(Protocol):
    """Where long work reports to.

    ``routoo_integrations.cli.terminal.TerminalProgress`` draws on a terminal; :data:`SILENT` reports nothing.
    """

    def bar(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """Show a bar of ``total`` steps while the block runs."""
        ...

    def status(self, message: str) -> AbstractContextManager[Update]:
        """Show a message while the block runs."""
        ...

    def note(self, message: str) -> None:
        """Print one line that stays."""
        ...


class SilentProgress:
    """Reports nothing."""

    @contextmanager
    def bar(self, description: str, total: int) -> Iterator[Advance]:
        """Show nothing."""
        yield _ignore_advance

    @contextmanager
    def status(self, message: str) -> Iterator[Update]:
        """Show nothing."""
        yield _ignore_update

    def note(self, message: str) -> None:
        """Print nothing."""


def _ignore_advance(steps: int, description: str | None = None, /) -> None:
    pass


def _ignore_update(message: str, /) -> None:
    pass


SILENT = SilentProgress()
