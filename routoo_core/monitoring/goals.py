"""How far calls have reached the goal of their policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from routoo_core.monitoring.expert_costs import CostForecasts
from routoo_core.monitoring.routed_calls import RoutedCall

MATCH_BEST = "match_best"
SAVE = "save"

_Z = 1.96  # standard errors on each side of a 95 % interval
_FEWEST_GRADED = 2


@dataclass(frozen=True, slots=True)
class GoalProgress:
    """A goal, and what the calls under it have reached.

    Attributes:
        policy: ``match_best`` or ``save``.
        target: The share that is the goal, 0–1.
        calls: Live calls under this goal.
        reached: The share they reached. Of ``match_best`` by prediction; of ``save`` by what was paid, beside the
            estimated cost of the expert of the highest predicted quality. ``None`` where the best comes to nothing.
        graded: Number of calls that somebody judged; only for ``match_best``.
        observed: Feedback on them as a share of what was predicted of the best.
        interval: Ends of the 95 % interval of ``observed``, or for ``save`` of ``reached``. ``None`` where one call was
            judged, or where the best may have cost nothing.
    """

    policy: str
    target: float
    calls: int
    reached: float | None
    graded: int = 0
    observed: float | None = None
    interval: tuple[float, float] | None = None

    def describe(self) -> str:
        """Goal and progress in a sentence."""
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        share = "unknown" if self.reached is None else f"{self.reached:.1%}"
        if self.policy == SAVE:
            if self.interval is not None:
                share += f" ({self.interval[0]:.1%} to {self.interval[1]:.1%})"
            return f"Goal: save {self.target:.1%} of what the best would cost. Saved: {share}, over {calls}."
        sentence = f"Goal: {self.target:.1%} of the best's quality. Reached by prediction: {share}, over {calls}."
        if self.observed is None:
            return sentence
        interval = ""
        if self.interval is not None:
            interval = f" ({self.interval[0]:.1%} to {self.interval[1]:.1%})"
        return f"{sentence} By feedback on {self.graded:,}: {self.observed:.1%}{interval}."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def goal_progress(calls: Sequence[RoutedCall], forecasts: CostForecasts) -> list[GoalProgress]:
    """The progress of every goal among the live calls of a log, in the order in which they were set."""
    calls_of: dict[tuple[str, float], list[RoutedCall]] = {}
    for call in calls:
        goal = _goal_of(call)
        if goal is not None:
            calls_of.setdefault(goal, []).append(call)

    progress = []
    for (policy, target), under_goal in calls_of.items():
        if policy == SAVE:
            progress.append(_saving_progress(target, under_goal, forecasts))
        else:
            progress.append(_match_progress(target, under_goal))
    return progress


def _goal_of(call: RoutedCall) -> tuple[str, float] | None:
    """Policy and target of a live call; ``None`` without a goal."""
    parameters = call.policy.parameters
    if call.shadow or call.is_cached:
        return None
    if call.policy.name == MATCH_BEST and "quality" in parameters:
        return MATCH_BEST, float(parameters["quality"])
    if call.policy.name == SAVE and "share" in parameters:
        return SAVE, float(parameters["share"])
    return None


def _match_progress(target: float, calls: Sequence[RoutedCall]) -> GoalProgress:
    """Predicted quality, and feedback, as shares of what was predicted of the best."""
    best = sum(_best_quality(call) for call in calls)
    quality = sum(call.qualities[call.choice] for call in calls)
    graded_calls = [call for call in calls if call.feedback is not None]
    observed, interval = _observed_share(graded_calls)
    return GoalProgress(
        policy=MATCH_BEST,
        target=target,
        calls=len(calls),
        reached=quality / best if best else None,
        graded=len(graded_calls),
        observed=observed,
        interval=interval,
    )


def _observed_share(
    calls: Sequence[RoutedCall],
) -> tuple[float | None, tuple[float, float] | None]:
    """Feedback as a share of the quality predicted of the best, and its interval."""
    best = sum(_best_quality(call) for call in calls)
    if not best:
        return None, None
    share = sum(call.feedback or 0.0 for call in calls) / best
    if len(calls) < _FEWEST_GRADED:
        return share, None
    squares = sum(((call.feedback or 0.0) - share * _best_quality(call)) ** 2 for call in calls)
    half_width = _Z * sqrt(squares) / best
    return share, (share - half_width, share + half_width)


def _saving_progress(
    target: float, calls: Sequence[RoutedCall], forecasts: CostForecasts
) -> GoalProgress:
    """What was saved of the cost of the best."""
    best = forecasts.estimate(calls, _best_expert)
    spending = sum(call.routed for call in calls)
    share = None
    interval = None
    if best.usd > 0:
        share = 1 - spending / best.usd
    if best.low > 0:
        interval = (1 - spending / best.low, 1 - spending / best.high)
    return GoalProgress(SAVE, target, len(calls), share, interval=interval)


def _best_expert(call: RoutedCall) -> str:
    """The candidate of the highest predicted quality."""
    return max(call.qualities, key=lambda name: call.qualities[name])


def _best_quality(call: RoutedCall) -> float:
    return max(call.qualities.values())
