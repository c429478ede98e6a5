"""What the command line prints, and how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from routoo_core.progress import Advance, Update
from routoo_core.text import shown_text


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
            task = bars.add_task(shown_text(description), total=total)

            def advance(steps: int, description: str | None = None, /) -> None:
                text = None if description is None else shown_text(description)
                bars.update(task, advance=steps, description=text)

            yield advance

    @contextmanager
    def status(self, message: str) -> Iterator[Update]:
        """Show a spinner and a message while the block runs."""
        with self.console.status(Text(shown_text(message))) as status:

            def update(message: str, /) -> None:
                status.update(Text(shown_text(message)))

            yield update

    def note(self, message: str) -> None:
        """Print one line that stays."""
        self.console.print(Text(shown_text(message)), soft_wrap=True)


class PlainConsole(Console):
    """A console on which a name from outside is a text: no markup, no emoji, nothing that steers the terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """A text, or a cell of a table."""
        return super().render_str(shown_text(text), **options)


out = PlainConsole()
"""Standard output: results, for people to read or for programs. Text is printed as it is, brackets and colons too."""

err = PlainConsole(stderr=True)
"""Standard error: progress, notes, warnings and errors; text is printed as it is."""

progress = TerminalProgress(err)


def short_path(path: Path) -> str:
    """A path from the current folder where it lies below that, else from the user's own."""
    absolute = path.absolute()
    if absolute.is_relative_to(Path.cwd()):
        return str(absolute.relative_to(Path.cwd()))
    if absolute.is_relative_to(Path.home()):
        return f"~/{absolute.relative_to(Path.home())}"
    return str(path)


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
    err.print(Text.assemble(kind, shown_text(f": {error}")), soft_wrap=True)
