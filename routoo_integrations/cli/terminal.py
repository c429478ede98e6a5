"""What the command line prints, and how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from routoo_core.progress import Advance, Update


class TerminalProgress:
    """Draws the progress of long work on a console.

    Args:
        console: Where bars, status lines and notes appear.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def bar(self, description: str, total: int) -> Iterator[Advance]:
        """Show a bar of ``total`` steps while the block runs."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.console) as bars:
            task = bars.add_task(description, total=total)

            def advance(done: int, description: str | None = None, /) -> None:
                bars.update(task, advance=done, description=description)

            yield advance

    @contextmanager
    def status(self, message: str) -> Iterator[Update]:
        """Show a spinner and a message while the block runs."""
        with self.console.status(Text(message)) as status:

            def update(message: str, /) -> None:
                status.update(Text(message))

            yield update

    def note(self, message: str) -> None:
        """Print one line that stays."""
        self.console.print(Text(message), soft_wrap=True)


out = Console(markup=False, emoji=False)
"""Standard output: results, for people to read or for programs. Text is printed as it is, brackets and colons too."""

err = Console(stderr=True, markup=False, emoji=False)
"""Standard error: progress, notes, warnings and errors; text is printed as it is."""

progress = TerminalProgress(err)


def print_line(text: str) -> None:
    """Print a result on one line: without colours or line breaks of the terminal's."""
    out.print(text, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print a result for a program to read."""
    out.print_json(json.dumps(value))


def print_warning(text: str) -> None:
    """Print a line in yellow on standard error."""
    err.print(text, style="yellow", highlight=False, soft_wrap=True)


def print_note(text: str) -> None:
    """Print a dim line on standard error."""
    err.print(text, style="dim", highlight=False, soft_wrap=True)


def print_error(error: Exception) -> None:
    """Print what went wrong on standard error; a command inside it can be copied whole."""
    kind = Text(type(error).__name__, style="red")
    err.print(Text.assemble(kind, f": {error}"), soft_wrap=True)
