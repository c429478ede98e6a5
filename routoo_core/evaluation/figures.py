"""Pictures that commands write as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo_core.errors import MissingDependency
from routoo_core.evaluation.curve import Curve
from routoo_core.universe import Universe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from routoo_core.evaluation.feedback_run import Week

OWN = ("#1f6feb", "#8250df", "#0f766e")  # routers under evaluation
SHOWN_EXPERTS = 8  # named in a drawing of shares; the others are drawn together
_LINEAR_BELOW = 10
SHOWN_WEEKS = 13  # dates below a drawing of weeks, so that they can be read
FEWEST_WEEKS = 4  # that a drawing has room for, so that a single week is no wall


@dataclass(frozen=True)
class Point:
    """A labelled point: USD per call, and quality 0–1."""

    label: str
    cost: float
    quality: float


def plot_curve(path: Path, curve: Curve, experts: Mapping[str, tuple[float, float]], here: Point, title: str) -> None:
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
    axes.plot(grid * 1e3, curve.at(grid) * 100, color="#1f6feb", lw=2.2, label="Routoo, any budget", zorder=3)
    axes.axhline(top * 100, color="#8b949e", lw=1, ls="--", zorder=1)
    axes.annotate(f"always {best}", (grid[0] * 1e3, top * 100), (0, 5), textcoords="offset points", color="#57606a")
    for name, (usd, score) in experts.items():
        axes.plot(usd * 1e3, score * 100, "o", color="#57606a", ms=5, zorder=2)
        if name != best:
            axes.annotate(
                name, (usd * 1e3, score * 100), (6, -9), textcoords="offset points", fontsize=8, color="#57606a"
            )
    axes.plot(here.cost * 1e3, here.quality * 100, "*", color="#d1242f", ms=17, label=here.label, zorder=4)
    axes.set(xscale="log", xlabel="USD per 1,000 calls (log scale)", ylabel="correct answers, %", title=title)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right")
    _save(figure, path)


def plot_coverage(path: Path, found: Universe, known: Sequence[float] | None) -> None:
    """Draw what each expert added to the coverage, as observed and without luck.

    Args:
        path: The PNG to write.
        found: The universe.
        known: Coverage corrected for chance after each expert, where it can be told.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    figure = empty_figure(9, 5.5)
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()

    sizes = range(1, len(found.experts) + 1)
    axes.plot(sizes, np.array(found.coverage) * 100, "o-", color="#1f6feb", ms=4, label="covered (Eq. 2)")
    if known:
        axes.plot(sizes, np.array(known) * 100, "o-", color="#57606a", ms=4, label="without luck")
    axes.axhline(found.bound * 100, color="#d1242f", lw=1, ls="--", label="no set of this size covers more")
    axes.set(xlabel="experts", ylabel="prompts somebody answers, %", title="What each expert adds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(loc="center right")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def plot_replay(path: Path, calls: Sequence[Any], limit: float | None, title: str) -> None:
    """Draw what a replay spent, λ, the score so far and whom it refused, over time.

    Args:
        path: The PNG to write.
        calls: ``replay_run.Call`` of the replay.
        limit: USD of all periods together.
        title: Says what was replayed.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    figure = empty_figure(9, 8)
    money, price, score = figure.subplots(3, 1, sharex=True)
    hours = [(call.time - calls[0].time) / 3600 for call in calls]
    money.plot(hours, np.cumsum([call.cost / 1e9 for call in calls]), color=OWN[0], label="spent")
    if limit is not None:
        money.axhline(limit, color="black", ls=":", label="limit")
    money.set(ylabel="USD", title=title)
    priced = [(hour, call.price) for hour, call in zip(hours, calls, strict=True) if call.price is not None]
    price.plot([hour for hour, _ in priced], [value for _, value in priced], color=OWN[1], lw=0.8)
    price.set(ylabel="λ, quality per USD")
    if highest := max((value for _, value in priced), default=0.0):
        price.set_yscale("symlog", linthresh=highest / _LINEAR_BELOW, subs=[2, 5])  # λ is 0 while money is left over
        price.yaxis.set_major_formatter("{x:g}")
        price.yaxis.set_minor_formatter("{x:g}")
    seen = np.cumsum([call.score for call in calls]) / np.arange(1, len(calls) + 1)
    score.plot(hours, seen, color=OWN[2], label="mean score so far")
    refused = [hour for hour, call in zip(hours, calls, strict=True) if call.expert is None]
    score.plot(refused, np.zeros(len(refused)), "|", color="#d1242f", label=f"refused ({len(refused)})")
    score.set(ylabel="score", xlabel="hours since the first call", ylim=(-0.02, 1))
    for axes in (money, score):
        axes.legend(frameon=False)
    _save(figure, path)


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
    _save(figure, path)


def _draw_money(axes: Axes, places: Sequence[int], weeks: Sequence[Week], against: str) -> None:
    """USD a week: bars of what was spent, through the router, and by one expert alone."""
    bars = [(f"all on {against}", "#d0d7de", [week.against for week in weeks])]
    if any(week.shadow for week in weeks):
        bars.append(("really spent, where known", "#57606a", [week.spent or 0 for week in weeks]))
        bars.append(("routed (shadow: expected)", OWN[0], [week.routed for week in weeks]))
    else:
        bars.append(("spent", OWN[0], [week.routed for week in weeks]))
    width = 0.8 / len(bars)
    for number, (label, colour, amounts) in enumerate(bars):
        left = [place - 0.4 + number * width for place in places]
        axes.bar(left, amounts, width, align="edge", color=colour, label=label)
    axes.set(ylabel="USD a week")


def _draw_opinions(axes: Axes, places: Sequence[int], weeks: Sequence[Week]) -> None:
    """Predicted quality, and feedback with the drift's interval around it, red where that excludes zero."""
    axes.set(ylabel="quality, 0–1", ylim=(-0.03, 1.03))
    told = [(place, week.opinion) for place, week in zip(places, weeks, strict=True) if week.opinion.judged]
    if not told:
        axes.text(0.5, 0.5, "no feedback", transform=axes.transAxes, ha="center", va="center", color="#57606a")
        return
    at = np.array([place for place, _ in told])
    predicted, feedback = np.array([(one.predicted, one.feedback) for _, one in told], dtype=np.float64).T
    ends = np.array([one.interval or (one.drift, one.drift) for _, one in told], dtype=np.float64).T
    arms = np.abs(ends - (feedback - predicted))
    alone, drifts = np.array([(one.interval is None, one.drifts) for _, one in told]).T
    axes.plot(at, predicted, "_-", color=OWN[1], ms=min(14, 400 / (1 + at[-1])), mew=2, lw=1, label="predicted")
    if alone.any():
        axes.plot(at[alone], feedback[alone], "o", color=OWN[2], mfc="none", label="feedback, one call")
    for kept, colour, label in (
        (~(alone | drifts), OWN[2], "feedback, 95 %"),
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
    for name, colour in zip(named, colormaps["viridis"](np.linspace(0.05, 0.95, max(len(named), 2))), strict=False):
        shares = np.array([week.shares.get(name, 0.0) for week in weeks])
        axes.bar(places, shares, 0.8, bottom, color=colour, label=name)
        bottom += shares
    if len(counts) > len(named):
        axes.bar(places, 1 - bottom, 0.8, bottom, color="#9ca3af", label="others")
    axes.set(ylabel="share of the calls", ylim=(0, 1))


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
