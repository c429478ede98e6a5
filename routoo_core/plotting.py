"""Pictures that commands write as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from routoo_core.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure


OWN = ("#1f6feb", "#8250df", "#0f766e")  # routers under evaluation


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def empty_figure(width: float, height: float) -> Figure:
    """An empty figure, width and height in inches.

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
