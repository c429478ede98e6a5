"""The page of a report: HTML that needs neither a network nor a script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routoo_core.errors import MissingDependency
from routoo_core.evaluation.drawings import (
    SHOWN_BANDS,
    SIMPLE_ROUTER_COLOURS,
    draw_curves,
    draw_domains,
    draw_reliability,
    draw_shares,
    draw_sizes,
)
from routoo_core.evaluation.report import ExpertRow, Report, TierRow
from routoo_core.evaluation.sentences import sentences
from routoo_core.evaluation.summaries import table_summaries
from routoo_core.evaluation.tables import SIZE_CLASSES, SIZE_UNKNOWN, TIERS
from routoo_core.files import replacing
from routoo_core.measures.figures import RouterFigures, format_figure
from routoo_core.plotting import SHOWN_SERIES

TEMPLATE = Path(__file__).parent / "report.html.j2"

NEGLIGIBLE_SHARE = 0.001
"""An expert needs at least this share of the calls in some column to get a row in the table of shares."""


def write_report(folder: Path, report: Report) -> None:
    """Write ``metrics.json`` and ``index.html`` to a folder, which is created if necessary.

    Raises:
        MissingDependency: ``jinja2`` or ``matplotlib`` is not installed.
    """
    page = render_page(report)
    metrics = json.dumps(report.to_dict(), indent=1, allow_nan=False)

    folder.mkdir(parents=True, exist_ok=True)
    _write_text(folder / "metrics.json", metrics)
    _write_text(folder / "index.html", page)


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def render_page(report: Report) -> str:
    """The page, with its tables and drawings inside.

    Raises:
        MissingDependency: ``jinja2`` or ``matplotlib`` is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingDependency("jinja2", "report", "write the report") from error

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        sentences=sentences(report),
        tables=_all_tables(report),
        summaries=table_summaries(report),
        drawings=_all_drawings(report),
        shown_routers=SHOWN_SERIES,
        shown_bands=SHOWN_BANDS,
    )


def _all_drawings(report: Report) -> dict[str, str]:
    """Name in the template → SVG."""
    drawings = {
        "curves": draw_curves(report),
        "domains": draw_domains(report),
        "shares": draw_shares(report),
        "reliability": draw_reliability(report),
    }
    if _has_sizes(report):
        drawings["sizes"] = draw_sizes(report)
    return drawings


def _has_sizes(report: Report) -> bool:
    """Whether the size of any expert is known."""
    return any(expert.size_class != SIZE_UNKNOWN for expert in report.experts)


# Tables


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        name: The heading of the row.
        cells: As they are shown.
        emphasised: Whether the row is about an evaluated router, in a table with other rows too.
    """

    name: str
    cells: Sequence[str]
    emphasised: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        header: The headings of the columns; the first one is for the rows' names.
        rows: The rows.
    """

    header: Sequence[str]
    rows: Sequence[TableRow]


def _all_tables(report: Report) -> dict[str, Table]:
    """Name in the template → table."""
    return {
        "headlines": _headlines(report),
        "routers": _routers(report),
        "table1": _table1(report),
        "domains": _domains(report),
        "shares": _shares(report),
        "predictions": _predictions(report),
        "stress": _stress(report),
    }


# Headlines


@dataclass(frozen=True)
class Headline:
    """A figure that the paper reports for its own pools, too (§4.3).

    Attributes:
        description: The figure in words.
        metric: Its name in ``CurveMetrics``.
        in_paper: What the paper reports.
    """

    description: str
    metric: str
    in_paper: str


HEADLINES = (
    Headline(
        "cost of the best single expert's quality, as a share of that expert's cost",
        "match",
        "0.67 (Mixtral), 0.75 (GPT-4)",
    ),
    Headline(
        "quality at half its cost, as a share of its quality",
        "half",
        "nearly 1 (GPT-4)",
    ),
    Headline(
        "quality at three quarters of its cost, as a share of its quality",
        "three_quarters",
        "above 1 (GPT-4)",
    ),
    Headline(
        "quality at its cost, less its quality",
        "gain",
        "+0.05 (Mixtral)",
    ),
)


def _headlines(report: Report) -> Table:
    rows = []
    for headline in HEADLINES:
        cells = [report.figures[name].describe(headline.metric) for name in report.routers]
        cells.append(headline.in_paper)
        rows.append(TableRow(headline.description, cells))
    return Table(["figure", *report.routers, "the paper"], rows)


# Routers beside simple ones


def _routers(report: Report) -> Table:
    header = (
        "router",
        "area",
        f"lead of {report.first_router}",
        "AIQ",
        "APGR",
        "CPT(50 %)",
        "CPT(80 %)",
    )
    rows = []
    for name, figures in report.figures.items():
        rows.append(TableRow(name, _router_cells(figures), emphasised=name in report.routers))
    return Table(header, rows)


def _router_cells(figures: RouterFigures) -> list[str]:
    low = figures.lead.low
    high = figures.lead.high
    lead = "–"
    if low != 0 or high != 0:
        lead = f"{low:+.3f} to {high:+.3f}"

    return [
        figures.describe("area"),
        lead,
        figures.describe("aiq"),
        figures.describe("apgr"),
        figures.describe("cpt50"),
        figures.describe("cpt80"),
    ]


# Table 1: experts alone, routers at tiers


