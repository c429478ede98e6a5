"""What an evaluation reports, as typed values: the contents of ``metrics.json``.

Costs are in the unit that the report names; qualities are mean scores, 0–1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from routoo_core.measures.call_costs import PAPER_UNIT
from routoo_core.measures.figures import RouterFigures, json_figure, read_figure
from routoo_core.measures.metrics import ReliabilityBin

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """How a router knows the prompts it is measured on.

    Attributes:
        held_out: Predicted when it was trained, before it learnt from them or without ever learning from them.
        new: Never seen; predicted now.
        trained_on: Learnt from, without a prediction from before. Their figures flatter the router.
    """

    held_out: int
    new: int
    trained_on: int


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """How good the predictions of one router are.

    Attributes:
        seen: How it knows the prompts.
        auc: Mean area under the ROC curve over the experts, 0–1; NaN where no expert has one.
        ece: Mean expected calibration error over the experts, 0–1.
        log_loss: Mean negative log-likelihood, nats.
        decision_ms: Median time of one prediction on this machine.
        reliability: The points of a reliability plot.
    """

    seen: PromptCounts
    auc: float
    ece: float
    log_loss: float
    decision_ms: float
    reliability: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "auc": json_figure(self.auc)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PredictionRow:
        """A row as :meth:`to_dict` wrote it."""
        return cls(
            seen=PromptCounts(**values["seen"]),
            auc=read_figure(values["auc"]),
            ece=values["ece"],
            log_loss=values["log_loss"],
            decision_ms=values["decision_ms"],
            reliability=tuple(ReliabilityBin(**point) for point in values["reliability"]),
        )


@dataclass(frozen=True, slots=True)
class ExpertRow:
    """One expert alone: a row of the paper's Table 1.

    Attributes:
        name: The expert.
        cost: In the unit of the report.
        quality: Mean over the prompts (micro).
        macro: Mean over the domains of the mean in each.
        observed: How many prompts of the split it was observed on.
        size_class: A class of ``SIZE_CLASSES``, or ``SIZE_UNKNOWN``.
    """

    name: str
    cost: float
    quality: float
    macro: float
    observed: int
    size_class: str


@dataclass(frozen=True, slots=True)
class TierRow:
    """Where a router stands at one budget, by the λ that spends it.

    Attributes:
        tier: The budget, as a share of what the best single expert costs.
        cost: Really spent, in the unit of the report.
        quality: Mean over the prompts (micro).
        macro: Mean over the domains of the mean in each.
        pgr: RouteLLM's performance gap recovered; NaN where the cheapest expert is the best.
        shares: Share of the calls of each expert, 0–1.
        collapse: Share of the calls of the dearest expert, which a collapsed router always chooses.
        regret: How far the router's hull is below the optimum that knows every score.
        arena: RouterArena's score, 0–1.
    """

    tier: float
    cost: float
    quality: float
    macro: float
    pgr: float
    shares: tuple[float, ...]
    collapse: float
    regret: float
    arena: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "pgr": json_figure(self.pgr)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TierRow:
        """A row as :meth:`to_dict` wrote it."""
        numbers = dict(values)
        numbers["pgr"] = read_figure(values["pgr"])
        numbers["shares"] = tuple(values["shares"])
        return cls(**numbers)


@dataclass(frozen=True, slots=True)
class DomainRow:
    """Quality in one domain: a group of points of the paper's Figure 3.

    Attributes:
        domain: Its name.
        prompts: How many prompts it has.
        best_single: Quality of the pool's best single expert.
        best_here: Quality of the expert that is the best in this domain.
        routers: Quality of each router at half the best single expert's cost.
    """

    domain: str
    prompts: int
    best_single: float
    best_here: float
    routers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class OracleShares:
    """Share of the calls of each expert under an oracle, which chooses the cheapest correct one: the paper's Table 2.

    Attributes:
        raw: As observed.
        corrected: Corrected for lucky guesses.
        guess: The rate of lucky guesses, 0–1.
    """

    raw: tuple[float, ...]
    corrected: tuple[float, ...]
    guess: float

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OracleShares:
        """Shares as ``asdict`` wrote them."""
        return cls(tuple(values["raw"]), tuple(values["corrected"]), values["guess"])


@dataclass(frozen=True, slots=True)
class CurveBand:
    """A quality–cost curve on a grid of costs, with a 95 % band over resampled prompts.

    Attributes:
        cost: The grid, rising.
        quality: The hull at each cost.
        low: Lower end of the band.
        high: Upper end of the band.
    """

    cost: tuple[float, ...]
    quality: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[float]]) -> CurveBand:
        """A band as ``asdict`` wrote it."""
        return cls(
            cost=tuple(values["cost"]),
            quality=tuple(values["quality"]),
            low=tuple(values["low"]),
            high=tuple(values["high"]),
        )


@dataclass(frozen=True, slots=True)
class RulePoint:
    """One preference rule on the quality–cost plane.

    Attributes:
        parameter: Its α or λ.
        cost: Mean cost.
        quality: Mean observed score.
    """

    parameter: float
    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class RulePoints:
    """The preference rules a router serves with, whose hull its curve is.

    Attributes:
        ratio: The paper's ratio rule, one point for each α.
        lagrangian: The multiplier's rule, one point for each λ.
    """

    ratio: tuple[RulePoint, ...]
    lagrangian: tuple[RulePoint, ...]

    def to_dict(self) -> dict[str, list[dict[str, float]]]:
        """Plain JSON values; the parameter is called ``alpha`` or ``lambda``."""
        return {
            "alpha": _points_to_dicts(self.ratio, "alpha"),
            "lambda": _points_to_dicts(self.lagrangian, "lambda"),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[Mapping[str, float]]]) -> RulePoints:
        """Points as :meth:`to_dict` wrote them."""
        return cls(
            ratio=_points_from_dicts(values["alpha"], "alpha"),
            lagrangian=_points_from_dicts(values["lambda"], "lambda"),
        )


def _points_to_dicts(points: Sequence[RulePoint], name: str) -> list[dict[str, float]]:
    dicts = []
    for point in points:
        dicts.append({name: point.parameter, "cost": point.cost, "quality": point.quality})
    return dicts


def _points_from_dicts(dicts: Sequence[Mapping[str, float]], name: str) -> tuple[RulePoint, ...]:
    points = []
    for values in dicts:
        points.append(RulePoint(values[name], values["cost"], values["quality"]))
    return tuple(points)


@dataclass(frozen=True, slots=True)
class StressRow:
    """What one way of rewording changes, at a fixed λ.

    Attributes:
        way: The way of rewording.
        prompts: How many prompts it changed; the figures are over these.
        flips: Share that goes to another expert, 0–1.
        upgrades: Share that goes to a dearer expert, 0–1.
        cost: Mean cost divided by that of the prompts as they are; ``None`` where only those cost nothing.
    """

    way: str
    prompts: int
    flips: float
    upgrades: float
    cost: float | None


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """How many prompts resemble one that routers learn from.

    Attributes:
        exact: The same words.
        ngram: Twelve words in a row are the same.
        near: Most of the text is the same.
    """

    exact: int = 0
    ngram: int = 0
    near: int = 0

    @property
    def total(self) -> int:
        """All of them; a prompt counts once."""
        return self.exact + self.ngram + self.near


@dataclass(frozen=True, slots=True)
class Report:
    """Routers beside simple ones on the prompts of one split: the contents of ``metrics.json``.

    Attributes:
        title: Title of the report.
        cost_unit: What all costs are, such as ``USD per 1,000 calls``.
        split: Which prompts were measured.
        prompts: How many.
        left_out: How many more prompts of the split were not observed with every expert of the pool.
        missing_pairs: How many pairs of a prompt of the split and an expert were not observed.
        predictions: How good the predictions of each evaluated router are; the first router comes first.
        stamped: Whether a router learnt from some of the prompts, so that its figures flatter.
        experts: Each expert alone; the order of ``shares`` everywhere.
        best_single: Name of the best single expert.
        cheapest: Name of the cheapest expert.
        figures: What each router reaches, also the simple ones.
        tiers: Where each router stands at each budget of ``TIERS``; without the routers that are blind.
        domains: Quality in each domain.
        oracle: Shares of an oracle.
        curves: The curve of each router, also of the simple ones.
        rules: The two rules of the first router.
        stress: What rewording changes in the choices of the first router; empty where it was not measured.
        resembling: Prompts that resemble one to learn from.
        similarity: Mean over the prompts of the largest cosine with a ``train`` prompt, 0–1, on hashed n-grams;
            ``None`` without ``train`` prompts.
    """

    title: str
    cost_unit: str
    split: str
    prompts: int
    left_out: int
    missing_pairs: int
    predictions: Mapping[str, PredictionRow]
    stamped: bool
    experts: tuple[ExpertRow, ...]
    best_single: str
    cheapest: str
    figures: Mapping[str, RouterFigures]
    tiers: Mapping[str, tuple[TierRow, ...]]
    domains: tuple[DomainRow, ...]
    oracle: OracleShares
    curves: Mapping[str, CurveBand] = field(repr=False)
    rules: RulePoints = field(repr=False)
    stress: tuple[StressRow, ...] = ()
    resembling: NearDuplicates = NearDuplicates()
    similarity: float | None = None

    @property
    def routers(self) -> tuple[str, ...]:
        """Names of the evaluated routers."""
        return tuple(self.predictions)

    @property
    def first_router(self) -> str:
        """The router that the others are compared with."""
        return self.routers[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as ``metrics.json`` has them."""
        tiers = {}
        for name, rows in self.tiers.items():
            tiers[name] = [row.to_dict() for row in rows]

        return {
            "title": self.title,
            "cost_unit": self.cost_unit,
            "split": self.split,
            "prompts": self.prompts,
            "left_out": self.left_out,
            "missing_pairs": self.missing_pairs,
            "routers": {name: row.to_dict() for name, row in self.predictions.items()},
            "stamped": self.stamped,
            "experts": [asdict(row) for row in self.experts],
            "best_single": self.best_single,
            "cheapest": self.cheapest,
            "figures": {name: row.to_dict() for name, row in self.figures.items()},
            "tiers": tiers,
            "domains": [asdict(row) for row in self.domains],
            "oracle": asdict(self.oracle),
            "curves": {name: asdict(band) for name, band in self.curves.items()},
            "rules": self.rules.to_dict(),
            "stress": [asdict(row) for row in self.stress],
            "resembling": asdict(self.resembling),
            "similarity": self.similarity,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        """A report as :meth:`to_dict` wrote it."""
        tiers = {}
        for name, rows in values["tiers"].items():
            tiers[name] = tuple(TierRow.from_dict(row) for row in rows)

        return cls(
            title=values["title"],
            cost_unit=values.get("cost_unit", PAPER_UNIT),
            split=values["split"],
            prompts=values["prompts"],
            left_out=values["left_out"],
            missing_pairs=values["missing_pairs"],
            predictions=_read_by_name(values["routers"], PredictionRow.from_dict),
            stamped=values["stamped"],
            experts=tuple(ExpertRow(**row) for row in values["experts"]),
            best_single=values["best_single"],
            cheapest=values["cheapest"],
            figures=_read_by_name(values["figures"], RouterFigures.from_dict),
            tiers=tiers,
            domains=tuple(DomainRow(**row) for row in values["domains"]),
            oracle=OracleShares.from_dict(values["oracle"]),
            curves=_read_by_name(values["curves"], CurveBand.from_dict),
            rules=RulePoints.from_dict(values["rules"]),
            stress=tuple(StressRow(**row) for row in values["stress"]),
            resembling=NearDuplicates(**values["resembling"]),
            similarity=values.get("similarity"),
        )


def _read_by_name(values: Mapping[str, Any], read: Callable[[Any], Value]) -> dict[str, Value]:
    """Read each value of a JSON object."""
    return {name: read(value) for name, value in values.items()}
