"""The README's picture: python benchmarks/picture.py reports/mmlu-pro-mix, a report that 'make report' wrote."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from results import read_report

from routoo_core.evaluation.plots import Point, plot_curve
from routoo_core.measures.curve import Curve

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "quality-cost.png"
TOKENS_PER_CALL = 1000
PER_CALL = TOKENS_PER_CALL / 1e6
"""USD per million tokens × this = USD of a call."""
DRAWN = 0.55
"""Experts of less quality than this share of the best one's are left out."""


def main() -> None:
    """Draw the first router's curve, every good expert alone, and half of the best one's cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()

    report = read_report(arguments.report)
    band = report.curves[report.first_router]
    curve = Curve(np.array(band.cost) * PER_CALL, np.array(band.quality))
    best = max(report.experts, key=lambda expert: expert.quality)
    experts = {}
    for expert in report.experts:
        if expert.quality > DRAWN * best.quality:
            experts[expert.name] = (expert.cost * PER_CALL, expert.quality)
    half = best.cost * PER_CALL / 2
    here = Point(f"half the cost of {best.name}", half, float(curve.at(half)))
    title = f"{report.title}: {report.prompts:,} questions held out from training"
    plot_curve(arguments.out, curve, experts, here, title)


if __name__ == "__main__":
    main()
