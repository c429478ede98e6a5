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
from routoo_core.measures.simple_routers import mean_scores
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.predictor.encoder import EncoderSettings
from routoo_core.predictor.heads import Head
from routoo_core.price_list import read_price_list
from routoo_core.progress import SILENT
from routoo_core.training.encoded import EncodedOutcomes
from routoo_core.training.head_ensemble import (
    HeadTrainingSettings,
    fit_head_ensemble,
    training_loss,
)
from routoo_core.training.labels import Labels
from routoo_core.training.neighbours import fit_profiles
from routoo_core.training.vectors import encode_cached

Quality = NDArray[np.floating]
Rows = NDArray[np.int64]

Method = Callable[[EncodedOutcomes, Rows], Quality]
"""Outcomes to learn from, rows to predict → quality, rows × experts."""

FOLDS = 5
DEV_SHARE = 0.12
NEIGHBOURS = 40
RANK_WEIGHT = 0.3
DISAGREEMENT = 0.5
KNN_SHARE = 0.2
SHRINK = 0.5


def heads(members: int = 2, **settings: object) -> Method:
    """Trained heads, averaged."""
    chosen = HeadTrainingSettings(members=members, **settings)

    def predict(data: EncodedOutcomes, rows: Rows) -> Quality:
        return fit_head_ensemble(data, chosen).quality(data.vectors[rows])

    return predict


def domain_lookup(data: EncodedOutcomes, rows: Rows) -> Quality:
    """The expert's mean in the prompt's true domain."""
    outcomes = data.outcomes
    train = outcomes.rows("train")
    domains = np.asarray(outcomes.domains)
    means = {}
    for domain in set(domains[train]):
        scores = outcomes.scores[train[domains[train] == domain]]
        means[domain] = mean_scores(scores)
    return np.stack([means[domains[row]] for row in rows])


def ranking_loss(head: Head, vectors: Tensor, labels: Labels, domain_weight: float) -> Tensor:
    """The loss of training, and a logistic loss over every two experts of which one was right."""
    odds = head(vectors).diff(dim=-1)[..., 0]
    right = (labels.target == 1) & labels.observed
    wrong = (labels.target == 0) & labels.observed
    pairs = right.unsqueeze(2) & wrong.unsqueeze(1)

    losses = functional.softplus(odds.unsqueeze(1) - odds.unsqueeze(2)) * pairs
    mean_loss = losses.sum() / pairs.sum().clamp_min(1)
    return training_loss(head, vectors, labels, domain_weight) + RANK_WEIGHT * mean_loss


def with_ranking(data: EncodedOutcomes, rows: Rows) -> Quality:
    """Heads trained with :func:`ranking_loss`."""
    settings = HeadTrainingSettings(members=2)
    ensemble = fit_head_ensemble(data, settings, loss=ranking_loss)
    return ensemble.quality(data.vectors[rows])


def with_discount(data: EncodedOutcomes, rows: Rows) -> Quality:
    """Less where the members disagree."""
    ensemble = fit_head_ensemble(data, HeadTrainingSettings(members=4))
    vectors = torch.from_numpy(data.vectors[rows])
    with torch.inference_mode():
        members = torch.stack([head.expected_level(vectors) for head in ensemble.heads]).numpy()
    return members.mean(0) - DISAGREEMENT * members.std(0)


def neighbours(data: EncodedOutcomes, rows: Rows) -> Quality:
    """k-NN alone."""
    profiles = fit_profiles(data.outcomes, data.vectors)
    return profiles.quality(data.vectors[rows], NEIGHBOURS)


def with_neighbours(data: EncodedOutcomes, rows: Rows) -> Quality:
    """A share of k-NN mixed in."""
    by_heads = heads()(data, rows)
    by_neighbours = neighbours(data, rows)
    return (1 - KNN_SHARE) * by_heads + KNN_SHARE * by_neighbours


def shrunk(data: EncodedOutcomes, rows: Rows) -> Quality:
    """Each expert's distance from the others pulled to its mean, against the winner's curse."""
    quality = heads()(data, rows)
    mean_of_experts = quality.mean(1, keepdims=True)
    advantage = quality - mean_of_experts
    mean_advantage = advantage.mean(0)
    return mean_of_experts + mean_advantage + (1 - SHRINK) * (advantage - mean_advantage)


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


def folds(outcomes: Outcomes, seed: int = 0) -> Iterator[tuple[Outcomes, Rows]]:
    """The table with splits drawn anew, and the rows that are neither ``train`` nor ``dev``."""
    random = np.random.default_rng(seed)
    fold = random.integers(0, FOLDS, len(outcomes.prompts))
    for number in range(FOLDS):
        dev = random.random(len(fold)) < DEV_SHARE
        splits = np.where(fold == number, "test", np.where(dev, "dev", "train"))
        yield outcomes.with_splits(splits.tolist()), np.flatnonzero(fold == number)


def predict_all(method: Method, data: EncodedOutcomes) -> NDArray[np.float64]:
    """Every prompt predicted by a fold that did not learn from it, prompts × experts."""
    quality = np.empty(data.outcomes.scores.shape, np.float64)
    for outcomes, rows in folds(data.outcomes):
        quality[rows] = method(EncodedOutcomes(outcomes, data.vectors), rows)
    return quality


def describe_pool(
    quality: NDArray[np.float64], outcomes: Outcomes, prices: dict[str, float]
) -> str:
    """Area, half and match."""
    columns = [outcomes.experts.index(name) for name in prices]
    cost = np.array(list(prices.values()))
    scores = outcomes.scores[:, columns].astype(np.float64)
    complete = ~np.isnan(scores).any(axis=1)
    scores = scores[complete]

    served = serve(quality[complete][:, columns], scores, cost, sweep(cost))
    metrics = curve_metrics(served.curve(), measure_baseline(scores, cost))
    return f"{metrics.area:.4f} {metrics.half:.3f} {metrics.match:.2f}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("prompts", "outcomes", "prices"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--pool", action="append", required=True)
    parser.add_argument("--only", action="append", choices=METHODS, help="a row; repeatable")
    return parser.parse_args()


def main() -> None:
    """Print a row for each method."""
    options = arguments()
    console = Console(width=120)
    outcomes = read_outcomes(options.prompts, options.outcomes)
    vectors = encode_cached(outcomes.prompts, EncoderSettings(), SILENT)
    data = EncodedOutcomes(outcomes, vectors)

    pools = {}
    for number, name in enumerate(options.pool, start=1):
        price_list = read_price_list(options.prices, options.pool[:number], outcomes.experts)
        pools[name] = price_list.per_million()

    table = Table("method", "AUC", *(f"{name}: area, ½, match" for name in pools), "seconds")
    for name in options.only or METHODS:
        start = time.perf_counter()
        quality = predict_all(METHODS[name], data)
        cells = [describe_pool(quality, outcomes, prices) for prices in pools.values()]
        metrics = prediction_metrics(quality, outcomes.scores.astype(np.float64))
        row = (name, f"{metrics.auc:.4f}", *cells, f"{time.perf_counter() - start:.0f}")
        table.add_row(*row)
        console.print(*row, sep=" | ", highlight=False)
    console.print(table)


if __name__ == "__main__":
    main()
