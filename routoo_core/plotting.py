"""What all pictures share: colours, an empty figure, writing a PNG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import MissingDependency
from routoo_core.text import shown_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES_COLOURS = ("#1f6feb", "#8250df", "#0f766e")
"""Blue, violet and teal, for the lines a picture is about, in this order."""

REST_COLOUR = "#9ca3af"
"""Grey, for everything that is not shown by name."""

SHOWN_EXPERTS = 8
"""At most so many experts have a bar of their own in a drawing of shares."""

_DPI = 130


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


def colour_scale(count: int) -> NDArray[np.float64]:
    """At least ``count`` colours from dark violet to yellow.

    Returns:
        Red, green, blue and opacity, 0–1, shape (colours, 4).
    """
    from matplotlib import colormaps

    # The ends of the colour map are too dark and too light for bars.
    positions = np.linspace(0.05, 0.95, max(count, 2))
    return np.asarray(colormaps["viridis"](positions), dtype=np.float64)
