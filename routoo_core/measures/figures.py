"""Figures read off a quality–cost curve, with intervals: RouteLLM's PGR, APGR and CPT, RouterBench's AIQ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from routoo_core.measures.curve import Array, Curve, ServedSweep, even_weights
from routoo_core.measures.simple_routers import best_and_cheapest

RESAMPLES = 200
NEVER = "never"
"""Stands for infinity in JSON, which has none: a cost at which a quality is never reached."""

JsonFigure = float | str | None


def json_figure(value: float) -> JsonFigure:
    """A figure for JSON: ``"never"`` for infinity, ``None`` for NaN, which is a figure that is not defined."""
    if np.isnan(value):
        return None
    if np.isinf(value):
        return NEVER
    return float(value)


def read_figure(value: JsonFigure) -> float:
    """A figure as :func:`json_figure` wrote it."""
    if value is None:
        return float("nan")
    if value == NEVER:
        return float("inf")
    return float(value)


def format_figure(value: JsonFigure) -> str:
    """A figure for readers, to three decimals: ``never`` for infinity, ``–`` where it is not defined."""
    if value is None or value == NEVER:
        return value or "–"
    number = float(value)
    if np.isnan(number):
        return "–"
    if np.isinf(number):
        return NEVER
    return f"{number:.3f}".replace("-0.000", "0.000")


@dataclass(frozen=True, slots=True)
class Baseline:
    """The best single expert of a pool, against which curves are measured, and the range of costs.

    Attributes:
        best_quality: Mean observed score of the best single expert, 0–1.
        best_cost: Its cost.
        cheapest_cost: Cost of the cheapest expert.
        cheapest_quality: Mean observed score of the cheapest expert, 0–1.
        dearest_cost: Cost of the dearest expert.
    """

    best_quality: float
    best_cost: float
    cheapest_cost: float
    cheapest_quality: float
    dearest_cost: float

    @property
    def gap(self) -> float:
        """Quality of the best single expert less that of the cheapest."""
        return self.best_quality - self.cheapest_quality

    def gap_recovered(self, quality: float) -> float:
        """Performance gap recovered: ``PGR = (quality - cheapest) / (best - cheapest)``.

        From RouteLLM (arXiv 2406.18665). NaN where the cheapest expert is the best.
        """
        return _ratio(quality - self.cheapest_quality, self.gap)

    def call_performance_threshold(self, curve: Curve, share: float) -> float:
        """Share of the cost range that recovers ``share`` of the gap.

        With two experts it is RouteLLM's CPT (arXiv 2406.18665): the share of the calls the stronger one gets.
        NaN where the cheapest expert is the best; infinite where the curve never gets so far.
        """
        if self.gap <= 0:
            return float("nan")

        needed_quality = self.cheapest_quality + share * self.gap
        needed_cost = curve.cost_of(needed_quality)
        cost_range = self.best_cost - self.cheapest_cost
        share_of_range = _ratio(needed_cost - self.cheapest_cost, cost_range)

        return float(np.maximum(0.0, share_of_range))


def measure_baseline(scores: Array, cost: Array, weights: Array | None = None) -> Baseline:
    """The best single expert of a pool, over all prompts or over a resample of them.

    Args:
        scores: Observed, prompts × experts, no NaN.
        cost: Cost of each expert.
        weights: One weight for each prompt, summing to 1; all equal by default.
    """
    if weights is None:
        weights = even_weights(len(scores))

    # A resample keeps the best expert of all prompts, and takes its own mean of the scores.
    best, cheapest = best_and_cheapest(scores, cost)
    mean = weights @ scores

    return Baseline(
        best_quality=float(mean[best]),
        best_cost=float(cost[best]),
        cheapest_cost=float(cost.min()),
        cheapest_quality=float(mean[cheapest]),
        dearest_cost=float(cost.max()),
    )


@dataclass(frozen=True, slots=True)
class CurveMetrics:
    """A curve beside the best single expert; infinite where never reached, NaN where not defined.

    Attributes:
        area: Mean quality over the costs from the cheapest expert's to the best single expert's.
        half: Quality at half the best single expert's cost, divided by its quality.
        three_quarters: The same at three quarters of its cost.
        gain: Quality at its cost, less its quality.
        aiq: Mean quality over the costs from the cheapest expert's to the dearest's: RouterBench's average
            improvement in quality, ``∫ quality dc / (c_max - c_min)`` over the hull (arXiv 2403.12031).
        match: Share of its cost that buys its quality.
        apgr: PGR averaged over the cost range, ``(area - cheapest) / (best - cheapest)``; with two experts
            RouteLLM's average performance gap recovered (arXiv 2406.18665).
        cpt50: Share of the cost range that recovers 50 % of the gap; see ``Baseline.call_performance_threshold``.
        cpt80: The same for 80 %.
    """

    area: float
    half: float
    three_quarters: float
    gain: float
    aiq: float
    match: float
    apgr: float
    cpt50: float
    cpt80: float


METRIC_NAMES = tuple(field.name for field in fields(CurveMetrics))


def curve_metrics(curve: Curve, baseline: Baseline) -> CurveMetrics:
    """Measure a curve against the best single expert."""
    area = curve.area(baseline.cheapest_cost, baseline.best_cost)
    aiq = curve.area(baseline.cheapest_cost, baseline.dearest_cost)
    matching_cost = curve.cost_of(baseline.best_quality)

    best_cost = baseline.best_cost
    quality_at_half = float(curve.at(best_cost / 2))
    quality_at_three_quarters = float(curve.at(best_cost * 3 / 4))
    quality_at_best_cost = float(curve.at(best_cost))

    return CurveMetrics(
        area=area,
        half=_ratio(quality_at_half, baseline.best_quality),
        three_quarters=_ratio(quality_at_three_quarters, baseline.best_quality),
        gain=quality_at_best_cost - baseline.best_quality,
        aiq=aiq,
        match=_ratio(matching_cost, best_cost),
        apgr=baseline.gap_recovered(area),
        cpt50=baseline.call_performance_threshold(curve, 0.5),
        cpt80=baseline.call_performance_threshold(curve, 0.8),
    )


def _ratio(part: float, whole: float) -> float:
    """``part / whole``; NaN where there is nothing to divide by."""
    if whole > 0:
        return part / whole
    return float("nan")


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of the resamples; NaN where the figure is not defined in any of them."""

    low: float
    high: float

    def to_list(self) -> list[JsonFigure]:
        """Both ends for JSON."""
        return [json_figure(self.low), json_figure(self.high)]

    @classmethod
    def from_list(cls, ends: Sequence[JsonFigure]) -> Interval:
        """An interval as :meth:`to_list` wrote it."""
        low, high = ends
        return cls(read_figure(low), read_figure(high))


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """What one router reaches in a pool.

    Attributes:
        metrics: Over all prompts.
        intervals: Of each metric, by its name.
        lead: How far the area of the pool's first router is above this one's, on the same resamples.
    """

    metrics: CurveMetrics
    intervals: Mapping[str, Interval]
    lead: Interval

    def describe(self, name: str) -> str:
        """One metric for readers, with its interval: ``0.537 [0.521, 0.557]``."""
        value = format_figure(getattr(self.metrics, name))
        low = format_figure(self.intervals[name].low)
        high = format_figure(self.intervals[name].high)
        return f"{value} [{low}, {high}]"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values: dict[str, Any] = {}
        for name, value in asdict(self.metrics).items():
            values[name] = json_figure(value)
        values["interval"] = {name: self.intervals[name].to_list() for name in METRIC_NAMES}
        values["lead"] = self.lead.to_list()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RouterFigures:
        """Figures as :meth:`to_dict` wrote them."""
        metrics = {}
        intervals = {}
        for name in METRIC_NAMES:
            metrics[name] = read_figure(values[name])
            intervals[name] = Interval.from_list(values["interval"][name])
        lead = Interval.from_list(values["lead"])
        return cls(CurveMetrics(**metrics), intervals, lead)


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """What routers reach in a pool of experts.

    Attributes:
        experts: The pool.
        prompts: How many prompts were measured.
        best_single: Mean observed score of the best single expert, 0–1.
        routers: Figures of each router; the first is the one the others' ``lead`` refers to.
    """

    experts: tuple[str, ...]
    prompts: int
    best_single: float
    routers: Mapping[str, RouterFigures]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        routers = {name: figures.to_dict() for name, figures in self.routers.items()}
        return {
            "experts": list(self.experts),
            "prompts": self.prompts,
            "best_single": self.best_single,
            "routers": routers,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PoolFigures:
        """Figures as :meth:`to_dict` wrote them."""
        routers = {}
        for name, figures in values["routers"].items():
            routers[name] = RouterFigures.from_dict(figures)
        return cls(tuple(values["experts"]), values["prompts"], values["best_single"], routers)


def pool_figures(
    experts: Sequence[str],
    sweeps: Mapping[str, ServedSweep],
    scores: Array,
    cost: Array,
    resamples: Sequence[Array],
) -> PoolFigures:
    """Figures of each router in a pool, with 95 % intervals over resampled prompts.

    Args:
        experts: The pool.
        sweeps: The sweep of each router over ``sweep(cost)``; leads are those of the first.
        scores: Observed, prompts × experts, no NaN.
        cost: Cost of each expert.
        resamples: See :func:`bootstrap_weights`.
    """
    baseline = measure_baseline(scores, cost)
    resampled_baselines = [measure_baseline(scores, cost, weights) for weights in resamples]

    routers: dict[str, RouterFigures] = {}
    first_areas: Array | None = None
    for name, sweep in sweeps.items():
        resample_metrics = []
        for weights, resampled_baseline in zip(resamples, resampled_baselines, strict=True):
            curve = sweep.curve(weights)
            resample_metrics.append(curve_metrics(curve, resampled_baseline))

        areas = np.array([resample.area for resample in resample_metrics])
        if first_areas is None:
            first_areas = areas
        low, high = np.quantile(first_areas - areas, [0.025, 0.975]).tolist()

        routers[name] = RouterFigures(
            metrics=curve_metrics(sweep.curve(), baseline),
            intervals=_intervals(resample_metrics),
            lead=Interval(low, high),
        )

    return PoolFigures(
        experts=tuple(experts),
        prompts=len(scores),
        best_single=baseline.best_quality,
        routers=routers,
    )


def bootstrap_weights(count: int, seed: int = 0) -> list[Array]:
    """Bootstrap resamples of ``count`` prompts, each as one weight for each prompt, summing to 1."""
    random = np.random.default_rng(seed)
    resamples = []
    for _ in range(RESAMPLES):
        drawn_rows = random.integers(0, count, count)
        resamples.append(np.bincount(drawn_rows, minlength=count) / count)
    return resamples


def _intervals(resample_metrics: Sequence[CurveMetrics]) -> dict[str, Interval]:
    intervals = {}
    for name in METRIC_NAMES:
        values = np.array([getattr(metrics, name) for metrics in resample_metrics])
        intervals[name] = _interval(values)
    return intervals


def _interval(values: Array) -> Interval:
    """The middle 95 % of the resamples in which the figure is defined."""
    numbers = values[~np.isnan(values)]
    if len(numbers) == 0:
        return Interval(float("nan"), float("nan"))

    # "nearest" never interpolates, which between a number and infinity would give NaN.
    low, high = np.quantile(numbers, [0.025, 0.975], method="nearest").tolist()
    return Interval(low, high)
