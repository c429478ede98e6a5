"""``routoo evaluate``: routers beside the simple ones, on prompts they did not learn from; figures as plain values."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from routoo_core.assignment import assign
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.evaluation.curve import Array, Replay, replay, sweep
from routoo_core.evaluation.metrics import (
    arena_score,
    baselines,
    log_loss,
    oracle_shares,
    pool_figures,
    prediction_metrics,
    reliability,
    resamples,
)
from routoo_core.evaluation.prediction_run import predict_all
from routoo_core.evaluation.stress_run import stress
from routoo_core.evaluation.subjects import grouped
from routoo_core.evaluation.training_run import encode_cached
from routoo_core.outcomes import Outcomes, question_fingerprints
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.checkpoint import load_checkpoint, name_of, read_config, read_reference
from routoo_core.predictor.encoder import EncoderSettings, Vectors
from routoo_core.predictor.scorer import HeadEnsemble
from routoo_core.predictor.training import TrainingConfig
from routoo_core.selector import Lagrangian, Ratio

TIERS = (0.03, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Shares of what the best single expert costs, at which routers are looked at."""
PAPER_ALPHAS = (1.0, 0.1, 0.01)
GRID = 200  # costs at which curves are drawn
TIMED = 20
SIZE_CLASSES = {"below 10B": 10.0, "10B to 40B": 40.0, "40B to 100B": 100.0, "100B and more": float("inf")}
"""Class → billions of parameters that it ends below; those that do not tell are ``UNTOLD``."""
UNTOLD = "not told"


@dataclass(frozen=True)
class Predictions:
    """What a router says of the prompts, and how it knows them.

    Attributes:
        quality: Prompts × experts of the pool, 0–1.
        held_out: How many it predicted, when it was trained, before it learnt from them (or without ever).
        new: How many it never saw.
        trained_on: How many it learnt from, with no prediction from before.
    """

    quality: Array = field(repr=False)
    held_out: int
    new: int
    trained_on: int


