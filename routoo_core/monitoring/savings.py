"""What routing saves against one expert for everything, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import hypot
from typing import Any

from routoo_core.monitoring.expert_costs import CostEstimate, CostForecasts
from routoo_core.monitoring.routed_calls import RoutedCall

ROUTER_USD_PER_HOUR = 0.10
"""What the machine costs that predicts: two cores in a cloud."""

_SECONDS_PER_HOUR = 3600.0
_NO_DIFFERENCE = 0.005
"""Savings below this share of the baseline's cost are none; they read as 0 %."""


@dataclass(frozen=True, slots=True)
class Savings:
    """The cost of some calls, compared with their estimated cost on one baseline expert.

    Attributes:
        baseline: The expert that would have answered everything.
        calls: Number of calls.
        shadow: Number of shadow calls, for which the router only decided.
        answered: Number of the calls that the baseline answered.
        spent: Cost of the calls in USD, failed tries included; of a shadow call, its expected cost.
        routing: Cost of the machine's time for predictions, USD.
        baseline_usd: Estimated cost with the baseline, USD. It counts on the baseline's prompt caches.
        baseline_low: Lower end of its 95 % interval.
        baseline_high: Upper end.
        low: Lower end of the savings, 95 %, USD.
        high: Upper end of the savings, 95 %, USD.
        share_interval: 95 % interval of the savings as a share of ``baseline_usd``; ``None`` where the baseline may
            have cost nothing.
        quality: Mean predicted quality of the experts that answered, 0–1; ``None`` without predictions.
        baseline_quality: Mean predicted quality of the baseline on the same calls.
    """

    baseline: str
    calls: int
    shadow: int
    answered: int
    spent: float
    routing: float
    baseline_usd: float
    baseline_low: float
    baseline_high: float
    low: float
    high: float
    share_interval: tuple[float, float] | None
    quality: float | None
    baseline_quality: float | None

    @property
    def saved(self) -> float:
        """USD saved; negative where routing costs more."""
        return self.baseline_usd - self.spent - self.routing

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    @property
    def has_no_difference(self) -> bool:
        """Whether every call went to the baseline, and routing itself cost next to nothing."""
        if not self._is_all_on_baseline:
            return False
        return abs(self.saved) <= _NO_DIFFERENCE * self.baseline_usd

    def describe(self) -> str:
        """The savings in a sentence or two."""
        if not self.calls:
            return "No call was routed."
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        verb = "would cost about" if self.shadow else "cost"
        sentences = [f"Routed, {calls} {verb} {self._usd(self.spent)}."]
        if self.has_no_difference:
            sentences.append(
                f"{self.baseline} answered all of them, so nothing is saved against it."
            )
            return " ".join(sentences)

        sentences.append(self._describe_baseline())
        sentences.append(self._describe_saving())
        if self._is_all_on_baseline:
            return " ".join(sentences)
        if self.quality is not None and self.baseline_quality is not None:
            sentences.append(
                f"Predicted quality: {self.quality:.3f}, beside {self.baseline_quality:.3f} with {self.baseline}."
            )
        return " ".join(sentences)

    def percent(self) -> str:
        """The share that is saved, with its interval; ``cannot tell`` where that holds zero."""
        if self.has_no_difference:
            return "0%"
        if not self.is_clear or not self.baseline_usd:
            return "cannot tell"
        share = f"{self.saved / self.baseline_usd:.0%}"
        if self.share_interval is None:
            return share
        low, high = (f"{end:.0%}" for end in self.share_interval)
        return share if low == high else f"{share} ({low} to {high})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "saved": self.saved, "is_clear": self.is_clear}

    @property
    def _is_all_on_baseline(self) -> bool:
        return self.calls > 0 and self.answered == self.calls

    def _describe_baseline(self) -> str:
        usd = self._usd(self.baseline_usd)
        low = self._usd(self.baseline_low)
        high = self._usd(self.baseline_high)
        if self._is_all_on_baseline:
            return f"{self.baseline} answered all of them; its answers alone cost {usd} of that."
        return f"All on {self.baseline}, they would have cost about {usd} ({low} to {high})."

    def _describe_saving(self) -> str:
        if not self.is_clear:
            return f"Whether that saves anything cannot be told: {self._usd(self.low)} to {self._usd(self.high)}."
        verb = "saves" if self.saved > 0 else "loses"
        return f"Routing {verb} {self._usd(abs(self.saved))}, {self.percent()}."

    def _usd(self, amount: float) -> str:
        """An amount in a sentence, with as many digits as the larger of the two costs asks for."""
        largest = max(self.spent, self.baseline_usd)
        digits = 2 if largest >= 10 else 4 if largest >= 0.01 else 6
        sign = "-" if amount < 0 else ""
        return f"{sign}${abs(amount):,.{digits}f}"


