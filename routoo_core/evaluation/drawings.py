"""Drawings inside a report's page: SVG in the page's own ink, legible on a light and on a dark ground."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo_core.evaluation.tables import SIZE_CLASSES, UNTOLD
from routoo_core.measures.simple_routers import (
    DOMAIN_LOOKUP,
    KNN,
    ORACLE,
    PRINTED_HEAD,
    RANDOM_MIX,
    ZERO_ROUTER,
)
from routoo_core.plotting import SERIES_COLOURS, SHOWN_EXPERTS, empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIMPLE = {DOMAIN_LOOKUP: "#b45309", KNN: "#0d9488", PRINTED_HEAD: "#9ca3af", ORACLE: "#db2777"}
BLIND = {ZERO_ROUTER: "--", RANDOM_MIX: ":"}
PAPER_ALPHAS = (1.0, 0.1, 0.01)

_INK = "#010203"  # stands for the page's own ink
_PLAIN: dict[str, Any] = {"frameon": False, "labelcolor": _INK, "fontsize": 9}
_BESIDE: dict[str, Any] = {**_PLAIN, "loc": "upper left", "bbox_to_anchor": (1.01, 1)}
_VISIBLE = 1e-6
_REM_PER_INCH = 6


def draw_curves(result: Mapping[str, Any], own: Sequence[str]) -> str:
    """Quality over cost of every router, experts as points, the paper's α marked; an SVG to put in a page."""
    figure = empty_figure(10, 5.6)
    axes = _axes(figure, "USD per million tokens", "quality")
    curves, colours = result["curves"], dict(zip(own, SERIES_COLOURS, strict=False))
    for name, colour in colours.items():
        curve = curves[name]
        axes.plot(curve["cost"], curve["quality"], color=colour, lw=2.4, label=name, zorder=3)
        axes.fill_between(
            curve["cost"], curve["low"], curve["high"], color=colour, alpha=0.15, lw=0
        )
    _draw_rules(axes, result["rules"])
    for name, colour in SIMPLE.items():
        if name in curves:
            axes.plot(
                curves[name]["cost"], curves[name]["quality"], color=colour, lw=1.2, label=name
            )
    for name, dashes in BLIND.items():
        axes.plot(
            curves[name]["cost"], curves[name]["quality"], color=_INK, lw=1, ls=dashes, label=name
        )
    costs, qualities = zip(
        *((expert["cost"], expert["quality"]) for expert in result["experts"]), strict=True
    )
    axes.plot(costs, qualities, "o", color=_INK, ms=4, alpha=0.6, zorder=4, label="an expert alone")
    _scale_costs(axes, costs)
    axes.legend(**_BESIDE)
    return _svg(figure, "Quality over cost of routers and experts")


def _draw_rules(axes: Axes, rules: Mapping[str, Any]) -> None:
    """The first router's two rules by themselves, whose hull its curve is."""
    for kind, dashes, label in (("lambda", "-", "its λ rule"), ("alpha", "-.", "its ratio rule")):
        points = sorted(rules[kind], key=lambda point: float(point["cost"]))
        line: dict[str, Any] = {"color": "#58a6ff", "lw": 1.1, "ls": dashes}
        axes.plot(
            [p["cost"] for p in points],
            [p["quality"] for p in points],
            label=label,
            zorder=2,
            **line,
        )
    for alpha in PAPER_ALPHAS:
        at = min(rules["alpha"], key=lambda point: abs(float(point["alpha"]) - alpha))
        place = (at["cost"], at["quality"])
        axes.plot(*place, "D", color=SERIES_COLOURS[0], ms=6, zorder=5)
        beside: dict[str, Any] = {
            "textcoords": "offset points",
            "ha": "center",
            "fontsize": 9,
            "color": _INK,
        }
        axes.annotate(f"α = {alpha:g}", place, (0, 9), **beside)


def _scale_costs(axes: Axes, costs: Sequence[float]) -> None:
    """A logarithmic scale where costs differ; a free expert stands at its left end."""
    positive = [cost for cost in costs if cost > 0]
    if len(set(costs)) < 2 or not positive:
        return
    if len(positive) == len(costs):
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=min(positive))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"{axes.get_xlabel()} (log scale)")


