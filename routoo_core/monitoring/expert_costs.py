"""What calls would have cost with one expert, learnt from the calls that it answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, hypot, log, sqrt
from statistics import NormalDist

import numpy as np

from routoo_core.measures.curve import Array
from routoo_core.monitoring.routed_calls import RoutedCall

FEWEST_ANSWERS = 20
"""With fewer answers of its own, an expert's costs are judged by those of all experts."""

_Z = NormalDist().inv_cdf(0.975)
"""Standard errors on each side of a 95 % interval."""
_EXTRAPOLATION = 0.5
"""How much of the correction counts as uncertainty."""
_UNKNOWN_SPREAD = 0.5
"""Standard deviation of log(actual / expected) between experts, where too few experts show it."""
_FEWEST_EXPERTS = 3
_LARGEST_LEVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What calls would have cost, USD.

    Attributes:
        usd: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end.
        is_pooled: Whether it rests on the ratio of all experts, whose error every such estimate shares.
    """

    usd: float
    low: float
    high: float
    is_pooled: bool = False

    @property
    def below(self) -> float:
        """How far the interval reaches below the estimate."""
        return self.usd - self.low

    @property
    def above(self) -> float:
        """How far it reaches above."""
        return self.high - self.usd

    def plus(self, known_usd: float) -> CostEstimate:
        """The estimate with a known cost added."""
        usd = self.usd + known_usd
        return CostEstimate(usd, self.low + known_usd, self.high + known_usd, self.is_pooled)

    @classmethod
    def total(cls, estimates: Sequence[CostEstimate]) -> CostEstimate:
        """Estimates of several experts together.

        The errors of pooled ones are one error, so their half-widths add up. The others are independent, so the squares
        of theirs do.
        """
        usd = sum(estimate.usd for estimate in estimates)
        pool_estimates = [estimate for estimate in estimates if estimate.is_pooled]
        own = [estimate for estimate in estimates if not estimate.is_pooled]
        shared_below = sum(estimate.below for estimate in pool_estimates)
        shared_above = sum(estimate.above for estimate in pool_estimates)
        below = hypot(shared_below, *(estimate.below for estimate in own))
        above = hypot(shared_above, *(estimate.above for estimate in own))
        return cls(usd, max(0.0, usd - below), usd + above)


class ExpertCosts:
    """Forecasts what one expert costs.

    The router's expectation is scaled by the ratio of paid to expected on the calls that the expert answered. What is
    left is regressed on the expected cost and the predicted quality, since hard prompts get long answers and the router
    chooses by quality. The interval holds the noise of single calls, the uncertainty of the regression (HC3), and half
    of that correction, which shows how far the forecast extrapolates.

    Args:
        expert: Its name.
        calls: The log to learn from.
    """

    def __init__(self, expert: str, calls: Sequence[RoutedCall]) -> None:
        self._expert = expert
        self._fallback = _pooled_ratio(calls)
        answered_calls = [call for call in calls if self._is_known(call)]
        self._correction: _Fit | None = None
        if len(answered_calls) < FEWEST_ANSWERS:
            return
        cost = np.array([call.answer_usd for call in answered_calls], dtype=np.float64)
        expected = np.array([call.expected_usd[expert] for call in answered_calls])
        quality = np.array([call.qualities[expert] for call in answered_calls])
        if expected.sum() <= 0:
            return
        self._scale = float(expected.mean())
        self._ratio = float(cost.sum() / expected.sum())
        features = self._features(expected, quality)
        self._correction = _Fit(features, cost - self._ratio * expected)

    def estimate(self, calls: Sequence[RoutedCall]) -> CostEstimate:
        """What calls would have cost with the expert: known where it answered, else forecast.

        A call that the expert could not have served counts with what it cost, and so does a reply from a cache.
        """
        known_usd = 0.0
        forecast_calls = []
        for call in calls:
            if self._is_known(call):
                known_usd += self._usual_usd(call)
            elif self._expert in call.expected_usd and not call.is_cached:
                forecast_calls.append(call)
            else:
                known_usd += call.routed
        return self._forecast(forecast_calls).plus(known_usd)

    def _is_known(self, call: RoutedCall) -> bool:
        """Whether the expert answered, and it is known what that cost."""
        is_answer = call.answered_by == self._expert and call.answer_usd is not None
        return is_answer and self._expert in call.expected_usd

    def _usual_usd(self, call: RoutedCall) -> float:
        """What the expert's own answer would have cost had it answered the turn before as well."""
        assert call.answer_usd is not None  # noqa: S101
        expected = call.expected_usd[self._expert]
        if not expected:
            return call.answer_usd
        return call.answer_usd * call.continued_usd[self._expert] / expected

    def _forecast(self, calls: Sequence[RoutedCall]) -> CostEstimate:
        """What calls that the expert did not answer would have cost with it."""
        if not calls:
            return CostEstimate(0.0, 0.0, 0.0)
        expected = np.array([call.continued_usd[self._expert] for call in calls])
        if self._correction is None:
            return self._fallback.forecast(float(expected.sum()))
        quality = np.array([call.qualities[self._expert] for call in calls])
        correction, variance = self._correction.total(self._features(expected, quality))
        usd = self._ratio * float(expected.sum()) + correction
        variance += (_EXTRAPOLATION * correction) ** 2
        half_width = self._correction.quantile * sqrt(variance)
        return CostEstimate(max(0.0, usd), max(0.0, usd - half_width), usd + half_width)

    def _features(self, expected: Array, quality: Array) -> Array:
        """The regression's columns: the expected cost, one, and the predicted quality."""
        return np.column_stack([expected / self._scale, np.ones(len(expected)), quality])


