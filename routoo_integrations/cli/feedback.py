"""``routoo feedback``: how good a router is while it serves, or would be if it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from routoo_core.errors import ConfigurationError
from routoo_integrations.cli.shared import JsonOption, out

if TYPE_CHECKING:
    from routoo_core.monitoring.feedback import FeedbackStats, Summary

app = typer.Typer()

DRIFT = "drift, 95 %"


@app.command()
def feedback(
    logs: Annotated[
        list[Path],
        typer.Argument(help="JSONL: a call a line, with its decision record and its time."),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            help="What would everything on this expert have cost? By default the dearest."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="A PNG of money, feedback and who is asked, week by week.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sum real calls up by week: spend, savings, what people thought, and whether the predictions drift from that.

    A line holds the record of a reply under "routoo" (at any depth, so a LangSmith run will do), a "time", and
    optionally a "feedback" from 0 to 1. In shadow, before anything is routed, it holds the record of
    router.decide(request), and at its top "answered_by" and "cost_usd" of the call that was really made.

    Example: [bold]routoo feedback calls.jsonl --against gpt-4o --plot weeks.png[/bold]
    """
    from routoo_core.monitoring.feedback import remarks, summarise_feedback
    from routoo_core.monitoring.logged_calls import read_routed_calls

    if plot and plot.suffix != ".png":
        raise ConfigurationError(f"--plot: {plot} ends in {plot.suffix!r}; end it in .png")
    calls = read_routed_calls(logs)
    if not calls:
        raise ConfigurationError(f"{logs[0]}: holds no calls; log a reply's record, one a line")
    found = summarise_feedback(calls, against)
    if plot:
        from routoo_core.monitoring.plots import plot_feedback

        title = (
            f"{len(calls)} call{'s' * (len(calls) != 1)} in {', '.join(log.name for log in logs)}"
        )
        plot_feedback(plot, found.weeks, found.against, title)
    if as_json:
        out.print_json(json.dumps(found.as_dict()))
        return
    out.print(
        *[_money(found), *([_opinions(found)] if found.stats.judged else []), _experts(found)],
        sep="\n",
    )
    for sentence in remarks(found):
        out.print(f"- {sentence}", highlight=False, markup=False, soft_wrap=True)


def _money(found: Summary) -> Table:
    """What was spent each week; what is peculiar to shadow calls, where there are any."""
    shadow = bool(found.shadow.calls)
    amounts = ["shadow", "spent", "routed"] if shadow else ["spent"]
    table = Table("week", "calls", *amounts, f"all on {escape(found.against)}", "saved")
    table.columns[0].no_wrap = True
    for week in found.weeks:
        spent = "–" if week.spent is None else f"${week.spent:.4f}"
        parts = [str(week.shadow), spent, f"${week.routed:.4f}"] if shadow else [spent]
        saved = "–" if week.saved is None else f"{week.saved:.0%}"
        table.add_row(week.week.isoformat(), str(week.calls), *parts, f"${week.against:.4f}", saved)
    return table


def _opinions(found: Summary) -> Table:
    """What people thought each week; the calibration error, where enough did."""
    errors = [week.stats.calibration_error for week in found.weeks]
    table = Table(
        "week", "feedback", "predicted", DRIFT, *(["calibration error"] if any(errors) else [])
    )
    for week, error in zip(found.weeks, errors, strict=True):
        shown = ["–" if error is None else f"{error:.3f}"] if any(errors) else []
        table.add_row(week.week.isoformat(), *_opinion(week.stats), *shown)
    return table


def _experts(found: Summary) -> Table:
    shadow = bool(found.shadow.calls)
    parts = ["calls", "share", *(["routed"] if shadow else []), "feedback", "predicted", DRIFT]
    table = Table(Column("expert", overflow="fold"), *parts)
    for row in found.experts:
        shares = [f"{row.share:.1%}", *([f"{row.routed:.1%}"] if shadow else [])]
        table.add_row(
            escape(row.expert or "not named"), str(row.calls), *shares, *_opinion(row.stats)
        )
    return table


def _opinion(found: FeedbackStats) -> list[str]:
    """Feedback and of how many, prediction, and drift with half the width of its interval."""
    if found.feedback is None or found.predicted is None or found.drift is None:
        return ["–"] * 3
    half = f" ±{found.interval[1] - found.drift:.3f}" if found.interval else ""
    return [
        f"{found.feedback:.3f} ({found.judged})",
        f"{found.predicted:.3f}",
        f"{found.drift:+.3f}{half}",
    ]
