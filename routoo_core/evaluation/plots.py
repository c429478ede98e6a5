"""The quality–cost picture of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from routoo_core.measures.curve import Curve
from routoo_core.plotting import SERIES_COLOURS, empty_figure, label_log_scale, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXPERT_COLOUR = "#57606a"
BEST_EXPERT_COLOUR = "#8b949e"
RUN_COLOUR = "#d1242f"

_GRID_SIZE = 400
_CALLS = 1e3
"""Costs are drawn per this many calls."""


@dataclass(frozen=True)
class Point:
    """A labelled point: USD per call, and quality 0–1."""

    label: str
    cost: float
    quality: float


def plot_curve(
    path: Path,
    curve: Curve,
    experts: Mapping[str, tuple[float, float]],
    here: Point,
    title: str,
    quality_label: str = "correct answers, %",
) -> None:
    """Draw the quality–cost curve, each expert alone, and where a run operated.

    Args:
        path: The PNG to write.
        curve: Of the router, USD per call.
        experts: Name → (USD per call, mean quality).
        here: The run's mean cost and quality.
        title: The title of the picture.
        quality_label: The label of the quality axis.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    figure = empty_figure(9, 5.5)
    axes = figure.add_subplot()
    best = max(experts, key=lambda name: experts[name][1])

    best_cost, best_quality = experts[best]
    costs, _ = curve.vertices()
    grid = np.geomspace(costs[0], best_cost, _GRID_SIZE)

    _draw_curve(axes, curve, grid)
    axes.axhline(best_quality * 100, color=BEST_EXPERT_COLOUR, lw=1, ls="--", zorder=1)
    _annotate(axes, f"always {best}", (grid[0] * _CALLS, best_quality * 100), offset=(0, 5))
    _draw_experts(axes, experts, best)
    _draw_run(axes, here)
    _scale_axes(axes, title, quality_label)
    save_figure(figure, path)


def _draw_curve(axes: Axes, curve: Curve, grid: np.ndarray) -> None:
    axes.plot(
        grid * _CALLS,
        curve.at(grid) * 100,
        color=SERIES_COLOURS[0],
        lw=2.2,
        label="Routoo, any budget",
        zorder=3,
    )


def _draw_experts(axes: Axes, experts: Mapping[str, tuple[float, float]], best: str) -> None:
    for name, (cost, quality) in experts.items():
        point = (cost * _CALLS, quality * 100)
        axes.plot(*point, "o", color=EXPERT_COLOUR, ms=5, zorder=2)
        if name != best:
            _annotate(axes, name, point, offset=(6, -9), fontsize=8)


def _annotate(
    axes: Axes,
    text: str,
    point: tuple[float, float],
    offset: tuple[int, int],
    fontsize: int | None = None,
) -> None:
    """Write a text beside a point; the offset is in points."""
    axes.annotate(
        text, point, offset, textcoords="offset points", fontsize=fontsize, color=EXPERT_COLOUR
    )


def _draw_run(axes: Axes, here: Point) -> None:
    axes.plot(
        here.cost * _CALLS,
        here.quality * 100,
        "*",
        color=RUN_COLOUR,
        ms=17,
        label=here.label,
        zorder=4,
    )


def _scale_axes(axes: Axes, title: str, quality_label: str) -> None:
    axes.set(
        xscale="log",
        xlabel="USD per 1,000 calls (log scale)",
        ylabel=quality_label,
        title=title,
    )
    label_log_scale(axes.xaxis)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right")
