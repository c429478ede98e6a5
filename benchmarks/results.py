"""Tables of docs/results.md, from the reports that 'make report' wrote: python benchmarks/results.py reports/mmlu …

Whatever stands between <!-- name --> and <!-- end --> is replaced by the table of that name.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from routoo_core.measures.figures import format_figure

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
Report = Mapping[str, Any]
Row = Callable[[Report], list[str]]


def own(report: Report) -> dict[str, Any]:
    """Figures of the router that was measured."""
    return report["figures"][next(iter(report["routers"]))]


def with_interval(report: Report, name: str) -> str:
    """A figure and its 95 % interval."""
    low, high = map(format_figure, own(report)["interval"][name])
    return f"{format_figure(own(report)[name])} [{low}, {high}]"


def curve(report: Report) -> list[str]:
    """What the router's curve says beside the best single expert."""
    names = ("area", "half", "three_quarters", "match", "gain")
    return [f"{report['prompts']:,}", *(with_interval(report, name) for name in names)]


def leads(report: Report) -> list[str]:
    """How far the area is above that of other routers."""
    others = ("random mix", "zero router", "domain lookup", "kNN", "printed head", "oracle")
    return ["{:+.3f} to {:+.3f}".format(*report["figures"][name]["lead"]) for name in others]


def others(report: Report) -> list[str]:
    """Figures of RouteLLM, RouterBench and RouterArena, and how good the predictions are."""
    name, found = next(iter(report["routers"].items()))
    arena = max(at["arena"] for at in report["tiers"][name])
    predicted = [format_figure(found[key]) for key in ("auc", "log_loss", "ece")]
    return [
        *predicted,
        *(with_interval(report, key) for key in ("apgr", "cpt50", "cpt80", "aiq")),
        f"{100 * arena:.1f}",
    ]


def at_half(report: Report) -> list[str]:
    """Where the router stands at half the best single expert's cost."""
    at = next(at for at in report["tiers"][next(iter(report["routers"]))] if at["tier"] == 0.5)
    figures = [
        f"{at['cost']:.3g}",
        *(format_figure(at[key]) for key in ("quality", "macro", "pgr", "regret")),
    ]
    return [*figures, f"{at['collapse']:.0%}"]


TABLES: dict[str, tuple[str, Row]] = {
    "curve": ("prompts | area | half | three quarters | match | gain", curve),
    "leads": (
        "random mix | zero router | domain lookup | kNN | the paper's printed head | oracle",
        leads,
    ),
    "others": (
        "AUC | log-loss | calibration error | APGR | CPT(50 %) | CPT(80 %) | AIQ | Arena",
        others,
    ),
    "half": ("cost | quality | macro | PGR | regret | dearest asked", at_half),
}


def table(header: str, row: Row, reports: Iterable[Report]) -> str:
    """Markdown, a row for each report."""
    lines = [f"| pool | {header} |", "|---" * (header.count("|") + 2) + "|"]
    return "\n".join(
        [*lines, *(f"| {' | '.join([report['title'], *row(report)])} |" for report in reports)]
    )


def main() -> None:
    """Replace the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "reports", type=Path, nargs="+", help="folders that 'routoo evaluate' wrote"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    reports = [
        json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        for folder in given.reports
    ]
    text = given.page.read_text(encoding="utf-8")
    for name, (header, row) in TABLES.items():
        made = f"<!-- {name} -->\n\n{table(header, row, reports)}\n\n<!-- end -->"
        text, replaced = re.subn(
            rf"<!-- {name} -->.*?<!-- end -->", lambda _, made=made: made, text, flags=re.S
        )
        if replaced != 1:
            parser.error(
                f"{given.page}: has {replaced} places <!-- {name} --> … <!-- end -->; needs one"
            )
    given.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
