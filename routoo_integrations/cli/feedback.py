"""``routoo feedback``: how good a router is while it serves, or would be if it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from routoo_core.config import read_config, read_pool
from routoo_core.errors import ConfigurationError
from routoo_core.loading import is_general
from routoo_core.monitoring.feedback import (
    FeedbackStats,
    FeedbackSummary,
    remarks,
    summarise_feedback,
)
from routoo_core.monitoring.plots import plot_feedback
from routoo_core.monitoring.ratings import FeedbackScale
from routoo_core.monitoring.routed_calls import RoutedLog, read_routed_calls
from routoo_core.monitoring.savings import ROUTER_USD_PER_HOUR
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_integrations.cli.configuration import find_configuration
from routoo_integrations.cli.options import ConfigOption, JsonOption, check_png
from routoo_integrations.cli.outputs import CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import out, print_json, print_line

if TYPE_CHECKING:
    from routoo_core.training.grades import LearntGrades

DRIFT = "drift, 95 %"


def feedback_command(
    logs: Annotated[
        list[Path],
        typer.Argument(help="JSONL: a call a line, with its decision record and its time."),
    ],
    against: Annotated[
        str | None,
        typer.Option(help="The expert to compare costs with; by default the dearest."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--feedback", help="The kind of feedback to use, if there are several."),
    ] = None,
    worst: Annotated[float, typer.Option(help="Feedback that becomes score 0.")] = 0.0,
    best: Annotated[float, typer.Option(help="Feedback that becomes score 1.")] = 1.0,
    usd_per_hour: Annotated[
        float,
        typer.Option(
            "--router-usd-per-hour",
            min=0,
            help="Cost of the machine that predicts; subtracted from the savings.",
        ),
    ] = ROUTER_USD_PER_HOUR,
    plot: Annotated[
        Path | None, typer.Option(help="A PNG of money, feedback and who is asked, week by week.")
    ] = None,
    learn: Annotated[
        Path | None,
        typer.Option(help="Write a router that has learnt from the feedback to this folder."),
    ] = None,
    config: ConfigOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Summarise real calls by week: spend, savings, feedback, and drift of the predictions from it.

    A line holds the record of a reply under "routoo" (at any depth, so a LangSmith run will do), a "time", and
    optionally a "feedback": from 0 to 1, "up" or "down", read as by 'routoo data from-logs'. In shadow, before anything
    is routed, it holds the record of router.decide(request), and at its top "answered_by" and "cost_usd" of the call
    that was really made.

    With --learn the general router of routoo.toml learns from each expert's own graded calls and is written to a new
    folder; the one it started from stays. No prompt is needed: records say how each was read.

    Example: [bold]routoo feedback calls.jsonl --against gpt-5.5 --plot weeks.png[/bold]
    Or: [bold]routoo feedback calls.jsonl --learn my-router[/bold]
    """
    check_png(plot)
    if learn is not None and learn.exists():
        raise ConfigurationError(
            f"--learn: {learn} exists already; choose a new folder, because the old router is kept"
        )
    CommandFiles({"--plot": plot}, inputs=logs).check(overwrite)
    log = read_routed_calls(logs, FeedbackScale(kind, worst, best, first_of_several=True))
    if not log.calls:
        raise ConfigurationError(f"{logs[0]}: contains no calls; log one reply's record per line")

    lessons = None if learn is None else _learn(config, log, learn)
    summary = summarise_feedback(log, against, usd_per_hour)
    if plot:
        plot_feedback(plot, summary.weeks, summary.against, _title(len(log.calls), logs))

    if as_json:
        experts = () if lessons is None else lessons.experts
        print_json({**summary.to_dict(), "learnt": [asdict(expert) for expert in experts]})
        return
    print_line(summary.savings.describe())
    out.print(_money_table(summary))
    if summary.stats.judged:
        out.print(_feedback_table(summary))
    out.print(_expert_table(summary))
    for remark in remarks(summary):
        print_line(f"- {remark}")
    if learn is not None and lessons is not None:
        _show_learnt(lessons, learn)


