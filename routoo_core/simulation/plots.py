"""The picture of a replay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from routoo_core.money import NANO_PER_USD
from routoo_core.plotting import SERIES_COLOURS, empty_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from routoo_core.simulation.replay import ReplayedCall

LINEAR_SHARE = 10
"""λ is drawn linearly below this part of its highest value, since it is 0 while money is left over."""

REFUSED_COLOUR = "#d1242f"


def plot_replay(path: Path, calls: Sequence[ReplayedCall], limit: float | None, title: str) -> None:
    """Draw what a replay spent, λ, the mean score so far and the refused calls over time.

    Args:
        path: The PNG to write.
        calls: The calls of the replay, at least one.
        limit: USD of all periods together; ``None`` without a limit.
        title: What was replayed.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    figure = empty_figure(9, 8)
    money_axes, lambda_axes, score_axes = figure.subplots(3, 1, sharex=True)
    hours = [(call.time - calls[0].time) / 3600 for call in calls]

    _draw_spending(money_axes, hours, calls, limit)
    _draw_lambda(lambda_axes, hours, calls)
    _draw_scores(score_axes, hours, calls)
    money_axes.set_title(title)
    score_axes.set_xlabel("hours since the first call")
    money_axes.legend(frameon=False)
    score_axes.legend(frameon=False)
    save_figure(figure, path)


def _draw_spending(
    axes: Axes, hours: Sequence[float], calls: Sequence[ReplayedCall], limit: float | None
) -> None:
    costs = [call.cost / NANO_PER_USD for call in calls]
    axes.plot(hours, np.cumsum(costs), color=SERIES_COLOURS[0], label="spent")
    if limit is not None:
        axes.axhline(limit, color="black", ls=":", label="limit")
    axes.set_ylabel("USD")


def _draw_lambda(axes: Axes, hours: Sequence[float], calls: Sequence[ReplayedCall]) -> None:
    """λ of the calls that have one, on an axis that is linear near zero and logarithmic above."""
    lambda_hours = []
    lambdas = []
    for hour, call in zip(hours, calls, strict=True):
        if call.lambda_ is not None:
            lambda_hours.append(hour)
            lambdas.append(call.lambda_)
    axes.plot(lambda_hours, lambdas, color=SERIES_COLOURS[1], lw=0.8)
    axes.set_ylabel("λ, quality per USD")

    highest = max(lambdas, default=0.0)
    if highest:
        axes.set_yscale("symlog", linthresh=highest / LINEAR_SHARE, subs=[2, 5])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")


def _draw_scores(axes: Axes, hours: Sequence[float], calls: Sequence[ReplayedCall]) -> None:
    scores = [call.score for call in calls]
    counts = np.arange(1, len(calls) + 1)
    mean_so_far = np.cumsum(scores) / counts
    axes.plot(hours, mean_so_far, color=SERIES_COLOURS[2], label="mean score so far")

    refused_hours = []
    for hour, call in zip(hours, calls, strict=True):
        if call.expert is None:
            refused_hours.append(hour)
    count = len(refused_hours)
    label = f"refused ({count})"
    axes.plot(refused_hours, np.zeros(count), "|", color=REFUSED_COLOUR, label=label)
    axes.set(ylabel="score", ylim=(-0.02, 1))
