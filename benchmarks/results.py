"""Tables of docs/results.md, from the reports that 'make report' wrote: python benchmarks/results.py reports/mmlu …

The text between <!-- name --> and <!-- end --> is replaced by the table of that name.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from routoo_core.evaluation.report import Report
from routoo_core.measures.figures import RouterFigures, format_figure
from routoo_core.measures.simple_routers import (
    DOMAIN_LOOKUP,
    KNN,
    ORACLE,
    PRINTED_HEAD,
    RANDOM_MIX,
    ZERO_ROUTER,
)

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
COMPARED_ROUTERS = (RANDOM_MIX, ZERO_ROUTER, DOMAIN_LOOKUP, KNN, PRINTED_HEAD, ORACLE)
HALF = 0.5
SECTIONS_AROUND_ONE_TABLE = 4


@dataclass(frozen=True)
class ResultsTable:
    """A table of the page with a row for each report.

    Attributes:
        name: Its name on the page.
        header: The headings of the columns after that of the pool.
        cells: The cells of one report.
    """

    name: str
    header: Sequence[str]
    cells: Callable[[Report], list[str]]

    def to_markdown(self, reports: Sequence[Report]) -> str:
        """The table with all its rows."""
        lines = [
            f"| pool | {' | '.join(self.header)} |",
            "|---" * (len(self.header) + 1) + "|",
        ]
        for report in reports:
            row = [report.title, *self.cells(report)]
            lines.append(f"| {' | '.join(row)} |")
        return "\n".join(lines)


def first_figures(report: Report) -> RouterFigures:
    """Figures of the router that was measured."""
    return report.figures[report.first_router]


def curve_cells(report: Report) -> list[str]:
    """What the router's curve says beside the best single expert."""
    figures = first_figures(report)
    return [
        f"{report.prompts:,}",
        figures.describe("area"),
        figures.describe("half"),
        figures.describe("three_quarters"),
        figures.describe("match"),
        figures.describe("gain"),
    ]


def lead_cells(report: Report) -> list[str]:
    """How far the area is above that of other routers."""
    cells = []
    for name in COMPARED_ROUTERS:
        lead = report.figures[name].lead
        cells.append(f"{lead.low:+.3f} to {lead.high:+.3f}")
    return cells


def half_cells(report: Report) -> list[str]:
    """Where the router stands at half the best single expert's cost."""
    tiers = {tier.tier: tier for tier in report.tiers[report.first_router]}
    half = tiers[HALF]
    return [
        f"{half.cost:.3g}",
        format_figure(half.quality),
        format_figure(half.macro),
        format_figure(half.pgr),
        format_figure(half.regret),
        f"{half.collapse:.0%}",
    ]


def other_cells(report: Report) -> list[str]:
    """Figures of RouteLLM, RouterBench and RouterArena, and how good the predictions are."""
    figures = first_figures(report)
    predictions = report.predictions[report.first_router]
    best_arena_score = max(tier.arena for tier in report.tiers[report.first_router])
    return [
        format_figure(predictions.auc),
        format_figure(predictions.log_loss),
        format_figure(predictions.ece),
        figures.describe("apgr"),
        figures.describe("cpt50"),
        figures.describe("cpt80"),
        figures.describe("aiq"),
        f"{100 * best_arena_score:.1f}",
    ]


TABLES = (
    ResultsTable(
        "curve",
        ("prompts", "area", "half", "three quarters", "match", "gain"),
        curve_cells,
    ),
    ResultsTable(
        "leads",
        (
            "random mix",
            "zero router",
            "domain lookup",
            "kNN",
            "the paper's printed head",
            "oracle",
        ),
        lead_cells,
    ),
    ResultsTable(
        "half",
        ("cost", "quality", "macro", "PGR", "regret", "dearest asked"),
        half_cells,
    ),
    ResultsTable(
        "others",
        (
            "AUC",
            "log-loss",
            "calibration error",
            "APGR",
            "CPT(50 %)",
            "CPT(80 %)",
            "AIQ",
            "Arena",
        ),
        other_cells,
    ),
)


def read_report(folder: Path) -> Report:
    """The report that 'routoo evaluate' wrote to a folder."""
    values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Report.from_dict(values)


def main() -> None:
    """Replace the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "reports", type=Path, nargs="+", help="folders that 'routoo evaluate' wrote"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()

    reports = [read_report(folder) for folder in arguments.reports]
    text = arguments.page.read_text(encoding="utf-8")
    for table in TABLES:
        sections = re.split(rf"(<!-- {table.name} -->).*?(<!-- end -->)", text, flags=re.S)
        if len(sections) != SECTIONS_AROUND_ONE_TABLE:
            parser.error(f"{arguments.page}: needs one place <!-- {table.name} --> … <!-- end -->")
        before, start, end, after = sections
        text = f"{before}{start}\n\n{table.to_markdown(reports)}\n\n{end}{after}"
    arguments.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
