"""The picture of what each expert adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routoo_core.plotting import empty_figure, save_figure
from routoo_core.universe.selection import Universe


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
    axes.plot(
        sizes, np.array(found.coverage) * 100, "o-", color="#1f6feb", ms=4, label="covered (Eq. 2)"
    )
    if known:
        axes.plot(sizes, np.array(known) * 100, "o-", color="#57606a", ms=4, label="without luck")
    axes.axhline(
        found.bound * 100, color="#d1242f", lw=1, ls="--", label="no set of this size covers more"
    )
    axes.set(xlabel="experts", ylabel="prompts somebody answers, %", title="What each expert adds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(loc="center right")
    save_figure(figure, path)
