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
from routoo_core.monitoring.logged_calls import RoutedCall

PER_BIN = 50  # answers in a bin of the calibration error, so that chance makes about 0.04 of it
MOST_BINS = 10

_Z = 1.96


@dataclass(frozen=True, slots=True)
class FeedbackStats:
    """What was thought of some calls beside what was predicted of them.

    Attributes:
        judged: Calls with feedback, for whose expert there was a prediction; the means are over these.
        unpredicted: Calls with feedback for somebody who was no candidate, or is not named.
        feedback: Mean, 0–1; ``None`` without any.
        predicted: Mean quality predicted for the same calls.
        drift: Mean of feedback less prediction, -1 to 1: below 0, predictions are too high.
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
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    def describe(self) -> str:
        """The drift and its interval in words; empty where it may be chance."""
        if self.drift is None or self.interval is None or not self.drifts:
            return ""
        near, far = sorted(abs(end) for end in self.interval)
        return f"predictions are {abs(self.drift):.2f} too {'low' if self.drift > 0 else 'high'} ({near:.2f} to {far:.2f})"


@dataclass(frozen=True, slots=True)
class Week:
    """What a week's calls came to.

    Attributes:
        week: Its Monday, UTC.
        calls: How many.
        shadow: How many of them the router was only asked about.
        spent: USD really spent, of the calls where that is known; ``None`` where it is of none.
        unpriced: Calls where it is not known; only shadow calls can be.
        routed: USD spent through the router; of shadow calls, what it expected to spend.
        against: USD that everything on one expert would have cost, by what was expected of each call; calls where it
            was no candidate at what they cost through the router.
        stats: Feedback and predictions.
        shares: Expert → share of the calls that the router sent there, or in shadow would have.
    """

    week: date
    calls: int
    shadow: int
    spent: float | None
    unpriced: int
    routed: float
    against: float
    stats: FeedbackStats
    shares: dict[str, float]

    @property
    def saved(self) -> float | None:
        """Share of ``against`` that routing saves; ``None`` where that is nothing."""
        return 1 - self.routed / self.against if self.against else None


@dataclass(frozen=True, slots=True)
class ExpertCalls:
    """The calls of one expert over the whole log.

    Attributes:
        expert: Who; ``None`` for shadow calls that do not say who answered.
        calls: That it answered.
        share: Of all calls, 0–1.
        routed: Share of all calls that the router sent there, or in shadow would have, 0–1.
        stats: Feedback and predictions of those it answered.
    """

    expert: str | None
    calls: int
    share: float
    routed: float
    stats: FeedbackStats


@dataclass(frozen=True, slots=True)
class ShadowCalls:
    """Calls the router was only asked about.

    Attributes:
        calls: How many.
        priced: How many of them are known to have cost something; the amounts are of these.
        spent: USD really spent.
        routed: USD the router expected to spend on the same calls.
    """

    calls: int
    priced: int
    spent: float
    routed: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A log by week and by expert.

    Attributes:
        against: The expert everything is held against.
        weeks: Those with calls, oldest first.
        experts: The one with the most calls first.
        shadow: Its shadow calls.
        stats: Feedback and predictions of all calls.
    """

    against: str
    weeks: list[Week]
    experts: list[ExpertCalls]
    shadow: ShadowCalls
    stats: FeedbackStats

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "against": self.against,
            "weeks": [{**_flat(week), "week": week.week.isoformat()} for week in self.weeks],
            "experts": [_flat(row) for row in self.experts],
            "shadow": asdict(self.shadow),
            **asdict(self.stats),
        }


def summarise_feedback(calls: Sequence[RoutedCall], against: str | None = None) -> Summary:
    """Sum calls up.

    Args:
        calls: At least one.
        against: What would everything on this expert have cost? By default the dearest.

    Raises:
        OutcomesError: ``against`` was never a candidate.
    """
    known = sorted({name for call in calls for name in call.elsewhere})
    if against is not None and against not in known:
        raise OutcomesError(
            f"--against: {against!r} was never a candidate; choose one of {', '.join(known)}"
        )
    other = against or dearest(calls)
    return Summary(
        other, _weeks(calls, other), _experts(calls), _shadow(calls), feedback_stats(calls)
    )


def dearest(calls: Sequence[RoutedCall]) -> str:
    """The candidate that calls were expected to cost most with, on average."""
    costs: dict[str, list[float]] = {}
    for call in calls:
        for name, usd in call.elsewhere.items():
            costs.setdefault(name, []).append(usd)
    return max(costs, key=lambda name: float(np.mean(costs[name])))