def _table1(report: Report) -> Table:
    header = (
        "expert or router",
        report.cost_unit,
        "quality",
        "macro",
        "PGR",
        "dearest expert",
        "regret",
        "Arena",
    )
    rows = []
    for expert in sorted(report.experts, key=lambda expert: expert.cost):
        rows.append(TableRow(_expert_name(expert, report), _expert_cells(expert)))

    simple = [name for name in SIMPLE_ROUTER_COLOURS if name in report.tiers]
    for name in [*report.routers, *simple]:
        for tier in report.tiers[name]:
            row = TableRow(
                f"{name} at {100 * tier.tier:g} %",
                _tier_cells(tier),
                emphasised=name in report.routers,
            )
            rows.append(row)
    return Table(header, rows)


def _expert_name(expert: ExpertRow, report: Report) -> str:
    """The expert's name, and whether it is the best or the cheapest."""
    roles = []
    if expert.name == report.best_single:
        roles.append("best")
    if expert.name == report.cheapest:
        roles.append("cheapest")
    if not roles:
        return expert.name
    return f"{expert.name} (the {' and the '.join(roles)})"


def _expert_cells(expert: ExpertRow) -> list[str]:
    only_of_routers = ["", "", "", ""]  # PGR, dearest expert, regret, Arena
    return [
        f"{expert.cost:.3g}",
        f"{expert.quality:.3f}",
        f"{expert.macro:.3f}",
        *only_of_routers,
    ]


def _tier_cells(tier: TierRow) -> list[str]:
    return [
        f"{tier.cost:.3g}",
        f"{tier.quality:.3f}",
        f"{tier.macro:.3f}",
        format_figure(tier.pgr),
        f"{tier.collapse:.0%}",
        format_figure(tier.regret),
        f"{100 * tier.arena:.1f}",
    ]


# Domains


def _domains(report: Report) -> Table:
    header = ["domain", "prompts", report.best_single, "best expert in the domain", *report.routers]
    rows = []
    for domain in report.domains:
        routers = [f"{domain.routers[name]:.3f}" for name in report.routers]
        cells = [
            str(domain.prompts),
            f"{domain.best_single:.3f}",
            f"{domain.best_here:.3f}",
            *routers,
        ]
        rows.append(TableRow(domain.domain, cells))
    return Table(header, rows)


# Table 2: shares of the calls


def _shares(report: Report) -> Table:
    """Shares of the calls by size class, where sizes are known, and then by expert."""
    tiers = [f"at {100 * tier:g} %" for tier in TIERS]
    header = ["size class or expert", "oracle", "oracle, corrected", *tiers]
    rows = [*_size_share_rows(report), *_expert_share_rows(report)]
    return Table(header, rows)


def _share_columns(report: Report) -> list[Sequence[float]]:
    """The shares of all experts under the oracle, raw and corrected, and under the first router at each tier."""
    tiers = [tier.shares for tier in report.tiers[report.first_router]]
    return [report.oracle.raw, report.oracle.corrected, *tiers]


def _size_share_rows(report: Report) -> list[TableRow]:
    if not _has_sizes(report):
        return []

    rows = []
    for size_class in (*SIZE_CLASSES, SIZE_UNKNOWN):
        members = _positions_of_class(report, size_class)
        if not members:
            continue
        cells = []
        for column in _share_columns(report):
            share = sum(column[position] for position in members)
            cells.append(f"{share:.1%}")
        rows.append(TableRow(size_class, cells))
    return rows


def _positions_of_class(report: Report, size_class: str) -> list[int]:
    """Positions of the experts of a size class."""
    positions = []
    for position, expert in enumerate(report.experts):
        if expert.size_class == size_class:
            positions.append(position)
    return positions


def _expert_share_rows(report: Report) -> list[TableRow]:
    """A row for each expert that is worth one, the largest share first."""
    columns = _share_columns(report)
    largest_shares = []
    for position, expert in enumerate(report.experts):
        shares = [column[position] for column in columns]
        row = TableRow(expert.name, [f"{share:.1%}" for share in shares])
        if max(shares) >= NEGLIGIBLE_SHARE:
            largest_shares.append((max(shares), row))

    largest_shares.sort(key=lambda share_and_row: -share_and_row[0])
    return [row for _, row in largest_shares]


# How good the predictions are


def _predictions(report: Report) -> Table:
    header = (
        "router",
        "AUC",
        "log-loss",
        "calibration error",
        "time of a decision",
        "held-out prompts",
        "new prompts",
        "trained on",
    )
    rows = []
    for name, prediction in report.predictions.items():
        cells = [
            format_figure(prediction.auc),
            f"{prediction.log_loss:.3f}",
            f"{prediction.ece:.3f}",
            f"{prediction.decision_ms:.0f} ms",
            str(prediction.seen.held_out),
            str(prediction.seen.new),
            str(prediction.seen.trained_on),
        ]
        rows.append(TableRow(name, cells))
    return Table(header, rows)


# The stress test


def _stress(report: Report) -> Table:
    header = ("change", "prompts", "another expert", "a dearer expert", "cost, relative to before")
    rows = []
    for row in report.stress:
        cost = "–"
        if row.cost is not None:
            cost = f"{row.cost:.2f}"
        cells = [
            str(row.prompts),
            f"{100 * row.flips:.1f} %",
            f"{100 * row.upgrades:.1f} %",
            cost,
        ]
        rows.append(TableRow(row.way, cells))
    return Table(header, rows)
