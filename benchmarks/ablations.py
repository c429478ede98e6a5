"""What makes the predictor good: python benchmarks/ablations.py --prompts P --outcomes O --prices C --pool open …

Five folds over all prompts, so that every prompt is predicted by heads that never saw it; vectors come from the cache
of 'routoo train'. Each --pool is priced with the pools named before it. Choose rows with --only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from routoo_core.measures.curve import serve, sweep
from routoo_core.measures.figures import curve_metrics, measure_baseline
from routoo_core.measures.metrics import prediction_metrics
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.predictor.encoder import Vectors
from routoo_core.predictor.heads import Head, expected_level
from routoo_core.price_list import read_price_list
from routoo_core.progress import SILENT
from routoo_core.training.head_ensemble import train_heads, training_loss
from routoo_core.training.labels import Labels
from routoo_core.training.neighbours import fit_profiles
from routoo_core.training.settings import TrainingConfig, ensemble_quality
from routoo_core.training.vectors import encode_cached

Quality = NDArray[np.float32]
Method = Callable[[Outcomes, Vectors, NDArray[np.int64]], Quality]
FOLDS, DEV_SHARE = 5, 0.12
RANK_WEIGHT, DISAGREEMENT, KNN_SHARE, SHRINK = 0.3, 0.5, 0.2, 0.5


def heads(members: int = 2, **settings: object) -> Method:
    """Trained heads, averaged."""
    config = TrainingConfig(members=members, **settings)
    return lambda outcomes, vectors, rows: ensemble_quality(
        train_heads(outcomes, vectors, config), vectors[rows]
    )


def domain_lookup(outcomes: Outcomes, _: Vectors, rows: NDArray[np.int64]) -> Quality:
    """The expert's mean in the prompt's domain, which it is told."""
    train, domains = outcomes.rows("train"), np.asarray(outcomes.domains)
    means = {
        name: np.nanmean(outcomes.scores[train[domains[train] == name]], axis=0)
        for name in set(domains[train])
    }
    return np.stack([means[domains[row]] for row in rows])


def ranked(head: Head, vectors: Tensor, given: Labels, domain_weight: float) -> Tensor:
    """The loss of training, and a logistic loss over every two experts of which one was right."""
    odds = head(vectors).diff(dim=-1)[..., 0]
    right = (given.target == 1) & given.observed
    wrong = (given.target == 0) & given.observed
    pairs = right.unsqueeze(2) & wrong.unsqueeze(1)
    losses = functional.softplus(odds.unsqueeze(1) - odds.unsqueeze(2)) * pairs
    return training_loss(
        head, vectors, given, domain_weight
    ) + RANK_WEIGHT * losses.sum() / pairs.sum().clamp_min(1)


def with_ranking(outcomes: Outcomes, vectors: Vectors, rows: NDArray[np.int64]) -> Quality:
    """Heads trained with :func:`ranked`."""
    return ensemble_quality(
        train_heads(outcomes, vectors, TrainingConfig(members=2), loss=ranked), vectors[rows]
    )


def with_discount(outcomes: Outcomes, vectors: Vectors, rows: NDArray[np.int64]) -> Quality:
    """Less where the members disagree."""
    trained = train_heads(outcomes, vectors, TrainingConfig(members=4))
    with torch.inference_mode():
        members = torch.stack(
            [expected_level(head(torch.from_numpy(vectors[rows]))) for head in trained]
        ).numpy()
    return members.mean(0) - DISAGREEMENT * members.std(0)


def neighbours(outcomes: Outcomes, vectors: Vectors, rows: NDArray[np.int64]) -> Quality:
    """k-NN alone."""
    return fit_profiles(outcomes, vectors).quality(vectors[rows], 40)


def with_neighbours(outcomes: Outcomes, vectors: Vectors, rows: NDArray[np.int64]) -> Quality:
    """A share of k-NN mixed in."""
    near = neighbours(outcomes, vectors, rows)
    return (1 - KNN_SHARE) * heads()(outcomes, vectors, rows) + KNN_SHARE * near


def shrunk(outcomes: Outcomes, vectors: Vectors, rows: NDArray[np.int64]) -> Quality:
    """Each expert's distance from the others pulled to its mean, against the winner's curse."""
    quality = heads()(outcomes, vectors, rows)
    shared = quality.mean(1, keepdims=True)
    own = quality - shared
    return shared + own.mean(0) + (1 - SHRINK) * (own - own.mean(0))


METHODS: dict[str, Method] = {
    "domain lookup (told the domain)": domain_lookup,
    "k-NN, 40 neighbours": neighbours,
    "difference": heads(head="difference"),
    "bilinear": heads(head="bilinear"),
    "hadamard": heads(head="hadamard"),
    "mlp": heads(head="mlp"),
    "domain, not told the domains": heads(domain_weight=0.0),
    "domain": heads(),
    "… and a rank-aware loss": with_ranking,
    "… less where 4 members disagree": with_discount,
    "… and k-NN mixed in": with_neighbours,
    "… shrunk to each expert's mean": shrunk,
    "… of 4 members (kept)": heads(4),
}


def folds(outcomes: Outcomes, seed: int = 0) -> Iterator[tuple[Outcomes, NDArray[np.int64]]]:
    """The table with splits drawn anew, and the rows that are neither ``train`` nor ``dev``."""
    random = np.random.default_rng(seed)
    fold = random.integers(0, FOLDS, len(outcomes.prompts))
    for number in range(FOLDS):
        dev = random.random(len(fold)) < DEV_SHARE
        splits = np.where(fold == number, "test", np.where(dev, "dev", "train"))
        yield outcomes.with_splits(splits.tolist()), np.flatnonzero(fold == number)


def main() -> None:
    """Print a row for each method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("prompts", "outcomes", "prices"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--pool", action="append", required=True)
    parser.add_argument("--only", action="append", choices=METHODS, help="a row; repeatable")
    given, console = parser.parse_args(), Console(width=120)
    outcomes = read_outcomes(given.prompts, given.outcomes)
    vectors = encode_cached(outcomes.prompts, TrainingConfig().encoder, SILENT)
    pools = {
        n: read_price_list(given.prices, given.pool[: k + 1], outcomes.experts).per_million()
        for k, n in enumerate(given.pool)
    }
    table = Table("method", "AUC", *(f"{name}: area, ½, match" for name in pools), "seconds")
    for name in given.only or METHODS:
        start, quality = time.perf_counter(), np.empty(outcomes.scores.shape, np.float64)
        for fold, rows in folds(outcomes):
            quality[rows] = METHODS[name](fold, vectors, rows)
        cells = [in_pool(quality, outcomes, prices) for prices in pools.values()]
        measured = prediction_metrics(quality, outcomes.scores.astype(np.float64))
        row = (name, f"{measured.auc:.4f}", *cells, f"{time.perf_counter() - start:.0f}")
        table.add_row(*row)
        console.print(*row, sep=" | ", highlight=False)
    console.print(table)


def in_pool(quality: NDArray[np.float64], outcomes: Outcomes, prices: dict[str, float]) -> str:
    """Area, half and match."""
    columns = [outcomes.experts.index(name) for name in prices]
    scores, cost = outcomes.scores[:, columns].astype(np.float64), np.array(list(prices.values()))
    whole = ~np.isnan(scores).any(axis=1)
    baseline = measure_baseline(scores[whole], cost)
    served = serve(quality[whole][:, columns], scores[whole], cost, sweep(cost))
    found = curve_metrics(served.curve(), baseline)
    return f"{found.area:.4f} {found.half:.3f} {found.match:.2f}"


if __name__ == "__main__":
    main()
