"""What the figures of a report say, in words."""

from __future__ import annotations

from math import isfinite, isinf

from routoo_core.evaluation.drawings import SIMPLE_ROUTER_COLOURS
from routoo_core.evaluation.report import Report
from routoo_core.evaluation.summaries import best_expert, dollars, money
from routoo_core.measures.figures import Interval, format_figure
from routoo_core.measures.simple_routers import ORACLE


def sentences(report: Report) -> list[str]:
    """What the figures say of the first router, also where a simple one is as good."""
    return [
        *_comparisons(report),
        *_missing_routers(report),
        *_near_duplicates(report),
        *_similarity(report),
        _match(report),
    ]


def _comparisons(report: Report) -> list[str]:
    """One sentence for each other router but the oracle."""
    first = report.first_router
    lines = []
    for name, figures in report.figures.items():
        if name not in {first, ORACLE}:
            lines.append(_comparison(first, name, figures.lead))
    return lines


def _comparison(first: str, name: str, lead: Interval) -> str:
    low = lead.low
    high = lead.high
    if low > 0:
        return f"{first} beats {name}: its area is larger by {low:.3f} to {high:.3f}."
    if high < 0:
        return f"{first} is behind {name}: its area is smaller by {-high:.3f} to {-low:.3f}."
    return f"{first} and {name} are too close to call: their areas differ by {low:+.3f} to {high:+.3f}."


def _missing_routers(report: Report) -> list[str]:
    missing = [name for name in SIMPLE_ROUTER_COLOURS if name not in report.figures]
    if not missing:
        return []
    return [
        f"There are no 'train' prompts, so these simple routers are missing: {', '.join(missing)}."
    ]


def _near_duplicates(report: Report) -> list[str]:
    """How many prompts resemble one to learn from, of which kind, and what to do."""
    resembling = report.resembling
    if not resembling.total:
        return []
    kinds = []
    if resembling.exact:
        kinds.append(f"{resembling.exact} by the same words")
    if resembling.ngram:
        kinds.append(f"{resembling.ngram} by twelve words in a row")
    if resembling.near:
        kinds.append(f"{resembling.near} nearly as a whole")
    prompts = report.prompts + report.left_out
    return [
        f"Caution: {resembling.total} of {prompts} prompts resemble a training prompt ({', '.join(kinds)}). "
        "Figures on them may be too good. To list them, or to measure without them: "
        "routoo data decontaminate --prompts DEV --against TRAIN --out CLEAN --removed WHY"
    ]


def _similarity(report: Report) -> list[str]:
    """How far the prompts are from those to learn from."""
    if report.similarity is None:
        return []
    return [
        f"The similarity of these prompts to the 'train' prompts is {report.similarity:.2f}, where 1 means the same "
        "texts. Expect worse figures on prompts that are less similar."
    ]


def _match(report: Report) -> str:
    """At what share of its cost the best single expert is matched."""
    figures = report.figures[report.first_router]
    match = figures.metrics.match
    interval = figures.intervals["match"]

    if isinf(match):
        price = "at no cost up to the dearest expert's"
    else:
        price = f"at {_percent(match)} of its cost"
    if isfinite(match):
        cost = best_expert(report).cost
        price += f", {dollars(match * cost)} instead of {money(cost, report)}"
    return (
        f"{report.first_router} matches {report.best_single}, the best single expert, {price} "
        f"({_percent(interval.low)} to {_percent(interval.high)})."
    )


def _percent(share: float) -> str:
    if isfinite(share):
        return f"{share:.0%}"
    return format_figure(share)
