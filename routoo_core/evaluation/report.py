"""The report of an evaluation: ``metrics.json`` and a page that needs neither a network nor a script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routoo_core.errors import MissingDependency
from routoo_core.evaluation.drawings import (
    SIMPLE,
    draw_curves,
    draw_domains,
    draw_reliability,
    draw_shares,
    draw_sizes,
)
from routoo_core.evaluation.tables import SIZE_CLASSES, TIERS, UNTOLD
from routoo_core.files import replacing
from routoo_core.measures.figures import NEVER, format_figure
from routoo_core.measures.simple_routers import ORACLE

TEMPLATE = Path(__file__).parent / "report.html.j2"
_NEGLIGIBLE = 0.001  # a share that is not worth a row
_OTHERS = ("aiq", "apgr", "cpt50", "cpt80")
_HEADLINES = (
    (
        "cost to match the best single expert, as a share of its cost",
        "match",
        "0.67 (Mixtral), 0.75 (GPT-4)",
    ),
    ("quality at half its cost, as a share of its quality", "half", "nearly 1 (GPT-4)"),
    ("quality at three quarters of its cost", "three_quarters", "above 1 (GPT-4)"),
    ("gain at its cost", "gain", "+0.05 (Mixtral)"),
)
"""What is read off the curve, its figure, and what the paper says of its own pools (§4.3)."""


def write_report(folder: Path, result: Mapping[str, Any], title: str) -> None:
    """Write ``metrics.json`` and ``index.html`` to a folder.

    Args:
        folder: Created where it is not there.
        result: What ``evaluate`` returned; and as ``resembling``, how many prompts are like one to learn from, and why.
        title: Of the page.

    Raises:
        MissingDependency: ``jinja2`` or ``matplotlib`` is not installed.
    """
    page, result = render(result, title), {"title": title, **result}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("metrics.json", json.dumps(result, indent=1, allow_nan=False)),
        ("index.html", page),
    ):
        with replacing(folder / name) as partial:
            partial.write_text(text + "\n", encoding="utf-8")


def render(result: Mapping[str, Any], title: str) -> str:
    """The page, with its figures inside."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingDependency("jinja2", "report", "write the report") from error
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    own = list(result["routers"])
    figures = {
        "curves": draw_curves(result, own),
        "domains": draw_domains(result, own),
        "shares": draw_shares(result, own[0]),
        "reliability": draw_reliability(result),
    }
    size_shares = _size_shares(result, own[0])
    return template.render(
        title=title,
        result=result,
        format_figure=format_figure,
        own=own,
        tiers=TIERS,
        sentences=sentences(result),
        headlines=[_headline(result, own, *row) for row in _HEADLINES],
        routers=[
            {"name": name, "cells": _router_cells(found)}
            for name, found in result["figures"].items()
        ],
        table1=_table1(result, own),
        shares=_shares(result, own[0]),
        size_shares=size_shares,
        figures={**figures, "sizes": draw_sizes(result, own[0])} if size_shares else figures,
    )


def sentences(result: Mapping[str, Any]) -> list[str]:
    """What the figures say, in words: also where a simple router is as good."""
    first, *_ = result["routers"]
    others = {
        name: found for name, found in result["figures"].items() if name not in {first, ORACLE}
    }
    said = [_compared(first, name, *found["lead"]) for name, found in others.items()]
    if absent := [name for name in SIMPLE if name not in result["figures"]]:
        said.append(
            f"No 'train' prompts were given for {', '.join(absent)} to learn from: they are not held against it."
        )
    if alike := sum(result["resembling"].values()):
        asked = result["prompts"] + result["left_out"]
        said.append(
            f"Caution: {alike} of {asked} prompts are, contain or resemble one that routers learnt from."
        )
    match, interval = (result["figures"][first][key] for key in ("match", "interval"))
    low, high = map(_share, interval["match"])
    reached = (
        "at no cost below the dearest expert's"
        if match == NEVER
        else f"at {_share(match)} of its cost"
    )
    said.append(
        f"{first} matches {result['best_single']}, the best single expert, {reached} ({low} to {high})."
    )
    return said