def evaluate(
    routers: Sequence[Path],
    outcomes: Outcomes,
    prices: Mapping[str, float],
    console: Console,
    *,
    guess: float = 0.0,
    force: bool = False,
    stressed: int = 0,
    sizes: Mapping[str, float] | None = None,
    paraphrases: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Measure routers on the ``dev`` prompts of a table; simple routers learn from its ``train`` prompts.

    Args:
        routers: Checkpoint folders, the one that the others are held against first.
        outcomes: What was observed.
        prices: USD per million tokens of each expert of the pool.
        console: Where progress goes.
        guess: Rate of lucky guesses, to correct the oracle for (0.25 with four choices).
        force: Also measure on prompts a router learnt from; the report is stamped.
        sizes: Billions of parameters of each expert that has told; see ``SIZE_CLASSES``.
        stressed: On how many prompts to see whether the first router keeps its mind; see ``stress``.
        paraphrases: ``prompt_id`` as text → that prompt in other words, for the stress; these prompts come first.

    Returns:
        Plain JSON values; see ``metrics.json``.

    Raises:
        OutcomesError: No prompt was observed with the whole pool, none is in ``train``, or an expert of the pool is not
            in the table.
        ConfigurationError: A router learnt from some of the prompts.
    """
    table = outcomes.select(list(prices))
    dev = table.rows("dev")
    complete = dev[~np.isnan(table.scores[dev]).any(axis=1)]
    if not len(complete):
        raise OutcomesError("no 'dev' prompt was observed with every expert of the pool; choose a smaller pool")
    asked, cost = table.take(complete), np.array(list(prices.values()))
    scores, load = asked.scores.astype(np.float64), cache(load_checkpoint)
    folders = {name_of(folder): folder for folder in routers}
    predicted = {n: predict(folder, asked, list(prices), console, force, load) for n, folder in folders.items()}
    quality = {name: found.quality for name, found in predicted.items()}
    if not len(table.rows("train")):
        raise OutcomesError("split: no 'train' prompts, which the simple routers learn from; add some")
    settings = read_config(routers[0]).training.encoder
    vectors = encode_cached(table.prompts, settings, console)
    simple = {**baselines(table, vectors), "printed head": _printed_head(table, vectors, settings)}
    among_dev = np.searchsorted(dev, complete)
    quality |= {name: found[among_dev].astype(np.float64) for name, found in simple.items()}
    policies = sweep(cost)
    served = {name: replay(found, scores, cost, policies) for name, found in quality.items()}
    drawn = resamples(len(scores))
    figures = pool_figures(served, scores, cost, drawn)
    best, first = int(scores.mean(0).argmax()), next(iter(predicted))
    budgets = [tier * float(cost[best]) for tier in TIERS]
    bounds = [assign(scores, cost, budget * len(scores)).bound / len(scores) for budget in budgets]
    return {
        "prompts": len(asked.prompts),
        "left_out": len(dev) - len(complete),
        "routers": {
            name: {
                "seen": {"held_out": found.held_out, "new": found.new, "trained_on": found.trained_on},
                **prediction_metrics(found.quality, scores),
                "log_loss": log_loss(found.quality, scores),
                "decision_ms": _milliseconds(load(folders[name]), asked.prompts[:TIMED]),
                "reliability": reliability(found.quality, scores),
            }
            for name, found in predicted.items()
        },
        "stamped": any(found.trained_on for found in predicted.values()),
        "experts": [
            {
                "name": name,
                "cost": prices[name],
                "quality": float(mean),
                "macro": macro,
                "size_class": size_class((sizes or {}).get(name)),
            }
            for name, mean, macro in zip(prices, scores.mean(0), _macro(scores, asked.domains), strict=True)
        ],
        "best_single": list(prices)[best],
        "figures": figures["routers"],
        "tiers": {name: _at_tiers(replayed, budgets, bounds, asked.domains, cost) for name, replayed in served.items()},
        "domains": _by_domain(served, scores, asked.domains, float(cost[best]) / 2, best),
        "oracle": {
            "raw": oracle_shares(scores, cost).tolist(),
            "corrected": oracle_shares(scores, cost, guess).tolist(),
            "guess": guess,
        },
        "curves": {name: _curve(replayed, cost, drawn) for name, replayed in served.items()},
        "stress": _stress(load(folders[first]), asked, quality[first], prices, stressed, console, paraphrases or {})
        if stressed
        else [],
        "alphas": _alphas(quality[first], scores, cost),
    }


def size_class(billions: float | None) -> str:
    """The class of a size (the paper's Figure 4)."""
    if billions is None:
        return UNTOLD
    return next(name for name, end in SIZE_CLASSES.items() if billions < end)


def predict(
    folder: Path,
    asked: Outcomes,
    pool: list[str],
    console: Console,
    force: bool = False,
    load: Callable[[Path], Predictor] = load_checkpoint,
) -> Predictions:
    """What a checkpoint predicts for prompts it did not learn from.

    Prompts held out when it was trained have predictions in the checkpoint, made before it learnt from them too.

    Raises:
        ConfigurationError: It learnt from some of them, or does not know an expert.
    """
    config, reference = read_config(folder), read_reference(folder)
    if unknown := [name for name in pool if name not in config.experts]:
        raise ConfigurationError(f"{folder}: does not know {', '.join(unknown)}; choose another pool")
    prints = question_fingerprints(asked.prompts)
    kept = set(pool) <= set(reference.experts)
    row_of = {int(found): row for row, found in enumerate(reference.prompts)} if kept else {}
    place = np.array([row_of.get(int(found), -1) for found in prints])
    known = np.isin(prints, reference.trained) & (place < 0)
    if known.any() and not force:
        raise ConfigurationError(
            f"{folder}: learnt from {int(known.sum())} of these {len(prints)} prompts, so its figures would flatter; "
            "measure on others, or --force a report that says so"
        )
    quality = np.empty((len(prints), len(pool)))
    if kept:
        columns = [reference.experts.index(name) for name in pool]
        quality[place >= 0] = reference.quality[:, columns][place[place >= 0]]
    others = np.flatnonzero(place < 0)
    if len(others):
        predictor = load(folder)
        found = predict_all(predictor, [asked.prompts[row] for row in others], console)
        quality[others] = found[:, [predictor.experts.index(name) for name in pool]]
    learnt = int(known.sum())
    return Predictions(quality, int((place >= 0).sum()), len(others) - learnt, learnt)


def _milliseconds(predictor: Predictor, prompts: Sequence[str]) -> float:
    """Time one prediction takes here, the median."""
    taken = []
    for prompt in prompts:
        start = time.perf_counter()
        predictor.predict([prompt])
        taken.append((time.perf_counter() - start) * 1e3)
    return float(np.median(taken))


def _printed_head(table: Outcomes, vectors: Vectors, encoder: EncoderSettings) -> Array:
    """What the paper's head predicts for the ``dev`` rows, trained on the ``train`` rows and stopped by the others."""
    config = TrainingConfig(encoder=encoder, head="difference", members=1)
    scorer = HeadEnsemble.train(table, vectors, config, lambda line: None)
    quality: Array = scorer.quality(vectors[table.rows("dev")]).astype(np.float64)
    return quality


def _stress(
    predictor: Predictor,
    asked: Outcomes,
    quality: Array,
    prices: Mapping[str, float],
    count: int,
    console: Console,
    paraphrases: Mapping[str, str],
) -> list[dict[str, Any]]:
    """A router's mind at the λ that costs half of what the best single expert does."""
    cost, scores = np.array(list(prices.values())), asked.scores.astype(np.float64)
    rules = [policy for policy in sweep(cost) if isinstance(policy, Lagrangian)]
    budget = float(cost[scores.mean(0).argmax()]) / 2
    price = rules[replay(quality, scores, cost, rules).within(budget)].price
    reworded = [paraphrases.get(str(prompt_id)) for prompt_id in asked.prompt_ids]
    drawn = np.random.default_rng(0).permutation(len(asked.prompts))
    rows = sorted(drawn, key=lambda row: reworded[row] is None)[:count]
    prompts = [asked.prompts[row] for row in rows]
    pairs = {asked.prompts[row]: text for row in rows if (text := reworded[row]) is not None}
    return stress(predictor, prompts, list(prices), cost, price, console, paraphrases=pairs)


def _macro(scores: Array, domains: Sequence[str]) -> list[float]:
    """Mean over the domains of the mean in each, for each column."""
    means = np.mean([scores[rows].mean(0) for rows in _rows(domains).values()], axis=0)
    return [float(mean) for mean in means]


def _rows(domains: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    named = np.asarray(domains)
    return {str(name): np.flatnonzero(named == name) for name in np.unique(named)}


def _at_tiers(
    served: Replay, budgets: Sequence[float], bounds: Sequence[float], domains: Sequence[str], cost: Array
) -> list[dict[str, Any]]:
    """Where a router stands at each tier: what it buys, whom it asks, and how far the optimum is."""
    found = []
    for tier, budget, bound in zip(TIERS, budgets, bounds, strict=True):
        policy = served.within(budget)
        score, spent, chosen = served.score[policy], float(served.cost[policy].mean()), served.chosen[policy]
        hull = float(served.curve().at(budget))
        found.append(
            {
                "tier": tier,
                "cost": spent,
                "quality": float(score.mean()),
                "mixed": hull,
                "macro": _macro(score[:, None], domains)[0],
                "shares": (np.bincount(chosen, minlength=len(cost)) / len(chosen)).tolist(),
                "collapse": float((chosen == cost.argmax()).mean()),
                "regret": bound - hull,
                "arena": arena_score(float(score.mean()), spent),
            }
        )
    return found


def _by_domain(
    served: Mapping[str, Replay], scores: Array, domains: Sequence[str], budget: float, best: int
) -> list[dict[str, Any]]:
    """Quality in each domain at half the best single expert's cost, beside that expert and the best one there.

    MMLU's subjects are taken together by sub-category, as in the paper's Figure 3.
    """
    chosen = {name: replayed.score[replayed.within(budget)] for name, replayed in served.items()}
    return [
        {
            "domain": name or "(none)",
            "prompts": len(rows),
            "best_single": float(scores[rows, best].mean()),
            "best_here": float(scores[rows].mean(0).max()),
            "routers": {router: float(score[rows].mean()) for router, score in chosen.items()},
        }
        for name, rows in _rows(grouped(domains)).items()
    ]


def _curve(served: Replay, cost: Array, drawn: Sequence[Array]) -> dict[str, list[float]]:
    """The hull on a grid of costs, with a 95 % band."""
    grid = np.geomspace(max(float(cost.min()), 1e-12), float(cost.max()), GRID)
    qualities = np.stack([served.curve(weights).at(grid) for weights in drawn])
    low, high = np.quantile(qualities, [0.025, 0.975], axis=0)
    return {
        "cost": grid.tolist(),
        "quality": served.curve().at(grid).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def _alphas(quality: Array, scores: Array, cost: Array) -> list[dict[str, float]]:
    """Where the paper's three α stand."""
    served = replay(quality, scores, cost, [Ratio(alpha) for alpha in PAPER_ALPHAS])
    means = zip(PAPER_ALPHAS, served.cost.mean(1).tolist(), served.score.mean(1).tolist(), strict=True)
    return [{"alpha": alpha, "cost": spent, "quality": score} for alpha, spent, score in means]
