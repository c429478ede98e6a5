"""A summary of the demo's calls: who answered, what it cost, and the cost and quality of every expert alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from routoo_core.evaluation.plots import Point, plot_curve
from routoo_core.measures.curve import Array, Curve, serve, sweep
from routoo_core.money import format_usd
from routoo_core.record import DecisionRecord
from routoo_integrations.demo.transcript import Demo, candidate_of

TITLE = "Predicted quality of the demo's prompts, by what a call costs"
QUALITY_LABEL = "predicted quality, %"


@dataclass(frozen=True)
class Predictions:
    """The predictions for the calls that were answered.

    Attributes:
        experts: The experts that could serve every call.
        quality: Predicted quality, calls × experts, 0–1.
        cost: Mean expected cost of a call to each expert, USD, (experts,).
    """

    experts: tuple[str, ...]
    quality: Array = field(repr=False)
    cost: Array = field(repr=False)

    def best(self) -> str:
        """The expert of the highest mean quality."""
        return self.experts[int(self.quality.mean(axis=0).argmax())]

    def mean_quality(self, expert: str) -> float:
        """The mean predicted quality if one expert answered all calls, 0–1."""
        return float(self.quality[:, self.experts.index(expert)].mean())

    def mean_cost(self, expert: str) -> float:
        """The mean expected cost of a call to one expert, USD."""
        return float(self.cost[self.experts.index(expert)])

    def curve(self) -> Curve:
        """The best predicted quality on these prompts at each mean cost."""
        return serve(self.quality, self.quality, self.cost, sweep(self.cost)).curve()


def report_demo(demo: Demo, folder: Path) -> None:
    """Print who answered and what it cost, next to every expert alone, and draw the quality–cost curve with this run.

    Args:
        demo: The calls.
        folder: Where the picture goes.
    """
    records = demo.records()
    if not records:
        return
    predictions = _collect_predictions(records)
    run = _run_point(records, predictions)
    _print_experts(demo, records, predictions, run)
    _print_spend(demo, records, predictions)

    picture = folder / "quality-cost.png"
    alone = {
        expert: (predictions.mean_cost(expert), predictions.mean_quality(expert))
        for expert in predictions.experts
    }
    plot_curve(picture, predictions.curve(), alone, run, TITLE, QUALITY_LABEL)
    demo.console.print(
        "Quality here is the router's prediction: these replies were not graded. docs/models.md and docs/results.md "
        "report measured quality.\n"
        f"Picture: {picture}   Accounts: routoo budget show --config {folder / 'routoo.toml'}",
        markup=False,
        soft_wrap=True,
    )


def _collect_predictions(records: Sequence[DecisionRecord]) -> Predictions:
    experts = [candidate.expert for candidate in records[0].candidates]
    for record in records:
        capable = {candidate.expert for candidate in record.candidates}
        experts = [expert for expert in experts if expert in capable]
    quality = np.empty((len(records), len(experts)))
    cost = np.empty_like(quality)
    for row, record in enumerate(records):
        for column, expert in enumerate(experts):
            candidate = candidate_of(record, expert)
            if candidate is not None:
                quality[row, column] = candidate.quality
                cost[row, column] = float(candidate.expected_usd)
    return Predictions(tuple(experts), quality, cost.mean(axis=0))


def _run_point(records: Sequence[DecisionRecord], predictions: Predictions) -> Point:
    """This run: the mean cost of a call, and the mean predicted quality of the experts that answered."""
    cost = float(_total_settled(records)) / len(records)
    qualities = []
    for record in records:
        candidate = candidate_of(record, record.expert)
        if candidate is not None:
            qualities.append(candidate.quality)
    share = cost / predictions.mean_cost(predictions.best())
    label = f"this run: {share:.0%} of the cost of always {predictions.best()}"
    return Point(label, cost, float(np.mean(qualities)))


def _print_experts(
    demo: Demo, records: Sequence[DecisionRecord], predictions: Predictions, run: Point
) -> None:
    """Print each expert's calls, and its cost and predicted quality if it answered every call."""
    calls = Counter(record.expert for record in records)
    table = Table(
        "expert", "calls", "share", "quality if always used", "USD per 1,000 calls", box=None
    )
    for expert in sorted(predictions.experts, key=predictions.mean_cost):
        table.add_row(
            escape(expert),
            str(calls[expert]),
            f"{calls[expert] / len(records):.0%}",
            f"{predictions.mean_quality(expert):.2f}",
            f"{1000 * predictions.mean_cost(expert):.3f}",
        )
    table.add_row(
        "[bold]this run[/bold]",
        str(len(records)),
        "100%",
        f"[bold]{run.quality:.2f}[/bold]",
        f"[bold]{1000 * run.cost:.3f}[/bold]",
    )
    demo.console.print()
    demo.console.print(
        "Which experts answered, and the predicted quality and cost if one answered every call:"
    )
    demo.console.print(table)


def _print_spend(demo: Demo, records: Sequence[DecisionRecord], predictions: Predictions) -> None:
    """Print what was spent, and what the best expert alone would have cost."""
    best = predictions.best()
    always_best = predictions.mean_cost(best) * len(records)
    saving = 1 - float(_total_settled(records)) / always_best
    state = demo.router.ledger.state(demo.router.budget)
    spending = format_usd(state.spent)
    limit = format_usd(state.limit or 0)
    holds = format_usd(state.held)
    refusals = len(demo.calls) - len(records)
    demo.console.print(
        f"\nSpent {spending} of {limit} for {len(records)} calls; {refusals} refused, {holds} still reserved. "
        f"Always {escape(best)} would have cost about ${always_best:.6f}: this run cost [bold]{saving:.0%} less[/bold]."
    )


def _total_settled(records: Sequence[DecisionRecord]) -> Decimal:
    """The cost of all replies, USD."""
    total = Decimal(0)
    for record in records:
        total += Decimal(record.settled_usd or 0)
    return total
