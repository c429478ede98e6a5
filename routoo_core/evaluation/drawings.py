"""Drawings inside a report's page: SVG in the page's own ink, legible on a light and on a dark ground."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo_core.evaluation.report import (
    CurveBand,
    DomainRow,
    Report,
    RulePoint,
    RulePoints,
    TierRow,
)
from routoo_core.evaluation.tables import SIZE_CLASSES, SIZE_UNKNOWN
from routoo_core.measures.curve import Array
from routoo_core.measures.simple_routers import (
    DOMAIN_LOOKUP,
    KNN,
    ORACLE,
    PRINTED_HEAD,
    RANDOM_MIX,
    ZERO_ROUTER,
)
from routoo_core.plotting import (
    REST_COLOUR,
    SERIES_COLOURS,
    SHOWN_EXPERTS,
    SHOWN_SERIES,
    SeriesStyle,
    colour_scale,
    empty_figure,
    label_log_scale,
    labels_as_text,
    series_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIMPLE_ROUTER_COLOURS = {
    DOMAIN_LOOKUP: "#b45309",
    KNN: "#0d9488",
    PRINTED_HEAD: "#9ca3af",
    ORACLE: "#db2777",
}
"""Routers that need something to learn from, or know the scores."""

SIMPLE_ROUTER_DASHES = (0, (1, 1))
"""Dots, as no router of the report has them."""

BLIND_ROUTER_DASHES = {ZERO_ROUTER: "--", RANDOM_MIX: ":"}
RULE_COLOUR = "#58a6ff"

SHOWN_BANDS = 3
"""Bands of more curves would hide each other; only the first router's is drawn then."""

PAPER_ALPHAS = (1.0, 0.1, 0.01)
"""The α of the paper's Figure 2."""

_INK = "#010203"
"""Stands for the page's own ink, until the drawing is an element of the page."""

_REM_PER_INCH = 6
_VISIBLE_SHARE = 1e-6


def router_styles(routers: Sequence[str]) -> dict[str, SeriesStyle]:
    """The routers that are drawn, the first ``SHOWN_SERIES`` of a report, and how each is drawn everywhere."""
    styles = {}
    for position, name in enumerate(routers[:SHOWN_SERIES]):
        styles[name] = series_style(position)
    return styles


# Figure 2: quality over cost


def draw_curves(report: Report) -> str:
    """Quality over cost of every router, each expert alone, and the paper's α; an SVG to put in a page."""
    figure = empty_figure(10, 5.6)
    axes = _add_axes(figure, report.cost_unit, "quality")

    styles = router_styles(report.routers)
    for name, style in styles.items():
        curve = report.curves[name]
        _draw_curve(axes, name, curve, style)
        if len(styles) <= SHOWN_BANDS or name == report.first_router:
            _draw_band(axes, curve, style)
    _draw_rules(axes, report.rules)
    _draw_paper_alphas(axes, report.rules.ratio)
    _draw_simple_routers(axes, report.curves)
    _draw_experts_alone(axes, report)

    _scale_costs(axes, [expert.cost for expert in report.experts])
    _add_legend_beside(axes)
    return _to_svg(figure, "Quality over cost of routers and experts")


def _draw_curve(axes: Axes, name: str, curve: CurveBand, style: SeriesStyle) -> None:
    """The curve of an evaluated router."""
    axes.plot(
        curve.cost,
        curve.quality,
        color=style.colour,
        ls=style.dashes,
        lw=2.4,
        label=name,
        zorder=3,
    )


def _draw_band(axes: Axes, curve: CurveBand, style: SeriesStyle) -> None:
    """The 95 % band of an evaluated router's curve."""
    axes.fill_between(curve.cost, curve.low, curve.high, color=style.colour, alpha=0.15, lw=0)


def _draw_rules(axes: Axes, rules: RulePoints) -> None:
    """The two rules of the first router by themselves, whose hull its curve is."""
    _draw_rule(axes, rules.lagrangian, "λ rule, first router", "-")
    _draw_rule(axes, rules.ratio, "ratio rule, first router", "-.")