def draw_domains(result: Mapping[str, Any], own: Sequence[str]) -> str:
    """Quality of routers and the best single expert in each domain; an SVG to put in a page."""
    domains = sorted(result["domains"], key=lambda row: float(row["best_single"]))
    figure = empty_figure(10, 1.4 + 0.32 * len(domains))
    axes = _axes(figure, "quality", "")
    places = np.arange(len(domains))
    axes.plot(
        [row["best_single"] for row in domains],
        places,
        "o",
        color=_INK,
        alpha=0.6,
        label=result["best_single"],
    )
    axes.plot(
        [row["best_here"] for row in domains],
        places,
        "|",
        color=_INK,
        ms=11,
        label="best expert there",
    )
    for name, colour in zip(own, SERIES_COLOURS, strict=False):
        axes.plot(
            [row["routers"][name] for row in domains], places, "D", color=colour, ms=6, label=name
        )
    axes.set_yticks(places, [f"{row['domain']} ({row['prompts']})" for row in domains])
    axes.legend(**_BESIDE)
    return _svg(figure, "Quality by domain")


def draw_shares(result: Mapping[str, Any], name: str) -> str:
    """Share of the calls of each expert as the budget grows; an SVG to put in a page."""
    tiers = result["tiers"][name]
    shares = np.array([at["shares"] for at in tiers])
    order = np.argsort(-shares.max(0), kind="stable")[:SHOWN_EXPERTS]
    named = sorted(order.tolist(), key=lambda place: float(result["experts"][place]["cost"]))
    return _stacked(
        tiers,
        {result["experts"][place]["name"]: shares[:, place] for place in named},
        "others",
        "expert",
    )


def draw_sizes(result: Mapping[str, Any], name: str) -> str:
    """Share of the calls of each size class as the budget grows; an SVG to put in a page."""
    tiers, classes = (
        result["tiers"][name],
        np.array([expert["size_class"] for expert in result["experts"]]),
    )
    shares = np.array([at["shares"] for at in tiers])
    told = [kind for kind in SIZE_CLASSES if kind in classes]
    return _stacked(
        tiers, {kind: shares[:, classes == kind].sum(1) for kind in told}, UNTOLD, "size class"
    )


def _stacked(
    tiers: Sequence[Mapping[str, Any]], parts: Mapping[str, Any], rest: str, what: str
) -> str:
    """Bars of shares, one at each tier; what is left to 1 is ``rest``."""
    from matplotlib import colormaps

    figure = empty_figure(10, 4.6)
    axes = _axes(
        figure, "budget, as a share of what the best single expert costs", "share of the calls"
    )
    places, bottom = np.arange(len(tiers)), np.zeros(len(tiers))
    colours = colormaps["viridis"](np.linspace(0.05, 0.95, max(len(parts), 2)))
    for (label, heights), colour in zip(parts.items(), colours, strict=False):
        axes.bar(places, heights, 0.7, bottom, color=colour, label=label)
        bottom += heights
    if (left := np.clip(1 - bottom, 0, 1)).max() > _VISIBLE:
        axes.bar(places, left, 0.7, bottom, color="#9ca3af", label=rest)
    axes.set_xticks(places, [f"{at['tier']:.3g}" for at in tiers])
    axes.legend(**_BESIDE)
    return _svg(figure, f"Share of the calls by {what}")


def draw_reliability(result: Mapping[str, Any]) -> str:
    """Observed over predicted quality; an SVG to put in a page."""
    figure = empty_figure(5.5, 4.6)
    axes = _axes(figure, "predicted quality", "observed quality")
    axes.plot([0, 1], [0, 1], color=_INK, lw=1, ls="--", alpha=0.5)
    for (name, found), colour in zip(result["routers"].items(), SERIES_COLOURS, strict=False):
        bins = found["reliability"]
        axes.plot(
            [b["predicted"] for b in bins],
            [b["observed"] for b in bins],
            "o-",
            color=colour,
            label=name,
        )
    axes.legend(loc="upper left", **_PLAIN)
    return _svg(figure, "Reliability of the predictions")


def _axes(figure: Figure, x: str, y: str) -> Axes:
    """Axes in the page's own ink, on no ground."""
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.set_xlabel(x, color=_INK)
    axes.set_ylabel(y, color=_INK)
    axes.tick_params(which="both", colors=_INK)
    for spine in axes.spines.values():
        spine.set(color=_INK, alpha=0.4)
    axes.grid(color=_INK, alpha=0.12)
    axes.set_axisbelow(True)
    return axes


def _svg(figure: Figure, label: str) -> str:
    """The drawing as an element of a page, with a name for those who cannot see it."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    element = re.sub(
        '<g id="[^"]*"', "<g", text[text.index("<svg") :].replace(_INK, "currentColor")
    )
    width = f"{figure.get_figwidth() * _REM_PER_INCH:g}rem"
    return element.replace(
        "<svg ", f'<svg role="img" aria-label="{label}" style="width: {width}" ', 1
    )
