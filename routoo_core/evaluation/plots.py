"""The quality–cost picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routoo_core.measures.curve import Curve
from routoo_core.plotting import empty_figure, save_figure


@dataclass(frozen=True)
class Point:
    """A labelled point: USD per call, and quality 0–1."""

    label: str
    cost: float
    quality: float


def plot_curve(
    path: Path, curve: Curve, experts: Mapping[str, tuple[float, float]], here: Point, title: str
) -> None:
    """Draw the quality–cost curve, each expert alone, and where a run operated.

    Args:
        path: The PNG to write.
        curve: Of the router, USD per call.
        experts: Name → (USD per call, mean observed quality).
        here: The operating point.
        title: Says on what it was measured.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    figure = empty_figure(9, 5.5)
    from matplotlib.ticker import FuncFormatter

    axes = figure.add_subplot()
    best, (dearest, top) = max(experts.items(), key=lambda item: item[1][1])
    grid = np.geomspace(curve.vertices()[0][0], dearest, 400)
    axes.plot(
        grid * 1e3,
        curve.at(grid) * 100,
        color="#1f6feb",
        lw=2.2,
        label="Routoo, any budget",
        zorder=3,
    )
    axes.axhline(top * 100, color="#8b949e", lw=1, ls="--", zorder=1)
    axes.annotate(
        f"always {best}",
        (grid[0] * 1e3, top * 100),
        (0, 5),
        textcoords="offset points",
        color="#57606a",
    )
    for name, (usd, score) in experts.items():
        axes.plot(usd * 1e3, score * 100, "o", color="#57606a", ms=5, zorder=2)
        if name != best:
            axes.annotate(
                name,
                (usd * 1e3, score * 100),
                (6, -9),
                textcoords="offset points",
                fontsize=8,
                color="#57606a",
            )
    axes.plot(
        here.cost * 1e3, here.quality * 100, "*", color="#d1242f", ms=17, label=here.label, zorder=4
    )
    axes.set(
        xscale="log",
        xlabel="USD per 1,000 calls (log scale)",
        ylabel="correct answers, %",
        title=title,
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right")
    save_figure(figure, path)