def _compared(first: str, name: str, low: float, high: float) -> str:
    if low > 0:
        return f"{first} beats {name}: its area is {low:.3f} to {high:.3f} above."
    if high < 0:
        return f"{first} is behind {name}: its area is {-high:.3f} to {-low:.3f} below."
    return (
        f"{first} cannot be told apart from {name}: its area is {low:+.3f} to {high:+.3f} beside."
    )


def _share(value: float | str | None) -> str:
    return f"{value:.0%}" if isinstance(value, float) else format_figure(value)


def _headline(
    result: Mapping[str, Any], own: list[str], what: str, key: str, paper: str
) -> dict[str, Any]:
    cells = [_with_interval(result["figures"][name], key) for name in own]
    return {"what": what, "cells": cells, "paper": paper}


def _router_cells(found: Mapping[str, Any]) -> list[str]:
    low, high = found["lead"]
    lead = f"{low:+.3f} to {high:+.3f}" if (low, high) != (0, 0) else "–"
    return [_with_interval(found, "area"), lead, *(_with_interval(found, key) for key in _OTHERS)]


def _with_interval(found: Mapping[str, Any], key: str) -> str:
    low, high = map(format_figure, found["interval"][key])
    return f"{format_figure(found[key])} [{low}, {high}]"


def _table1(result: Mapping[str, Any], own: list[str]) -> list[dict[str, Any]]:
    experts = sorted(result["experts"], key=lambda expert: float(expert["cost"]))
    rows = [
        {"who": _called(expert["name"], result), "own": False, "cells": _expert_cells(expert)}
        for expert in experts
    ]
    for name in [*own, *(name for name in SIMPLE if name in result["tiers"])]:
        for at in result["tiers"][name]:
            who = f"{name} at {100 * at['tier']:g} %"
            rows.append({"who": who, "own": name in own, "cells": _tier_cells(at)})
    return rows


def _called(name: str, result: Mapping[str, Any]) -> str:
    roles = [
        what
        for what, who in (("best", result["best_single"]), ("cheapest", result["cheapest"]))
        if who == name
    ]
    return f"{name} (the {' and the '.join(roles)})" if roles else name


def _expert_cells(expert: Mapping[str, Any]) -> list[str]:
    return [
        f"{expert['cost']:.3g}",
        f"{expert['quality']:.3f}",
        f"{expert['macro']:.3f}",
        "",
        "",
        "",
        "",
    ]


def _tier_cells(at: Mapping[str, Any]) -> list[str]:
    return [
        f"{at['cost']:.3g}",
        f"{at['quality']:.3f}",
        f"{at['macro']:.3f}",
        format_figure(at["pgr"]),
        f"{at['collapse']:.0%}",
        format_figure(at["regret"]),
        f"{100 * at['arena']:.1f}",
    ]


def _size_shares(result: Mapping[str, Any], first: str) -> list[dict[str, Any]]:
    """Rows of the share of the calls by size class; none where no size is told."""
    classes = [expert["size_class"] for expert in result["experts"]]
    told = [name for name in (*SIZE_CLASSES, UNTOLD) if name in classes]
    columns = [
        result["oracle"]["raw"],
        result["oracle"]["corrected"],
        *(at["shares"] for at in result["tiers"][first]),
    ]
    summed = {
        name: [sum(c[i] for i, own in enumerate(classes) if own == name) for c in columns]
        for name in told
    }
    return (
        [{"name": n, "cells": [f"{s:.1%}" for s in row]} for n, row in summed.items()]
        if told != [UNTOLD]
        else []
    )


def _shares(result: Mapping[str, Any], first: str) -> list[dict[str, Any]]:
    oracle, tiers = result["oracle"], result["tiers"][first]
    columns = [oracle["raw"], oracle["corrected"], *(at["shares"] for at in tiers)]
    rows = [
        {
            "name": expert["name"],
            "cells": [f"{column[place]:.1%}" for column in columns],
            "most": max(c[place] for c in columns),
        }
        for place, expert in enumerate(result["experts"])
    ]
    return sorted((row for row in rows if row["most"] >= 0.001), key=lambda row: -row["most"])