class SavingsEstimator:
    """Estimates what routing saves against one expert.

    Args:
        baseline: The expert that would have answered everything.
        calls: The whole log, to learn from what each expert costs.
        usd_per_hour: What the machine costs that predicts.
    """

    def __init__(
        self,
        baseline: str,
        calls: Sequence[RoutedCall],
        usd_per_hour: float = ROUTER_USD_PER_HOUR,
    ) -> None:
        self._baseline = baseline
        self._usd_per_hour = usd_per_hour
        self._forecasts = CostForecasts(calls)

    def savings(self, calls: Sequence[RoutedCall]) -> Savings:
        """What routing saves on some calls of the log."""
        without_routing = self._on_baseline(calls)
        with_routing = self.cost_with_routing(calls)
        seconds = sum(call.predict_s for call in calls)
        routing = seconds / _SECONDS_PER_HOUR * self._usd_per_hour
        difference = without_routing.usd - with_routing.usd - routing
        differing = [call for call in calls if not self._is_alike(call)]
        baseline = self._on_baseline(differing)
        choices = self.cost_with_routing(differing)
        low = difference - hypot(baseline.below, choices.above)
        high = difference + hypot(baseline.above, choices.below)
        alike = self._on_baseline([call for call in calls if self._is_alike(call)])
        comparable = [
            call for call in calls if {call.choice, self._baseline} <= set(call.qualities)
        ]
        return Savings(
            baseline=self._baseline,
            calls=len(calls),
            shadow=sum(call.shadow for call in calls),
            answered=sum(call.choice == self._baseline for call in calls),
            spent=with_routing.usd,
            routing=routing,
            baseline_usd=without_routing.usd,
            baseline_low=without_routing.low,
            baseline_high=without_routing.high,
            low=low,
            high=high,
            share_interval=_share_interval(low, high, with_routing.usd + routing, alike),
            quality=_mean([call.qualities[call.choice] for call in comparable]),
            baseline_quality=_mean([call.qualities[self._baseline] for call in comparable]),
        )

    def _on_baseline(self, calls: Sequence[RoutedCall]) -> CostEstimate:
        return self._forecasts.estimate(calls, lambda _: self._baseline)

    def _is_alike(self, call: RoutedCall) -> bool:
        """Whether the same forecast holds with routing and without: what it is off by makes no difference."""
        return call.shadow and call.choice == self._baseline

    def cost_with_routing(self, calls: Sequence[RoutedCall]) -> CostEstimate:
        """What calls cost through the router: known of live calls, forecast of calls in shadow."""
        live_usd = sum(call.routed for call in calls if not call.shadow)
        shadow = [call for call in calls if call.shadow]
        forecast = self._forecasts.estimate(shadow, lambda call: call.choice)
        return forecast.plus(live_usd)


def _share_interval(
    low: float, high: float, cost: float, alike: CostEstimate
) -> tuple[float, float] | None:
    """Ends of the share of the baseline's cost that is saved.

    Args:
        low: Lower end of what is saved, USD.
        high: Upper end.
        cost: USD with routing.
        alike: Calls that cost the same either way: they are part of the whole whose share is saved.
    """
    cost_at_low = cost + alike.above if low > 0 else cost - alike.below
    cost_at_high = cost - alike.below if high > 0 else cost + alike.above
    if low + cost_at_low <= 0 or high + cost_at_high <= 0:
        return None
    return low / (low + cost_at_low), high / (high + cost_at_high)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