def _draw_rule(axes: Axes, rule: Sequence[RulePoint], label: str, dashes: str) -> None:
    points = sorted(rule, key=lambda point: point.cost)
    costs = [point.cost for point in points]
    qualities = [point.quality for point in points]
    axes.plot(costs, qualities, label=label, zorder=2, color=RULE_COLOUR, lw=1.1, ls=dashes)


def _draw_paper_alphas(axes: Axes, rule: Sequence[RulePoint]) -> None:
    """Where the ratio rule stands at each of the paper's α, or at the nearest one there is."""
    alphas_at: dict[tuple[float, float], list[str]] = {}
    for alpha in PAPER_ALPHAS:
        nearest = min(rule, key=lambda point: abs(point.parameter - alpha))
        alphas_at.setdefault((nearest.cost, nearest.quality), []).append(f"{alpha:g}")

    for position, alphas in alphas_at.items():
        axes.plot(*position, "D", color=SERIES_COLOURS[0], ms=6, zorder=5)
        axes.annotate(
            f"α = {', '.join(alphas)}",
            position,
            (0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=_INK,
        )


def _draw_simple_routers(axes: Axes, curves: Mapping[str, CurveBand]) -> None:
    for name, colour in SIMPLE_ROUTER_COLOURS.items():
        if name in curves:
            curve = curves[name]
            axes.plot(
                curve.cost,
                curve.quality,
                color=colour,
                lw=1.4,
                ls=SIMPLE_ROUTER_DASHES,
                label=name,
            )
    for name, dashes in BLIND_ROUTER_DASHES.items():
        curve = curves[name]
        axes.plot(curve.cost, curve.quality, color=_INK, lw=1, ls=dashes, label=name)


def _draw_experts_alone(axes: Axes, report: Report) -> None:
    costs = [expert.cost for expert in report.experts]
    qualities = [expert.quality for expert in report.experts]
    label = "single experts"
    axes.plot(costs, qualities, "o", color=_INK, ms=4, alpha=0.6, zorder=4, label=label)


def _scale_costs(axes: Axes, costs: Sequence[float]) -> None:
    """A logarithmic scale where costs differ; a free expert stands at its left end."""
    positive = [cost for cost in costs if cost > 0]
    if len(set(costs)) < 2 or not positive:
        return

    if len(positive) == len(costs):
        axes.set_xscale("log")
        label_log_scale(axes.xaxis)
    else:
        axes.set_xscale("symlog", linthresh=min(positive))
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"{axes.get_xlabel()} (log scale)")


# Figure 3: quality by domain


def draw_domains(report: Report) -> str:
    """Quality of routers and of the best single expert in each domain; an SVG to put in a page."""
    domains = sorted(report.domains, key=lambda row: row.best_single)
    styles = router_styles(report.routers)
    rows_height = 1.4 + 0.32 * len(domains)
    legend_height = 1.0 + 0.2 * len(styles)
    figure = empty_figure(10, max(rows_height, legend_height))
    axes = _add_axes(figure, "quality", "")
    heights = np.arange(len(domains))

    _draw_experts_by_domain(axes, domains, report.best_single)
    for name, style in styles.items():
        quality = [row.routers[name] for row in domains]
        axes.plot(quality, heights, style.marker, color=style.colour, ms=6, label=name)

    labels = [f"{row.domain} ({row.prompts})" for row in domains]
    axes.set_yticks(heights, labels)
    _add_legend_beside(axes)
    return _to_svg(figure, "Quality by domain")


def _draw_experts_by_domain(axes: Axes, domains: Sequence[DomainRow], best_single: str) -> None:
    heights = np.arange(len(domains))
    best_single_quality = [row.best_single for row in domains]
    best_quality = [row.best_here for row in domains]
    axes.plot(best_single_quality, heights, "o", color=_INK, alpha=0.6, label=best_single)
    axes.plot(best_quality, heights, "|", color=_INK, ms=11, label="best expert in the domain")


# Figure 4: shares of the calls


