"""``routoo feedback``: what logged calls came to week by week, and whether the predictions still hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, timedelta
from typing import Any

import numpy as np

from routoo_core.errors import OutcomesError
from routoo_core.measures.curve import Array
from routoo_core.measures.metrics import expected_calibration_error
from routoo_core.monitoring.expert_costs import CostForecasts
from routoo_core.monitoring.goals import GoalProgress, goal_progress
from routoo_core.monitoring.routed_calls import RoutedCall, RoutedLog
from routoo_core.monitoring.savings import ROUTER_USD_PER_HOUR, Savings, SavingsEstimator

PER_BIN = 50  # answers in a bin of the calibration error, so that chance makes about 0.04 of it
MOST_BINS = 10

_Z = 1.96  # standard errors on each side of a 95 % interval


@dataclass(frozen=True, slots=True)
class FeedbackStats:
    """Feedback on some calls beside what was predicted of them.

    Attributes:
        judged: Calls with feedback whose expert had a prediction; the means are over these.
        unpredicted: Calls with feedback whose expert was no candidate, or is not named.
        feedback: Mean feedback, 0–1; ``None`` without any.
        predicted: Mean quality predicted for the same calls, 0–1.
        drift: Mean of feedback less prediction, -1 to 1; below 0, predictions are too high.
        interval: Ends of the drift's 95 % interval; ``None`` below two calls. See :func:`feedback_stats`.
        calibration_error: Mean distance of predictions from feedback over groups of about equal prediction, 0–1;
            ``None`` below ``2 * PER_BIN`` calls.
    """

    judged: int
    unpredicted: int
    feedback: float | None = None
    predicted: float | None = None
    drift: float | None = None
    interval: tuple[float, float] | None = None
    calibration_error: float | None = None

    @property
    def drifts(self) -> bool:
        """Whether the interval excludes zero."""
        if self.interval is None:
            return False
        low, high = self.interval
        return low > 0 or high < 0

    def describe(self) -> str:
        """The drift and its interval in words; empty where it may be chance."""
        if self.drift is None or self.interval is None or not self.drifts:
            return ""
        low, high = self.interval
        near, far = sorted([abs(low), abs(high)])
        direction = "low" if self.drift > 0 else "high"
        amount = f"{abs(self.drift):.2f} too {direction}"
        return f"predictions are {amount} ({near:.2f} to {far:.2f})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Week:
    """What a week's calls came to.

    Attributes:
        week: Its Monday, UTC.
        calls: Number of calls.
        shadow: Number of calls for which the router was only asked.
        spent: USD really spent, on the calls where that is known; ``None`` where it is known of none.
        unpriced: Calls where it is not known; only shadow calls can be.
        routed: USD spent through the router; for shadow calls, what it would probably have spent.
        savings: Beside what everything on one expert would have cost.
        stats: Feedback and predictions.
        shares: Expert → share of the calls that the router sent there, or would have sent in shadow.
    """

    week: date
    calls: int
    shadow: int
    spent: float | None
    unpriced: int
    routed: float
    savings: Savings
    stats: FeedbackStats
    shares: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, those of ``stats`` among them."""
        return {
            "week": self.week.isoformat(),
            "calls": self.calls,
            "shadow": self.shadow,
            "spent": self.spent,
            "unpriced": self.unpriced,
            "routed": self.routed,
            "savings": self.savings.to_dict(),
            "shares": self.shares,
            **self.stats.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class ExpertCalls:
    """The calls of one expert over the whole log.

    Attributes:
        expert: Its name; ``None`` for shadow calls that do not say who answered.
        calls: Number of calls that it answered.
        share: Of all calls, 0–1.
        routed: Share of all calls that the router sent there, or would have sent in shadow, 0–1.
        stats: Feedback and predictions of those it answered.
    """

    expert: str | None
    calls: int
    share: float
    routed: float
    stats: FeedbackStats

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, those of ``stats`` among them."""
        return {
            "expert": self.expert,
            "calls": self.calls,
            "share": self.share,
            "routed": self.routed,
            **self.stats.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class ShadowCalls:
    """Calls for which the router was only asked.

    Attributes:
        calls: Number of calls.
        priced: Number of calls whose cost is known; the amounts are over these.
        spent: USD really spent.
        routed: USD that the router would probably have spent on the same calls.
    """

    calls: int
    priced: int
    spent: float
    routed: float

    def describe(self) -> str:
        """The calls and amounts in words."""
        if not self.priced:
            return (
                f"Shadow calls: {self.calls}; none says what it cost: log answered_by or cost_usd."
            )
        change = f" ({self.routed / self.spent - 1:+.0%})" if self.spent else ""
        return (
            f"{self.priced} of {self.calls} shadow calls say what they cost: ${self.spent:.4f} together; "
            f"routed they would have cost about ${self.routed:.4f}{change}."
        )


@dataclass(frozen=True, slots=True)
class FeedbackSummary:
    """A log by week and by expert.

    Attributes:
        against: The expert that everything is compared with.
        savings: Of all calls.
        goals: The goals that calls were made under, and how far they were reached.
        weeks: Those with calls, oldest first.
        experts: The one with the most calls first.
        shadow: The shadow calls.
        failed: Failed calls that were left out.
        stats: Feedback and predictions of all calls.
    """

    against: str
    savings: Savings
    goals: list[GoalProgress]
    weeks: list[Week]
    experts: list[ExpertCalls]
    shadow: ShadowCalls
    failed: int
    stats: FeedbackStats

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "against": self.against,
            "savings": self.savings.to_dict(),
            "goals": [goal.to_dict() for goal in self.goals],
            "weeks": [week.to_dict() for week in self.weeks],
            "experts": [row.to_dict() for row in self.experts],
            "shadow": asdict(self.shadow),
            "failed": self.failed,
            **self.stats.to_dict(),
        }


def summarise_feedback(
    log: RoutedLog, against: str | None = None, usd_per_hour: float = ROUTER_USD_PER_HOUR
) -> FeedbackSummary:
    """Sum a log up.

    Args:
        log: At least one call.
        against: The expert to compare everything with; by default the dearest.
        usd_per_hour: What the machine costs that predicts.

    Raises:
        OutcomesError: ``against`` was never a candidate.
    """
    calls = log.calls
    expected_costs = _expected_costs(calls)
    if against is None:
        against = _dearest(expected_costs)
    elif against not in expected_costs:
        names = ", ".join(sorted(expected_costs))
        raise OutcomesError(f"against: {against!r} was never a candidate; choose one of {names}")
    estimator = SavingsEstimator(against, calls, usd_per_hour)
    return FeedbackSummary(
        against=against,
        savings=estimator.savings(calls),
        goals=goal_progress(calls, CostForecasts(calls)),
        weeks=_by_week(calls, estimator),
        experts=_by_expert(calls),
        shadow=_shadow_calls(calls, estimator),
        failed=log.failed,
        stats=feedback_stats(calls),
    )


def feedback_stats(calls: Sequence[RoutedCall]) -> FeedbackStats:
    """Compare feedback with predictions.

    The interval of the drift is the normal one, mean ± 1.96 s/√n. Its variance s² is at least the mean of p(1 - p):
    what thumbs up and down vary by when the predictions p are right. So a few equal answers, whose own variance is 0,
    do not show a drift. Finer feedback varies less, and its interval is rather too wide.
    """
    feedback_values: list[float] = []
    predicted_values: list[float] = []
    unpredicted_count = 0
    for call in calls:
        if call.feedback is None:
            continue
        if call.predicted is None:
            unpredicted_count += 1
            continue
        feedback_values.append(call.feedback)
        predicted_values.append(call.predicted)

    count = len(feedback_values)
    if not count:
        return FeedbackStats(0, unpredicted_count)
    feedback = np.array(feedback_values, dtype=np.float64)
    predicted = np.array(predicted_values, dtype=np.float64)
    difference = feedback - predicted
    return FeedbackStats(
        judged=count,
        unpredicted=unpredicted_count,
        feedback=float(feedback.mean()),
        predicted=float(predicted.mean()),
        drift=float(difference.mean()),
        interval=_drift_interval(difference, predicted),
        calibration_error=_calibration_error(feedback, predicted),
    )


def remarks(summary: FeedbackSummary) -> list[str]:
    """What a summary shows, in sentences, and what to do about it."""
    sentences = [goal.describe() for goal in summary.goals]
    if summary.shadow.calls:
        sentences.append(summary.shadow.describe())
    if summary.failed:
        sentences.append(f"Failed calls without a decision record, left out: {summary.failed}.")

    drifting = _drift_sentences(summary)
    if drifting:
        sentences += drifting
        advice = "'routoo train' again with these answers ('routoo data from-logs')"
        sentences.append(f"One in twenty is so by chance; if it stays, {advice}.")
    if not summary.stats.judged:
        sentences.append("No feedback to judge predictions by: log 'feedback' from 0 to 1.")
    if summary.stats.unpredicted:
        reason = "who gave them was no candidate, or is not named in answered_by"
        count = summary.stats.unpredicted
        sentences.append(f"Feedback that judges no prediction: {count} answers; {reason}.")
    return sentences


def _drift_sentences(summary: FeedbackSummary) -> list[str]:
    """A sentence for each week and each expert whose drift is unlikely to be chance."""
    sentences = []
    for week in summary.weeks:
        if week.stats.drifts:
            sentences.append(f"Week of {week.week.isoformat()}: {week.stats.describe()}.")
    for row in summary.experts:
        if row.stats.drifts:
            sentences.append(f"{row.expert}, all weeks: {row.stats.describe()}.")
    return sentences


def _expected_costs(calls: Sequence[RoutedCall]) -> dict[str, list[float]]:
    """Candidate → USD that each call was expected to cost there."""
    costs: dict[str, list[float]] = {}
    for call in calls:
        for name, usd in call.expected_usd.items():
            costs.setdefault(name, []).append(usd)
    return costs


def _dearest(expected_costs: dict[str, list[float]]) -> str:
    """The candidate with the highest mean expected cost."""
    mean_costs: dict[str, float] = {}
    for name, costs in expected_costs.items():
        mean_costs[name] = float(np.mean(costs))
    return max(mean_costs, key=mean_costs.__getitem__)


def _by_week(calls: Sequence[RoutedCall], estimator: SavingsEstimator) -> list[Week]:
    calls_of_week: dict[date, list[RoutedCall]] = {}
    for call in calls:
        day = call.time.astimezone(UTC).date()
        monday = day - timedelta(days=day.weekday())
        calls_of_week.setdefault(monday, []).append(call)

    weeks = []
    for monday in sorted(calls_of_week):
        weeks.append(_week(monday, calls_of_week[monday], estimator))
    return weeks


def _week(monday: date, calls: Sequence[RoutedCall], estimator: SavingsEstimator) -> Week:
    amounts = [call.spent for call in calls if call.spent is not None]
    choices = sorted({call.choice for call in calls})
    return Week(
        week=monday,
        calls=len(calls),
        shadow=sum(call.shadow for call in calls),
        spent=sum(amounts) if amounts else None,
        unpriced=len(calls) - len(amounts),
        routed=estimator.cost_with_routing(calls).usd,
        savings=estimator.savings(calls),
        stats=feedback_stats(calls),
        shares={name: _choice_share(calls, name) for name in choices},
    )


def _by_expert(calls: Sequence[RoutedCall]) -> list[ExpertCalls]:
    names: set[str | None] = set()
    for call in calls:
        names.add(call.answered_by)
        names.add(call.choice)
    rows = [_expert_calls(name, calls) for name in names]
    return sorted(rows, key=_most_calls_first)


def _most_calls_first(row: ExpertCalls) -> tuple[int, bool, str]:
    """The order of experts: by calls, then by name; calls of unknown experts last."""
    is_unknown = row.expert is None
    return (-row.calls, is_unknown, row.expert or "")


def _expert_calls(name: str | None, calls: Sequence[RoutedCall]) -> ExpertCalls:
    answers = [call for call in calls if call.answered_by == name]
    return ExpertCalls(
        expert=name,
        calls=len(answers),
        share=len(answers) / len(calls),
        routed=_choice_share(calls, name),
        stats=feedback_stats(answers),
    )


def _choice_share(calls: Sequence[RoutedCall], name: str | None) -> float:
    """Share of the calls that the router sent to an expert, or would have sent in shadow."""
    count = sum(call.choice == name for call in calls)
    return count / len(calls)


def _shadow_calls(calls: Sequence[RoutedCall], estimator: SavingsEstimator) -> ShadowCalls:
    shadow = [call for call in calls if call.shadow]
    priced_calls = [call for call in shadow if call.spent is not None]
    spending = sum(call.spent or 0.0 for call in priced_calls)
    return ShadowCalls(
        len(shadow), len(priced_calls), spending, estimator.cost_with_routing(priced_calls).usd
    )


def _drift_interval(difference: Array, predicted: Array) -> tuple[float, float] | None:
    """See :func:`feedback_stats`."""
    count = len(difference)
    if count < 2:
        return None
    thumbs_variance = (predicted * (1 - predicted)).mean()
    variance = max(difference.var(ddof=1), thumbs_variance)
    half_width = _Z * float(variance / count) ** 0.5
    mean = float(difference.mean())
    return mean - half_width, mean + half_width


def _calibration_error(feedback: Array, predicted: Array) -> float | None:
    bins = min(len(feedback) // PER_BIN, MOST_BINS)
    if bins <= 1:
        return None
    return expected_calibration_error(predicted, feedback, bins)
