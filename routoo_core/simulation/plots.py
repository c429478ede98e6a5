"""The picture of a replay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routoo_core.plotting import OWN, _save, empty_figure

_LINEAR_BELOW = 10


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
    priced = [
        (hour, call.price)
        for hour, call in zip(hours, calls, strict=True)
        if call.price is not None
    ]
    price.plot([hour for hour, _ in priced], [value for _, value in priced], color=OWN[1], lw=0.8)
    price.set(ylabel="λ, quality per USD")
    if highest := max((value for _, value in priced), default=0.0):
        price.set_yscale(
            "symlog", linthresh=highest / _LINEAR_BELOW, subs=[2, 5]
        )  # λ is 0 while money is left over
        price.yaxis.set_major_formatter("{x:g}")
        price.yaxis.set_minor_formatter("{x:g}")
    seen = np.cumsum([call.score for call in calls]) / np.arange(1, len(calls) + 1)
    score.plot(hours, seen, color=OWN[2], label="mean score so far")
    refused = [hour for hour, call in zip(hours, calls, strict=True) if call.expert is None]
    score.plot(
        refused, np.zeros(len(refused)), "|", color="#d1242f", label=f"refused ({len(refused)})"
    )
    score.set(ylabel="score", xlabel="hours since the first call", ylim=(-0.02, 1))
    for axes in (money, score):
        axes.legend(frameon=False)
    _save(figure, path)
