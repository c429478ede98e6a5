"""What the demo's calls come to: who answered, what it cost, and where that is on the quality–cost curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from routoo_core.evaluation.plots import Point, plot_curve
from routoo_core.experts import Pool
from routoo_core.measures.curve import Array, Curve, serve, sweep
from routoo_core.money import format_usd
from routoo_core.predictor.reference import Reference
from routoo_core.record import DecisionRecord
from routoo_integrations.demo.transcript import Demo, candidate_of

TITLE = "What a budget buys (MMLU-Pro questions held out from training)"


@dataclass(frozen=True)
class HeldOutFigures:
    """What the router and each expert alone make of held-out prompts, at this run's cost of a call.

    Attributes:
        curve: The router's quality–cost curve.
        alone: Expert → mean USD of a call and mean score, when every prompt goes to it.
        best: The expert of the highest mean score.
    """

    curve: Curve
    alone: dict[str, tuple[float, float]]
    best: str


def report_demo(demo: Demo, reference: Reference, folder: Path) -> None:
    """Print who answered and what it cost beside "always the best expert"; draw the curve with this run on it.

    Args:
        demo: The calls.
        reference: Held-out predictions and scores of the router's checkpoint.
        folder: Where the picture goes.
    """
    records = demo.records()
    if not records:
        return
    figures = _held_out_figures(demo.router.pool, reference, records)
    _print_shares(demo, records)
    _print_spend(demo, records, figures.best)

    run = _run_point(records, figures)
    picture = folder / "quality-cost.png"
    plot_curve(picture, figures.curve, figures.alone, run, TITLE)

    _, best_score = figures.alone[figures.best]
    demo.console.print(
        f"At this spend the router answers {run.quality:.1%} of held-out MMLU-Pro questions correctly; always "
        f"{figures.best}: {best_score:.1%}.\n"
        f"Picture: {picture}   Accounts: routoo budget show --config {folder / 'routoo.toml'}",
        markup=False,
        soft_wrap=True,
    )


def _print_shares(demo: Demo, records: Sequence[DecisionRecord]) -> None:
    calls = Counter(record.expert for record in records)
    table = Table("expert", "calls", "share", title="Who answered", title_justify="left")
    for expert, count in calls.most_common():
        share = count / len(records)
        table.add_row(escape(expert), str(count), f"{share:.0%}")
    demo.console.print()
    demo.console.print(table)


def _print_spend(demo: Demo, records: Sequence[DecisionRecord], best: str) -> None:
    """What was spent, beside what everything on the best expert would have cost."""
    always_best = Decimal(0)
    for record in records:
        candidate = candidate_of(record, best)
        if candidate is not None:
            always_best += Decimal(candidate.expected_usd)
    saved = 1 - _total_settled(records) / always_best

    state = demo.router.ledger.state(demo.router.budget)
    spent = format_usd(state.spent)
    limit = format_usd(state.limit or 0)
    held = format_usd(state.held)
    refused = len(demo.calls) - len(records)
    demo.console.print(
        f"Spent {spent} of {limit} for {len(records)} calls ({refused} refused), {held} still held; "
        f"always {escape(best)} would have cost about ${always_best:.6f}: [bold]{saved:.0%} less[/bold]."
    )


def _run_point(records: Sequence[DecisionRecord], figures: HeldOutFigures) -> Point:
    """This run on the curve."""
    cost = float(_total_settled(records)) / len(records)
    best_cost, _ = figures.alone[figures.best]
    label = f"this run's spend: {cost / best_cost:.0%} of always {figures.best}"
    return Point(label, cost, float(figures.curve.at(cost)))


def _total_settled(records: Sequence[DecisionRecord]) -> Decimal:
    """USD booked for the replies."""
    total = Decimal(0)
    for record in records:
        total += Decimal(record.settled_usd or 0)
    return total


def _held_out_figures(
    pool: Pool, reference: Reference, records: Sequence[DecisionRecord]
) -> HeldOutFigures:
    experts = list(pool)
    held_out = reference.select([expert.predicted_as for expert in experts])
    scores = held_out.scores.astype(np.float64)
    quality = held_out.quality.astype(np.float64)
    cost = np.array([_mean_expected_usd(records, expert.name) for expert in experts])
    curve = serve(quality, scores, cost, sweep(cost)).curve()

    alone = {}
    for column, expert in enumerate(experts):
        alone[expert.name] = (float(cost[column]), _mean(scores[:, column]))
    best = max(alone, key=lambda name: alone[name][1])
    return HeldOutFigures(curve, alone, best)


def _mean(values: Array) -> float:
    return float(values.mean())


def _mean_expected_usd(records: Sequence[DecisionRecord], expert: str) -> float:
    """Expected USD of a call to an expert, over the calls in which it was a candidate."""
    amounts = []
    for record in records:
        candidate = candidate_of(record, expert)
        if candidate is not None:
            amounts.append(float(candidate.expected_usd))
    return float(np.mean(amounts))