def draw_shares(report: Report) -> str:
    """Share of the calls of each expert as the budget of the first router grows; an SVG to put in a page."""
    tiers = report.tiers[report.first_router]
    shares = np.array([tier.shares for tier in tiers])

    columns = np.argsort(-shares.max(axis=0), kind="stable")[:SHOWN_EXPERTS].tolist()
    by_cost = sorted(columns, key=lambda column: report.experts[column].cost)
    bars = {}
    for column in by_cost:
        bars[report.experts[column].name] = shares[:, column]

    return _draw_stacked_bars(tiers, bars, "others", "Share of the calls by expert")


def draw_sizes(report: Report) -> str:
    """Share of the calls of each size class as the budget of the first router grows; an SVG to put in a page."""
    tiers = report.tiers[report.first_router]
    shares = np.array([tier.shares for tier in tiers])
    class_of_column = np.array([expert.size_class for expert in report.experts])

    bars = {}
    for size_class in SIZE_CLASSES:
        columns = class_of_column == size_class
        if columns.any():
            bars[size_class] = shares[:, columns].sum(axis=1)

    return _draw_stacked_bars(tiers, bars, SIZE_UNKNOWN, "Share of the calls by size class")


def _draw_stacked_bars(
    tiers: Sequence[TierRow], bars: Mapping[str, Array], rest_label: str, title: str
) -> str:
    """One stack of shares at each tier; what is missing to 1 is the rest."""
    figure = empty_figure(10, 4.6)
    axes = _add_axes(
        figure, "budget, as a share of what the best single expert costs", "share of the calls"
    )
    positions = np.arange(len(tiers))
    width = 0.7

    bottom = np.zeros(len(tiers))
    for (label, heights), colour in zip(bars.items(), colour_scale(len(bars)), strict=False):
        axes.bar(positions, heights, width, bottom, color=colour, label=label)
        bottom += heights

    rest = np.clip(1 - bottom, 0, 1)
    if rest.max() > _VISIBLE_SHARE:
        axes.bar(positions, rest, width, bottom, color=REST_COLOUR, label=rest_label)

    axes.set_xticks(positions, [f"{tier.tier:.3g}" for tier in tiers])
    _add_legend_beside(axes)
    return _to_svg(figure, title)


# Reliability


def draw_reliability(report: Report) -> str:
    """Observed over predicted quality; an SVG to put in a page."""
    figure = empty_figure(7.5, 4.6)
    axes = _add_axes(figure, "predicted quality", "observed quality")

    axes.plot([0, 1], [0, 1], color=_INK, lw=1, ls="--", alpha=0.5)
    for name, style in router_styles(report.routers).items():
        groups = report.predictions[name].reliability
        predicted = [group.predicted for group in groups]
        observed = [group.observed for group in groups]
        axes.plot(
            predicted,
            observed,
            color=style.colour,
            ls=style.dashes,
            marker=style.marker,
            ms=5,
            label=name,
        )

    _add_legend_beside(axes)
    return _to_svg(figure, "Reliability of the predictions")


# Parts of every drawing


def _add_axes(figure: Figure, x_label: str, y_label: str) -> Axes:
    """Axes in the page's own ink, on a transparent ground."""
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)

    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.tick_params(which="both", colors=_INK)
    for spine in axes.spines.values():
        spine.set(color=_INK, alpha=0.4)

    axes.grid(color=_INK, alpha=0.12)
    axes.set_axisbelow(True)
    return axes


def _legend_style() -> dict[str, Any]:
    return {"frameon": False, "labelcolor": _INK, "fontsize": 9, "handlelength": 2.6}


def _add_legend_beside(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), **_legend_style())


def _to_svg(figure: Figure, label: str) -> str:
    """The drawing as an element of a page; the label is for readers who cannot see it."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    # Text stays text, ids do not depend on the run, and fonts are the page's.
    with (
        rc_context({"svg.fonttype": "none", "svg.hashsalt": label, "font.family": "sans-serif"}),
        labels_as_text(figure),
    ):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()

    element = text[text.index("<svg") :].replace(_INK, "currentColor")
    without_group_ids = re.sub('<g id="[^"]*"', "<g", element)
    width = f"{figure.get_figwidth() * _REM_PER_INCH:g}rem"
    attributes = f'role="img" aria-label="{label}" style="width: {width}"'
    return without_group_ids.replace("<svg ", f"<svg {attributes} ", 1)
