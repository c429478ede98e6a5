"""The picture of the weekly feedback."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from routoo_core.monitoring.feedback import Week
from routoo_core.plotting import SERIES_COLOURS, SHOWN_EXPERTS, empty_figure, save_figure

SHOWN_WEEKS = 13  # dates below a drawing of weeks, so that they can be read


FEWEST_WEEKS = 4  # that a drawing has room for, so that a single week is no wall


def plot_feedback(path: Path, weeks: Sequence[Week], against: str, title: str) -> None:
    """Draw what each week cost, what people thought beside what was predicted, and who was asked.

    Args:
        path: The PNG to write.
        weeks: At least one, oldest first; weeks without calls stay empty.
        against: The expert everything is held against.
        title: Says whose calls these are.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    figure = empty_figure(9, 9)
    axes = figure.subplots(3, 1, sharex=True)
    places = [(week.week - weeks[0].week).days // 7 for week in weeks]
    _draw_money(axes[0], places, weeks, against)
    _draw_opinions(axes[1], places, weeks)
    _draw_asked(axes[2], places, weeks)
    axes[0].set_title(title)
    shown = range(0, places[-1] + 1, places[-1] // SHOWN_WEEKS + 1)
    labels = [(weeks[0].week + timedelta(weeks=place)).isoformat() for place in shown]
    axes[2].set_xticks(shown, labels, rotation=30, ha="right")
    margin = max(1.2, FEWEST_WEEKS - places[-1]) / 2
    axes[2].set(xlim=(-margin, places[-1] + margin), xlabel="week from Monday")
    for one in axes:
        if one.get_legend_handles_labels()[0]:
            one.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
        one.grid(axis="y", alpha=0.25)
        one.set_axisbelow(True)
    save_figure(figure, path)


def _draw_money(axes: Axes, places: Sequence[int], weeks: Sequence[Week], against: str) -> None:
    """USD a week: bars of what was spent, through the router, and by one expert alone."""
    bars = [(f"all on {against}", "#d0d7de", [week.against for week in weeks])]
    if any(week.shadow for week in weeks):
        bars.append(("really spent, where known", "#57606a", [week.spent or 0 for week in weeks]))
        bars.append(
            ("routed (shadow: expected)", SERIES_COLOURS[0], [week.routed for week in weeks])
        )
    else:
        bars.append(("spent", SERIES_COLOURS[0], [week.routed for week in weeks]))
    width = 0.8 / len(bars)
    for number, (label, colour, amounts) in enumerate(bars):
        left = [place - 0.4 + number * width for place in places]
        axes.bar(left, amounts, width, align="edge", color=colour, label=label)
    axes.set(ylabel="USD a week")


def _draw_opinions(axes: Axes, places: Sequence[int], weeks: Sequence[Week]) -> None:
    """Predicted quality, and feedback with the drift's interval around it, red where that excludes zero."""
    axes.set(ylabel="quality, 0–1", ylim=(-0.03, 1.03))
    told = [
        (place, week.stats) for place, week in zip(places, weeks, strict=True) if week.stats.judged
    ]
    if not told:
        axes.text(
            0.5,
            0.5,
            "no feedback",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color="#57606a",
        )
        return
    at = np.array([place for place, _ in told])
    predicted, feedback = np.array(
        [(one.predicted, one.feedback) for _, one in told], dtype=np.float64
    ).T
    ends = np.array([one.interval or (one.drift, one.drift) for _, one in told], dtype=np.float64).T
    arms = np.abs(ends - (feedback - predicted))
    alone, drifts = np.array([(one.interval is None, one.drifts) for _, one in told]).T
    axes.plot(
        at,
        predicted,
        "_-",
        color=SERIES_COLOURS[1],
        ms=min(14, 400 / (1 + at[-1])),
        mew=2,
        lw=1,
        label="predicted",
    )
    if alone.any():
        axes.plot(
            at[alone],
            feedback[alone],
            "o",
            color=SERIES_COLOURS[2],
            mfc="none",
            label="feedback, one call",
        )
    for kept, colour, label in (
        (~(alone | drifts), SERIES_COLOURS[2], "feedback, 95 %"),
        (drifts, "#d1242f", "feedback, drifting"),
    ):
        if kept.any():
            bars = (at[kept], feedback[kept], arms[:, kept])
            axes.errorbar(*bars, fmt="o", color=colour, ms=5, capsize=3, label=label)


def _draw_asked(axes: Axes, places: Sequence[int], weeks: Sequence[Week]) -> None:
    """Share of each week's calls by the router's choice; those with the fewest calls together."""
    counts: dict[str, float] = {}
    for week in weeks:
        for name, share in week.shares.items():
            counts[name] = counts.get(name, 0) + share * week.calls
    named = sorted(counts, key=lambda name: -counts[name])[:SHOWN_EXPERTS]
    from matplotlib import colormaps

    bottom = np.zeros(len(weeks))
    for name, colour in zip(
        named, colormaps["viridis"](np.linspace(0.05, 0.95, max(len(named), 2))), strict=False
    ):
        shares = np.array([week.shares.get(name, 0.0) for week in weeks])
        axes.bar(places, shares, 0.8, bottom, color=colour, label=name)
        bottom += shares
    if len(counts) > len(named):
        axes.bar(places, 1 - bottom, 0.8, bottom, color="#9ca3af", label="others")
    axes.set(ylabel="share of the calls", ylim=(0, 1))
