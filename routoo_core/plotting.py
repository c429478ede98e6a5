"""What all pictures share: colours, an empty figure, writing a PNG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import MissingDependency
from routoo_core.text import shown_text

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SERIES_COLOURS = ("#1f6feb", "#8250df", "#0f766e", "#dc2626", "#7a8b0e")
"""Blue, violet, teal, red and olive, for the lines a picture is about, in this order."""

SERIES_DASHES = ("-", (0, (4, 1.5)))
"""Solid, then dashed: the lines beyond the last colour."""

SERIES_MARKERS = ("D", "s")
"""A diamond, then a square: the points beyond the last colour."""

SHOWN_SERIES = len(SERIES_COLOURS) * len(SERIES_DASHES)
"""More lines than this could not be told apart."""

REST_COLOUR = "#9ca3af"
"""Grey, for everything that is not shown by name."""

SHOWN_EXPERTS = 8
"""At most so many experts have a bar of their own in a drawing of shares."""

_DPI = 130


@dataclass(frozen=True)
class SeriesStyle:
    """How one of several series is drawn: its colour, the dashes of its line, the marker of its points."""

    colour: str
    dashes: str | tuple[float, tuple[float, ...]]
    marker: str


def series_style(position: int) -> SeriesStyle:
    """The style of the series at a position; no two below ``SHOWN_SERIES`` have the same.

    Args:
        position: From 0 to ``SHOWN_SERIES - 1``.
    """
    repeats, colour = divmod(position, len(SERIES_COLOURS))
    return SeriesStyle(SERIES_COLOURS[colour], SERIES_DASHES[repeats], SERIES_MARKERS[repeats])


def empty_figure(width: float, height: float) -> Figure:
    """An empty figure.

    Args:
        width: Inches.
        height: Inches.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("matplotlib", "report", "draw figures") from error

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with labels_as_text(figure):
        figure.savefig(path, dpi=_DPI)


@contextmanager
def labels_as_text(figure: Figure) -> Iterator[None]:
    """Have every label that is drawn in this block say what it is: a ``$`` in a name begins no formula."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    for label in figure.findobj(Text):
        label.set_parse_math(False)
        label.set_text(shown_text(label.get_text()))
    with rc_context({"text.parse_math": False}):  # ticks are made when they are drawn
        yield


def label_log_scale(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, also between powers of ten where there are few of these."""
    from matplotlib.ticker import LogFormatter

    class PlainNumbers(LogFormatter):
        """Plain numbers at the ticks that matplotlib labels: its own labels are formulas."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(PlainNumbers())


def colour_scale(count: int) -> NDArray[np.float64]:
    """At least ``count`` colours from dark violet to yellow.

    Returns:
        Red, green, blue and opacity, 0–1, shape (colours, 4).
    """
    from matplotlib import colormaps

    # The ends of the colour map are too dark and too light for bars.
    positions = np.linspace(0.05, 0.95, max(count, 2))
    return np.asarray(colormaps["viridis"](positions), dtype=np.float64)