def feedback_stats(calls: Sequence[RoutedCall]) -> FeedbackStats:
    """Hold feedback against predictions.

    The interval of the drift is the normal one, mean ± 1.96 s/√n. Its variance s² is at least the mean
    of p(1 - p): what thumbs up and down vary by when the predictions p are right. A few equal answers, whose own
    variance is 0, are so no proof of drift. Finer feedback varies less, and its interval is rather too wide.
    """
    told = [(call.feedback, call.predicted) for call in calls if call.feedback is not None]
    pairs = [(feedback, predicted) for feedback, predicted in told if predicted is not None]
    if not pairs:
        return FeedbackStats(0, len(told))
    feedback, predicted = np.array(pairs, dtype=np.float64).T
    return FeedbackStats(
        len(pairs),
        len(told) - len(pairs),
        float(feedback.mean()),
        float(predicted.mean()),
        float((feedback - predicted).mean()),
        _interval(feedback, predicted),
        _calibration_error(feedback, predicted),
    )


def remarks(found: Summary) -> list[str]:
    """What a summary shows, in sentences: shadow calls, drift that is no chance, and what to do about it."""
    drifting = [
        (f"Week of {week.week.isoformat()}", week.stats)
        for week in found.weeks
        if week.stats.drifts
    ]
    drifting += [
        (f"{row.expert}, all weeks", row.stats) for row in found.experts if row.stats.drifts
    ]
    said = _of_shadow(found) + [f"{what}: {stats.describe()}." for what, stats in drifting]
    if drifting:
        advice = "'routoo train' again with these answers ('routoo data from-logs')"
        said.append(f"One in twenty is so by chance; if it stays, {advice}.")
    if not found.stats.judged:
        said.append("No feedback to judge predictions by: log 'feedback' from 0 to 1.")
    if found.stats.unpredicted:
        who = "who gave them was no candidate, or is not named in answered_by"
        said.append(
            f"Feedback that judges no prediction: {found.stats.unpredicted} answers; {who}."
        )
    return said


def _of_shadow(found: Summary) -> list[str]:
    shadow = found.shadow
    if not shadow.calls:
        return []
    if not shadow.priced:
        return [
            f"Shadow calls: {shadow.calls}; none says what it cost: log answered_by or cost_usd."
        ]
    change = f" ({shadow.routed / shadow.spent - 1:+.0%})" if shadow.spent else ""
    said = f"{shadow.priced} of {shadow.calls} shadow calls say what they cost: ${shadow.spent:.4f} together"
    return [f"{said}; the router expected to spend ${shadow.routed:.4f} on them{change}."]


def _weeks(calls: Sequence[RoutedCall], against: str) -> list[Week]:
    groups: dict[date, list[RoutedCall]] = {}
    for call in calls:
        day = call.time.astimezone(UTC).date()
        groups.setdefault(day - timedelta(days=day.weekday()), []).append(call)
    return [_week(monday, group, against) for monday, group in sorted(groups.items())]


def _week(monday: date, calls: Sequence[RoutedCall], against: str) -> Week:
    spent = [call.spent for call in calls if call.spent is not None]
    return Week(
        monday,
        len(calls),
        sum(call.shadow for call in calls),
        sum(spent) if spent else None,
        len(calls) - len(spent),
        sum(call.routed for call in calls),
        sum(call.elsewhere.get(against, call.routed) for call in calls),
        feedback_stats(calls),
        {name: _share(calls, name) for name in sorted({call.choice for call in calls})},
    )


def _experts(calls: Sequence[RoutedCall]) -> list[ExpertCalls]:
    names = {call.answered_by for call in calls} | {call.choice for call in calls}
    rows = [_expert(name, calls) for name in names]
    return sorted(rows, key=lambda row: (-row.calls, row.expert is None, row.expert or ""))


def _expert(name: str | None, calls: Sequence[RoutedCall]) -> ExpertCalls:
    own = [call for call in calls if call.answered_by == name]
    return ExpertCalls(
        name, len(own), len(own) / len(calls), _share(calls, name), feedback_stats(own)
    )


def _share(calls: Sequence[RoutedCall], name: str | None) -> float:
    return sum(call.choice == name for call in calls) / len(calls)


def _shadow(calls: Sequence[RoutedCall]) -> ShadowCalls:
    asked = [call for call in calls if call.shadow]
    priced = [(call.spent, call.routed) for call in asked if call.spent is not None]
    return ShadowCalls(
        len(asked),
        len(priced),
        sum(spent for spent, _ in priced),
        sum(routed for _, routed in priced),
    )


def _interval(feedback: Array, predicted: Array) -> tuple[float, float] | None:
    """See :func:`feedback_stats`."""
    if len(feedback) < 2:
        return None
    apart = feedback - predicted
    variance = max(apart.var(ddof=1), (predicted * (1 - predicted)).mean())
    mean, half = float(apart.mean()), _Z * float(variance / len(apart)) ** 0.5
    return mean - half, mean + half


def _calibration_error(feedback: Array, predicted: Array) -> float | None:
    bins = min(len(feedback) // PER_BIN, MOST_BINS)
    return expected_calibration_error(predicted, feedback, bins) if bins > 1 else None


def _flat(part: Week | ExpertCalls) -> dict[str, Any]:
    fields = asdict(part)
    return {**fields, **fields.pop("stats")}
