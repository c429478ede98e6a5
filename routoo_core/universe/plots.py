"""The picture of what each expert adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routoo_core.plotting import empty_figure, save_figure
from routoo_core.universe.selection import Universe

COVERAGE_COLOUR = "#1f6feb"
WITHOUT_LUCK_COLOUR = "#57606a"
BOUND_COLOUR = "#d1242f"


def plot_coverage(path: Path, universe: Universe, without_luck: Sequence[float]) -> None:
    """Draw the coverage after each expert, as observed and corrected for chance.

    Args:
        path: The PNG to write.
        universe: The universe.
        without_luck: Coverage corrected for chance after each expert, 0–1; empty where it is unknown.

    Raises:
        MissingDependency: ``matplotlib`` is not installed.
    """
    figure = empty_figure(9, 5.5)
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()
    sizes = range(1, len(universe.experts) + 1)
    coverage = np.array(universe.coverage) * 100
    axes.plot(sizes, coverage, "o-", color=COVERAGE_COLOUR, ms=4, label="covered (Eq. 2)")
    if without_luck:
        percent = np.array(without_luck) * 100
        axes.plot(sizes, percent, "o-", color=WITHOUT_LUCK_COLOUR, ms=4, label="without luck")
    bound = universe.bound * 100
    label = "no set of this size covers more"
    axes.axhline(bound, color=BOUND_COLOUR, lw=1, ls="--", label=label)

    axes.set_title("What each expert adds")
    axes.set(xlabel="experts", ylabel="prompts somebody answers, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(loc="center right")
    save_figure(figure, path)
