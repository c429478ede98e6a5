"""``metrics.json`` of a checkpoint: how good its predictions are on held-out prompts, beside baselines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.measures.curve import Array, serve, sweep
from routoo_core.measures.figures import (
    PoolFigures,
    bootstrap_weights,
    json_figure,
    pool_figures,
    read_figure,
)
from routoo_core.measures.simple_routers import ORACLE, blind_routers
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.checkpoint import METRICS_FILE


@dataclass(frozen=True, slots=True)
class LengthErrors:
    """How far predicted lengths of answers are off, in units of the mean length.

    Attributes:
        predicted: Of the length model.
        mean: Of each expert's mean length.
    """

    predicted: float
    mean: float


@dataclass(frozen=True, slots=True)
class AddedExpert:
    """One expert that was added to a trained checkpoint.

    Attributes:
        name: The expert.
        labels: How many observations it was learnt from.
        auc: On these; ``None`` where they are all correct or all wrong.
    """

    name: str
    labels: int
    auc: float | None = None

    def to_dict(self) -> dict[str, str | int | float]:
        """Plain JSON values."""
        values: dict[str, str | int | float] = {"name": self.name, "labels": self.labels}
        if self.auc is not None:
            values["auc"] = self.auc
        return values


@dataclass(frozen=True, slots=True)
class TrainingMetrics:
    """Held-out figures of a checkpoint.

    Attributes:
        experts: How many.
        train_prompts: How many it was trained on when it was measured.
        dev_prompts: How many it was measured on.
        auc: Mean area under the ROC curve, 0–1; NaN where no expert has one.
        ece: Mean expected calibration error, 0–1.
        ece_uncalibrated: The same before calibration.
        lengths: ``None`` when no lengths were observed.
        pool: Quality–cost figures; ``None`` without prices.
        added_experts: Experts that were added later.
    """

    experts: int
    train_prompts: int
    dev_prompts: int
    auc: float
    ece: float
    ece_uncalibrated: float
    lengths: LengthErrors | None = None
    pool: PoolFigures | None = None
    added_experts: tuple[AddedExpert, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as ``metrics.json`` has them."""
        values: dict[str, Any] = {
            "experts": self.experts,
            "train_prompts": self.train_prompts,
            "dev_prompts": self.dev_prompts,
            "auc": json_figure(self.auc),
            "ece": self.ece,
            "ece_uncalibrated": self.ece_uncalibrated,
        }
        if self.lengths is not None:
            values["length_error"] = self.lengths.predicted
            values["length_error_of_mean"] = self.lengths.mean
        if self.pool is not None:
            values["pool"] = self.pool.to_dict()
        if self.added_experts:
            values["added_experts"] = [expert.to_dict() for expert in self.added_experts]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingMetrics:
        """Metrics as :meth:`to_dict` wrote them."""
        lengths = None
        if "length_error" in values:
            lengths = LengthErrors(values["length_error"], values["length_error_of_mean"])
        pool = PoolFigures.from_dict(values["pool"]) if "pool" in values else None
        added_experts = [AddedExpert(**expert) for expert in values.get("added_experts", [])]
        return cls(
            experts=values["experts"],
            train_prompts=values["train_prompts"],
            dev_prompts=values["dev_prompts"],
            auc=read_figure(values["auc"]),
            ece=values["ece"],
            ece_uncalibrated=values["ece_uncalibrated"],
            lengths=lengths,
            pool=pool,
            added_experts=tuple(added_experts),
        )


def read_metrics(folder: Path) -> TrainingMetrics:
    """The held-out figures of a checkpoint."""
    text = (folder / METRICS_FILE).read_text(encoding="utf-8")
    return TrainingMetrics.from_dict(json.loads(text))


def measure_pool(
    qualities: Mapping[str, NDArray[np.floating]], held_out: Outcomes, prices: Mapping[str, float]
) -> PoolFigures:
    """Quality–cost figures of predictions in the pool of experts that have a price.

    An oracle and the routers that do not look at the prompt are measured beside them.

    Args:
        qualities: Name → predicted quality, prompts × experts of ``held_out``; leads are those of the first.
        held_out: What was observed; prompts not observed with the whole pool are left out.
        prices: USD by expert.
    """
    pool = tuple(prices)
    score_table = held_out.score_table.select(pool)
    rows = score_table.complete_rows()
    scores = score_table.take(rows).values.astype(np.float64)
    columns = [held_out.experts.index(name) for name in pool]

    pool_qualities: dict[str, Array] = {}
    for name, quality in qualities.items():
        pool_qualities[name] = quality[rows][:, columns].astype(np.float64)
    pool_qualities[ORACLE] = scores

    cost = np.array(list(prices.values()))
    policies = sweep(cost)
    by_router = {}
    for name, quality in pool_qualities.items():
        by_router[name] = serve(quality, scores, cost, policies)
    by_router |= blind_routers(scores, cost)
    return pool_figures(pool, by_router, scores, cost, bootstrap_weights(len(scores)))