class CostForecasts:
    """What calls would have cost, each with an expert of one's choice.

    Args:
        calls: The log to learn from.
    """

    def __init__(self, calls: Sequence[RoutedCall]) -> None:
        self._calls = calls
        self._costs: dict[str, ExpertCosts] = {}

    def estimate(
        self, calls: Sequence[RoutedCall], expert_of: Callable[[RoutedCall], str]
    ) -> CostEstimate:
        """What calls would have cost.

        Args:
            calls: Some of the log.
            expert_of: Who would have answered a call.
        """
        calls_of: dict[str, list[RoutedCall]] = {}
        for call in calls:
            calls_of.setdefault(expert_of(call), []).append(call)
        estimates = [self._costs_of(name).estimate(calls_of[name]) for name in calls_of]
        return CostEstimate.total(estimates)

    def _costs_of(self, expert: str) -> ExpertCosts:
        if expert not in self._costs:
            self._costs[expert] = ExpertCosts(expert, self._calls)
        return self._costs[expert]


class _Fit:
    """Least squares with a covariance that allows for noise of unequal size (HC3).

    Args:
        features: Calls × features.
        usd: What is to be explained, of each call.
    """

    def __init__(self, features: Array, usd: Array) -> None:
        inverse = np.linalg.pinv(features.T @ features, hermitian=True)
        self._coefficients = inverse @ features.T @ usd
        leverage = np.einsum("ij,jk,ik->i", features, inverse, features)
        residuals = usd - features @ self._coefficients
        left_out = residuals / (1 - np.minimum(leverage, _LARGEST_LEVERAGE))
        squares = left_out**2
        # Long answers are rare and large: there may be one more of them than these calls show.
        tail = 1 + float(squares.max()) / max(float(squares.sum()), 1e-300)
        residual_features = features * left_out[:, None]
        self._covariance = tail * inverse @ (residual_features.T @ residual_features) @ inverse
        self._noise = tail * float(squares.mean())
        freedom = len(usd) - features.shape[1]
        self.quantile = _Z + (_Z**3 + _Z) / (4 * freedom)  # of Student's t, to its second term

    def total(self, features: Array) -> tuple[float, float]:
        """USD of new calls together, and the variance of its error."""
        together = features.sum(axis=0)
        variance = together @ self._covariance @ together + self._noise * len(features)
        return float(together @ self._coefficients), float(variance)


@dataclass(frozen=True, slots=True)
class _Ratio:
    """Paid over expected of all experts together, and how much that differs between experts.

    Attributes:
        ratio: 1 where too few calls show it.
        spread: Standard deviation of the logarithm of one expert's ratio.
    """

    ratio: float
    spread: float

    def forecast(self, expected: float) -> CostEstimate:
        """Estimate the cost of an expert with too few answers of its own, from the ratio of all experts."""
        usd = self.ratio * expected
        factor = exp(_Z * self.spread)
        return CostEstimate(usd, usd / factor, usd * factor, is_pooled=True)


def _pooled_ratio(calls: Sequence[RoutedCall]) -> _Ratio:
    cost: dict[str, float] = {}
    expected: dict[str, float] = {}
    count = 0
    for call in calls:
        name = call.answered_by
        if name is None or call.answer_usd is None or not call.expected_usd.get(name):
            continue
        count += 1
        cost[name] = cost.get(name, 0.0) + call.answer_usd
        expected[name] = expected.get(name, 0.0) + call.expected_usd[name]
    if count < FEWEST_ANSWERS or not sum(cost.values()):
        return _Ratio(1.0, _UNKNOWN_SPREAD)

    logarithms = [log(cost[name] / expected[name]) for name in cost if cost[name]]
    spread = _UNKNOWN_SPREAD
    if len(logarithms) >= _FEWEST_EXPERTS:
        spread = max(spread, float(np.std(logarithms, ddof=1)))
    return _Ratio(sum(cost.values()) / sum(expected.values()), spread)
