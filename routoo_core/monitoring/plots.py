"""The picture of the weekly feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from routoo_core.measures.curve import Array
from routoo_core.plotting import (
    REST_COLOUR,
    SERIES_COLOURS,
    SHOWN_EXPERTS,
    colour_scale,
    empty_figure,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from routoo_core.monitoring.feedback import Week

SHOWN_WEEKS = 13
"""At most so many dates stand below a drawing, so that they can be read."""
FEWEST_WEEKS = 4
"""A drawing has room for at least so many weeks, so that the bars of a single week stay narrow."""

AGAINST_COLOUR = "#d0d7de"
SPENT_COLOUR = "#57606a"
DRIFT_COLOUR = "#d1242f"

_BAR_WIDTH = 0.8  # of a week


def plot_feedback(path: Path, weeks: Sequence[Week], against: str, title: str) -> None:
    """Draw what each week cost, feedback beside predictions, and each expert's share of the calls.

    Args:
        path: The PNG to write.
        weeks: At least one, oldest first; weeks without calls stay empty.
        against: The expert that everything is compared with.
        title: Whose calls these are.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    figure = empty_figure(9, 9)
    money_axes, feedback_axes, share_axes = figure.subplots(3, 1, sharex=True)
    positions = [(week.week - weeks[0].week).days // 7 for week in weeks]

    _draw_money(money_axes, positions, weeks, against)
    _draw_feedback(feedback_axes, positions, weeks)
    _draw_choice_shares(share_axes, positions, weeks)
    money_axes.set_title(title)
    _label_weeks(share_axes, positions[-1], weeks[0])
    for axes in (money_axes, feedback_axes, share_axes):
        _add_legend_and_grid(axes)
    save_figure(figure, path)


def _label_weeks(axes: Axes, last_position: int, first_week: Week) -> None:
    """Dates below the drawing, at most ``SHOWN_WEEKS`` of them."""
    step = last_position // SHOWN_WEEKS + 1
    ticks = range(0, last_position + 1, step)
    labels = []
    for position in ticks:
        monday = first_week.week + timedelta(weeks=position)
        labels.append(monday.isoformat())
    axes.set_xticks(ticks, labels, rotation=30, ha="right")

    margin = max(1.2, FEWEST_WEEKS - last_position) / 2
    axes.set_xlim(-margin, last_position + margin)
    axes.set_xlabel("week from Monday")


def _add_legend_and_grid(axes: Axes) -> None:
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


@dataclass(frozen=True)
class _Bars:
    """One bar a week."""

    label: str
    colour: str
    amounts: list[float]


def _draw_money(axes: Axes, positions: Sequence[int], weeks: Sequence[Week], against: str) -> None:
    """USD a week: what was spent, through the router, and by one expert alone."""
    routing_usd = [week.routed for week in weeks]
    on_one_expert = [week.savings.baseline_usd for week in weeks]
    series = [_Bars(f"all on {against}", AGAINST_COLOUR, on_one_expert)]
    if any(week.shadow for week in weeks):
        spending = [week.spent or 0.0 for week in weeks]
        series.append(_Bars("really spent, where known", SPENT_COLOUR, spending))
        series.append(_Bars("routed (shadow: expected)", SERIES_COLOURS[0], routing_usd))
    else:
        series.append(_Bars("spent", SERIES_COLOURS[0], routing_usd))

    width = _BAR_WIDTH / len(series)
    for number, bars in enumerate(series):
        offset = number * width - _BAR_WIDTH / 2
        edges = [position + offset for position in positions]
        axes.bar(edges, bars.amounts, width, align="edge", color=bars.colour, label=bars.label)
    axes.set_ylabel("USD a week")


@dataclass(frozen=True)
class _FeedbackSeries:
    """Feedback and predictions of the weeks that have feedback.

    Attributes:
        positions: Of the weeks.
        feedback: Means, 0–1.
        predicted: Means, 0–1.
        arms: How far the 95 % interval of the drift reaches below and above, (2, weeks).
        single: Whether there was only one call, so that there is no interval.
        drifts: Whether the interval excludes zero.
    """

    positions: NDArray[np.int64]
    feedback: Array
    predicted: Array
    arms: Array
    single: NDArray[np.bool_]
    drifts: NDArray[np.bool_]


def _feedback_series(positions: Sequence[int], weeks: Sequence[Week]) -> _FeedbackSeries:
    judged_positions = []
    feedback = []
    predicted = []
    arms = []
    single = []
    drifts = []
    for position, week in zip(positions, weeks, strict=True):
        stats = week.stats
        if stats.feedback is None or stats.predicted is None or stats.drift is None:
            continue
        low, high = stats.interval or (stats.drift, stats.drift)
        judged_positions.append(position)
        feedback.append(stats.feedback)
        predicted.append(stats.predicted)
        arms.append((stats.drift - low, high - stats.drift))
        single.append(stats.interval is None)
        drifts.append(stats.drifts)
    return _FeedbackSeries(
        positions=np.array(judged_positions, dtype=np.int64),
        feedback=np.array(feedback, dtype=np.float64),
        predicted=np.array(predicted, dtype=np.float64),
        arms=np.array(arms, dtype=np.float64).reshape(-1, 2).T,
        single=np.array(single, dtype=np.bool_),
        drifts=np.array(drifts, dtype=np.bool_),
    )


def _draw_feedback(axes: Axes, positions: Sequence[int], weeks: Sequence[Week]) -> None:
    """Predicted quality, and feedback with the interval of the drift around it, red where that excludes zero."""
    axes.set(ylabel="quality, 0–1", ylim=(-0.03, 1.03))
    series = _feedback_series(positions, weeks)
    if not len(series.positions):
        axes.text(
            0.5,
            0.5,
            "no feedback",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=SPENT_COLOUR,
        )
        return

    axes.plot(
        series.positions,
        series.predicted,
        "_-",
        color=SERIES_COLOURS[1],
        ms=min(14, 400 / (1 + series.positions[-1])),
        mew=2,
        lw=1,
        label="predicted",
    )
    if series.single.any():
        axes.plot(
            series.positions[series.single],
            series.feedback[series.single],
            "o",
            color=SERIES_COLOURS[2],
            mfc="none",
            label="feedback, one call",
        )
    is_steady = ~(series.single | series.drifts)
    _draw_intervals(axes, series, is_steady, SERIES_COLOURS[2], "feedback, 95 %")
    _draw_intervals(axes, series, series.drifts, DRIFT_COLOUR, "feedback, drifting")


def _draw_intervals(
    axes: Axes, series: _FeedbackSeries, is_member: NDArray[np.bool_], colour: str, label: str
) -> None:
    """Feedback of the selected weeks, with the interval around it."""
    if not is_member.any():
        return
    axes.errorbar(
        series.positions[is_member],
        series.feedback[is_member],
        series.arms[:, is_member],
        fmt="o",
        color=colour,
        ms=5,
        capsize=3,
        label=label,
    )


def _draw_choice_shares(axes: Axes, positions: Sequence[int], weeks: Sequence[Week]) -> None:
    """Share of each week's calls by the router's choice; the experts with the fewest calls together."""
    calls: dict[str, float] = {}
    for week in weeks:
        for name, share in week.shares.items():
            calls[name] = calls.get(name, 0.0) + share * week.calls
    by_calls = sorted(calls, key=lambda name: -calls[name])
    named_experts = by_calls[:SHOWN_EXPERTS]
    colours = colour_scale(len(named_experts))

    bottom = np.zeros(len(weeks))
    for name, colour in zip(named_experts, colours, strict=False):
        shares = [week.shares.get(name, 0.0) for week in weeks]
        axes.bar(positions, shares, _BAR_WIDTH, bottom, color=colour, label=name)
        bottom += np.array(shares)
    if len(by_calls) > len(named_experts):
        axes.bar(positions, 1 - bottom, _BAR_WIDTH, bottom, color=REST_COLOUR, label="others")
    axes.set(ylabel="share of the calls", ylim=(0, 1))
