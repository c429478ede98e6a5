"""RouteLLM's routers beside ours: python benchmarks/pairwise_routers.py --data FOLDER [--table NAME] [--only MF]

Every router of a table reads the same vectors of the same prompts. It learns from the 'train' prompts. An eighth of
them is held out to choose settings, to calibrate and to fit the scale; then it learns from all of them. The 'dev'
prompts are only measured. Figures have 95 % intervals over resampled prompts. FOLDER holds NAME.prompts.parquet,
NAME.outcomes.parquet and pools.csv. Vectors come from hashed n-grams unless --encoder names another encoder.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from routoo_core.data.closeness import closeness
from routoo_core.measures.curve import serve, sweep
from routoo_core.measures.figures import PoolFigures, bootstrap_weights, pool_figures
from routoo_core.measures.simple_routers import blind_routers
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.predictor.calibration import calibrated
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.price_list import read_price_list
from routoo_core.progress import SILENT
from routoo_core.text import question_fingerprints
from routoo_core.training.algorithms import ALGORITHMS
from routoo_core.training.calibration import fit_calibration
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.head_ensemble import no_updates
from routoo_core.training.vectors import encode_cached

Quality = NDArray[np.floating]

HELD_OUT = 8
"""One in so many training prompts chooses settings."""
ZEROEVAL_PRICES = Path(__file__).parent / "zeroeval_prices.csv"


@dataclass(frozen=True)
class Pool:
    """Experts of a table, and where their prices are."""

    table: str
    pool: str
    price_pools: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.table}, {self.pool}" if self.pool else self.table


POOLS = (
    Pool("routellm", "pair", ("pair",)),
    Pool("mmlu_pro", "open", ("open",)),
    Pool("mmlu_pro", "mix", ("open", "mix")),
    Pool("mmlu_pro", "frontier", ("open", "mix", "frontier")),
    Pool("zeroeval", "", ()),
)

ROUTERS: dict[str, tuple[str, dict[str, object]]] = {
    "Routoo (domain head)": ("performance", {}),
    "kNN": ("knn", {}),
    "SW ranking, γ 10,000": ("sw_ranking", {}),
    "SW ranking, γ 10 (paper)": ("sw_ranking", {"gamma": 10.0}),
    "MF": ("mf", {}),
    "MF without ties (paper's code)": ("mf", {"ties": False}),
    "pair classifier, frozen": ("bert", {}),
    "score tokens, frozen": ("causal", {}),
    "HybridLLM, transformed": ("hybrid", {}),
    "HybridLLM, probabilistic": ("hybrid", {"labels": "probabilistic"}),
    "Zooter": ("zooter", {}),
    "random": ("random", {}),
}
"""Name → algorithm and settings; the first is the one that leads refer to."""


def choosing_split(outcomes: Outcomes) -> Outcomes:
    """The training prompts alone, some of them held out by their question."""
    train = outcomes.take(outcomes.rows("train"))
    held_out = question_fingerprints(train.prompts) % HELD_OUT == 0
    return train.with_splits(["dev" if held else "train" for held in held_out])


def predict(algorithm: str, values: dict[str, object], data: EncodedOutcomes) -> Quality:
    """Calibrated quality of the 'dev' prompts, from a router that learnt from the 'train' prompts."""
    kind = ALGORITHMS[algorithm]
    settings = kind.settings(**values)
    train = data.outcomes.rows("train")
    inner = EncodedOutcomes(choosing_split(data.outcomes), data.vectors[train])
    model = kind.fit(inner, settings, 0, no_updates)

    chosen_on = inner.outcomes.rows("dev")
    held_out = model.quality(inner.vectors[chosen_on])
    calibration = fit_calibration(held_out, inner.outcomes.scores[chosen_on])
    final = kind.refit(inner, settings, model, 0, no_updates)
    return calibrated(final.quality(data.vectors[data.outcomes.rows("dev")]), calibration)


def measure(
    pool: Pool, outcomes: Outcomes, qualities: dict[str, Quality], folder: Path
) -> PoolFigures:
    """Figures of every router on the 'dev' prompts that all experts of the pool answered."""
    path = folder / "pools.csv" if pool.price_pools else ZEROEVAL_PRICES
    prices = read_price_list(path, pool.price_pools, outcomes.experts).per_million()
    dev = outcomes.take(outcomes.rows("dev")).select(list(prices))
    rows = dev.score_table.complete_rows()
    scores = dev.scores[rows].astype(np.float64)
    cost = np.array(list(prices.values()))
    columns = [outcomes.experts.index(name) for name in prices]

    served = {}
    for name, quality in qualities.items():
        served[name] = serve(
            quality[rows][:, columns].astype(np.float64), scores, cost, sweep(cost)
        )
    served.update(blind_routers(scores, cost))
    return pool_figures(tuple(prices), served, scores, cost, bootstrap_weights(len(scores)))


def show(pool: Pool, figures: PoolFigures, console: Console) -> None:
    """A table in Markdown."""
    title = f"{pool.name}: {len(figures.experts)} experts, {figures.prompts} prompts"
    table = Table(title=title, box=None)
    for column in ("router", "area", "APGR", "CPT(50 %)", "CPT(80 %)", "first leads by"):
        table.add_column(column, no_wrap=True)
    for name, router in figures.routers.items():
        metrics = router.metrics
        row = [name]
        for figure in ("area", "apgr", "cpt50", "cpt80"):
            value = getattr(metrics, figure)
            interval = router.intervals[figure]
            row.append(f"{value:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
        row.append(f"[{router.lead.low:+.4f}, {router.lead.high:+.4f}]")
        table.add_row(*[cell.replace("[", r"\[") for cell in row])
    console.print(table)


def main(arguments: argparse.Namespace) -> None:
    console = Console(width=150)
    for table in dict.fromkeys(pool.table for pool in POOLS):
        if arguments.table and table not in arguments.table:
            continue
        files = [arguments.data / f"{table}.{part}.parquet" for part in ("prompts", "outcomes")]
        outcomes = read_outcomes(*files)
        vectors = encode_cached(outcomes.prompts, EncoderSettings(model=arguments.encoder), SILENT)
        data = EncodedOutcomes(outcomes, vectors)
        near = closeness(vectors[outcomes.rows("dev")], vectors[outcomes.rows("train")])
        console.print(f"{table}: similarity of the dev prompts to the train prompts {near:.3f}")
        qualities = {}
        for name, (algorithm, settings) in ROUTERS.items():
            if arguments.only and not any(word in name for word in arguments.only):
                continue
            start = time.perf_counter()
            qualities[name] = predict(algorithm, settings, data)
            console.print(f"{table}: {name}: {time.perf_counter() - start:.0f} s", style="dim")
        for pool in POOLS:
            if pool.table == table:
                show(pool, measure(pool, outcomes, qualities, arguments.data), console)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--table", action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--encoder", default="ngrams:1024")
    main(parser.parse_args())
