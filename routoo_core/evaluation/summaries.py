"""One sentence before each table of a report: what it says, in words and dollars."""

from __future__ import annotations

from math import isfinite

from routoo_core.evaluation.report import ExpertRow, Report, TierRow
from routoo_core.measures.figures import format_figure
from routoo_core.measures.simple_routers import ORACLE

HALF = 0.5


def money(cost: float, report: Report) -> str:
    """A cost of a report, such as ``$1.17 per 1,000 calls``."""
    unit = report.cost_unit.removeprefix("USD ")
    return f"{dollars(cost)} {unit}"


def dollars(cost: float) -> str:
    """A cost without its unit, such as ``$1.17``."""
    digits = 2 if cost >= 1 else 4
    return f"${cost:,.{digits}f}"


def best_expert(report: Report) -> ExpertRow:
    """The best single expert."""
    return next(expert for expert in report.experts if expert.name == report.best_single)


def table_summaries(report: Report) -> dict[str, str]:
    """Name of a table in the template → its sentence."""
    return {
        "headlines": _headlines(report),
        "routers": _routers(report),
        "table1": _table1(report),
        "domains": _domains(report),
        "shares": _shares(report),
        "predictions": _predictions(report),
        "stress": _stress(report),
    }


def _at_half(report: Report) -> TierRow:
    """The first router at half of what the best single expert costs."""
    tiers = report.tiers[report.first_router]
    return next(tier for tier in tiers if tier.tier == HALF)


def _headlines(report: Report) -> str:
    best = best_expert(report)
    metrics = report.figures[report.first_router].metrics
    half = money(best.cost * HALF, report)
    share = f"{metrics.half:.0%}" if isfinite(metrics.half) else format_figure(metrics.half)
    return f"With {half}, half of what {best.name} costs, {report.first_router} reaches {share} of its quality."


def _routers(report: Report) -> str:
    areas = {}
    for name, figures in report.figures.items():
        if name != ORACLE:
            areas[name] = figures.metrics.area
    leader = max(areas, key=lambda name: areas[name])
    cheapest = min(expert.cost for expert in report.experts)
    spend = f"{dollars(cheapest)} and {money(best_expert(report).cost, report)}"
    return (
        f"Over budgets between {spend}, {leader} has the highest mean quality: {areas[leader]:.3f}."
    )


def _table1(report: Report) -> str:
    best = best_expert(report)
    tier = _at_half(report)
    return (
        f"{best.name} alone has quality {best.quality:.3f} for {money(best.cost, report)}. "
        f"With half that budget, {report.first_router} has {tier.quality:.3f} for {money(tier.cost, report)}."
    )


def _domains(report: Report) -> str:
    first = report.first_router
    ahead = sum(domain.routers[first] >= domain.best_single for domain in report.domains)
    half = money(best_expert(report).cost * HALF, report)
    return (
        f"With {half}, {first} is at least as good as {report.best_single} in {ahead} of "
        f"{len(report.domains)} domains."
    )


def _shares(report: Report) -> str:
    tier = _at_half(report)
    position = max(range(len(tier.shares)), key=lambda number: tier.shares[number])
    name = report.experts[position].name
    cost = money(tier.cost, report)
    return f"With {cost}, {report.first_router} calls {name} most: {tier.shares[position]:.0%} of the calls."


def _predictions(report: Report) -> str:
    first = report.predictions[report.first_router]
    return (
        f"{report.first_router} took {first.decision_ms:.0f} ms for a decision on this machine, and its predictions "
        f"are off by {first.ece:.3f} on average."
    )


def _stress(report: Report) -> str:
    if not report.stress:
        return ""
    worst = max(report.stress, key=lambda row: row.flips)
    change = "" if worst.cost is None else f", at {worst.cost:.2f} times the cost"
    return (
        f"{worst.way} changes the expert most often: on {worst.flips:.0%} of the prompts{change}."
    )