def _learn(config: Path | None, log: RoutedLog, out: Path) -> LearntGrades:
    """Teach the configured router what the log's feedback says.

    Raises:
        ConfigurationError: The router is none that learns so, or nothing of the log can be learnt from.
    """
    from routoo_core.training.grades import GradedCall, learn_from_grades

    configuration = find_configuration(config)
    settings = read_config(configuration.path)
    checkpoint = find_router(settings.router, configuration.path.parent)
    if not is_general(checkpoint):
        raise ConfigurationError(
            f"{configuration.path}: router: {settings.router!r} cannot learn from feedback; only general routers can "
            "(general-fast, general, or one made by --learn)"
        )
    calls = []
    for call in log.calls:
        if call.feedback is None or call.answered_by is None or call.prompt is None:
            continue
        grade = GradedCall(
            expert=call.answered_by,
            kinds=call.prompt.kinds,
            difficulty=call.prompt.difficulty,
            score=call.feedback,
            foreign=call.prompt.foreign,
            fingerprint=call.fingerprint,
        )
        calls.append(grade)
    return learn_from_grades(checkpoint, read_pool(configuration.path, settings), calls, out)


def _show_learnt(lessons: LearntGrades, out_folder: Path) -> None:
    """What changed, and how to use it or go back."""
    table = Table("learnt", "graded calls", "mean grade", "predicted before", "now", "± log-odds")
    for expert in lessons.experts:
        table.add_row(
            expert.expert,
            str(expert.calls),
            f"{expert.mean_score:.2f}",
            f"{expert.predicted_before:.2f}",
            f"{expert.predicted_after:.2f}",
            f"{expert.doubt_before:.2f} → {expert.doubt_after:.2f}",
        )
    out.print(table)
    if lessons.repeated:
        print_line(
            f"{lessons.repeated} graded calls were learnt from before and did not count again."
        )
    print_line(
        f'Wrote {out_folder}. To use it: router = "{out_folder}" in routoo.toml. To go back: the name that stood there.'
    )


def _title(calls: int, logs: Sequence[Path]) -> str:
    names = ", ".join(log.name for log in logs)
    noun = "call" if calls == 1 else "calls"
    return f"{calls} {noun} in {names}"


def _money_table(summary: FeedbackSummary) -> Table:
    """What was spent each week, with columns for calls in shadow where there are any."""
    has_shadow = bool(summary.shadow.calls)
    amounts = ["shadow", "spent", "routed"] if has_shadow else ["spent"]
    table = Table("week", "calls", *amounts, f"all on {summary.against}", "saved")
    table.columns[0].no_wrap = True

    for week in summary.weeks:
        cells = [week.week.isoformat(), str(week.calls)]
        if has_shadow:
            cells.append(str(week.shadow))
        cells.append("–" if week.spent is None else f"${week.spent:.4f}")
        if has_shadow:
            cells.append(f"${week.routed:.4f}")
        cells.append(f"${week.savings.baseline_usd:.4f}")
        cells.append(week.savings.percent())
        table.add_row(*cells)
    return table


def _feedback_table(summary: FeedbackSummary) -> Table:
    """What people thought each week; the calibration error, where enough of them did."""
    table = Table("week", "feedback", "predicted", DRIFT)
    has_error = any(week.stats.calibration_error for week in summary.weeks)
    if has_error:
        table.add_column("calibration error")

    for week in summary.weeks:
        cells = [week.week.isoformat(), *_feedback_cells(week.stats)]
        error = week.stats.calibration_error
        if has_error:
            cells.append("–" if error is None else f"{error:.3f}")
        table.add_row(*cells)
    return table


def _expert_table(summary: FeedbackSummary) -> Table:
    has_shadow = bool(summary.shadow.calls)
    shares = ["share", "routed"] if has_shadow else ["share"]
    table = Table(
        Column("expert", overflow="fold"), "calls", *shares, "feedback", "predicted", DRIFT
    )
    for row in summary.experts:
        cells = [row.expert or "not named", str(row.calls), f"{row.share:.1%}"]
        if has_shadow:
            cells.append(f"{row.routed:.1%}")
        table.add_row(*cells, *_feedback_cells(row.stats))
    return table


def _feedback_cells(stats: FeedbackStats) -> list[str]:
    """The mean feedback and how often it was given, the prediction, and the drift with half its interval's width."""
    if stats.feedback is None or stats.predicted is None or stats.drift is None:
        return ["–"] * 3
    drift = f"{stats.drift:+.3f}"
    if stats.interval:
        drift += f" ±{stats.interval[1] - stats.drift:.3f}"
    return [f"{stats.feedback:.3f} ({stats.judged})", f"{stats.predicted:.3f}", drift]
