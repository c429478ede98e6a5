"""How good a general router is on held-out prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routoo_core.measures.curve import serve, sweep
from routoo_core.measures.figures import curve_metrics, measure_baseline
from routoo_core.measures.metrics import auc, expected_calibration_error
from routoo_core.price_list import read_price_list

POOLS = {
    "mmlu_pro": (("open",), ("open", "mix"), ("open", "mix", "frontier")),
    "helm_mmlu": (("frontier",),),
    "routellm": (("pair",),),
}
FEWEST_PROMPTS = 50


@dataclass(frozen=True)
class SourceFigures:
    """Figures of one source; means over its experts."""

    source: str
    auc: float
    calibration_error: float
    areas: tuple[tuple[float, float, float], ...]

    def __str__(self) -> str:
        areas = "  ".join(f"{area:.4f}/{half:.3f}/{match:.2f}" for area, half, match in self.areas)
        return f"{self.source:14s} AUC {self.auc:.4f}  ECE {self.calibration_error:.3f}  {areas}"


def measure(
    source: str, experts: list[str], quality: np.ndarray, scores: np.ndarray, data: Path
) -> SourceFigures:
    """AUC and calibration within experts, and area, half and match of the source's pools."""
    aucs = []
    errors = []
    for column in range(len(experts)):
        known = np.isfinite(scores[:, column])
        if known.sum() < FEWEST_PROMPTS:
            continue
        predicted = quality[known, column].astype(np.float64)
        observed = scores[known, column].astype(np.float64)
        errors.append(expected_calibration_error(predicted, observed))
        aucs.append(auc(predicted, observed))
    areas = [
        _area(experts, quality, scores, pools, data, source) for pools in POOLS.get(source, ())
    ]
    return SourceFigures(
        source,
        float(np.nanmean(aucs)) if aucs else float("nan"),
        float(np.mean(errors)) if errors else float("nan"),
        tuple(areas),
    )


def _area(
    experts: list[str],
    quality: np.ndarray,
    scores: np.ndarray,
    pools: tuple[str, ...],
    data: Path,
    source: str,
) -> tuple[float, float, float]:
    prices = read_price_list(data / "pools.csv", pools, experts).per_million()
    columns = [experts.index(name) for name in prices]
    cost = np.array(list(prices.values()))
    chosen = scores[:, columns].astype(np.float64)
    complete = ~np.isnan(chosen).any(axis=1)
    chosen = chosen[complete]
    served = serve(quality[complete][:, columns].astype(np.float64), chosen, cost, sweep(cost))
    metrics = curve_metrics(served.curve(), measure_baseline(chosen, cost))
    return metrics.area, metrics.half, metrics.match
