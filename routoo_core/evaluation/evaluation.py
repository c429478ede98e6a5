"""``routoo evaluate``: routers beside the simple ones, on prompts they did not learn from; figures as plain values."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.predictions import predict_all
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.evaluation.stress import stress
from routoo_core.evaluation.tables import (
    at_tiers,
    banded,
    by_domain,
    by_rule,
    experts_alone,
    optima,
)
from routoo_core.measures.curve import Array, ServedSweep, serve, sweep
from routoo_core.measures.figures import (
    Baseline,
    bootstrap_weights,
    measure_baseline,
    pool_figures,
)
from routoo_core.measures.metrics import (
    log_loss,
    oracle_shares,
    prediction_metrics,
    reliability,
)
from routoo_core.measures.simple_routers import (
    DOMAIN_LOOKUP,
    ORACLE,
    Rows,
    best_and_cheapest,
    blind_routers,
    domain_lookup,
)
from routoo_core.outcomes import Outcomes
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.checkpoint import load_checkpoint, name_of
from routoo_core.predictor.checkpoint_config import read_config
from routoo_core.predictor.reference import read_reference
from routoo_core.progress import Progress
from routoo_core.selector import Lagrangian
from routoo_core.text import question_fingerprints
from routoo_core.training.simple_routers import predict_simple_routers
from routoo_core.training.vectors import encode_cached

TIMED = 20  # prompts on which the time of a decision is measured


@dataclass(frozen=True)
class Predictions:
    """What a router says of the prompts, and how it knows them.

    Attributes:
        quality: Prompts × experts of the pool, 0–1.
        simple: What simple routers said that learnt from the same prompts as it did, where all were held out then.
        held_out: How many it predicted, when it was trained, before it learnt from them (or without ever).
        new: How many it never saw.
        trained_on: How many it learnt from, with no prediction from before.
    """

    quality: Array = field(repr=False)
    simple: Mapping[str, Array] = field(repr=False)
    held_out: int
    new: int
    trained_on: int


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, and how.

    Attributes:
        split: Whose prompts.
        guess: Rate of lucky guesses, to correct the oracle for (0.25 with four choices).
        force: Also measure on prompts a router learnt from; the report is stamped.
        stressed: On how many prompts to see whether the first router keeps its mind; see ``stress``.
        sizes: Billions of parameters of each expert that has told; see ``SIZE_CLASSES``.
        paraphrases: ``prompt_id`` as text → that prompt in other words, for the stress; these prompts come first.
    """

    split: str = "dev"
    guess: float = 0.0
    force: bool = False
    stressed: int = 0
    sizes: Mapping[str, float] = field(default_factory=dict)
    paraphrases: Mapping[str, str] = field(default_factory=dict, repr=False)


def evaluate(
    routers: Sequence[Path],
    outcomes: Outcomes,
    prices: Mapping[str, float],
    progress: Progress,
    settings: EvaluationSettings = EvaluationSettings(),
) -> dict[str, Any]:
    """Measure routers on the prompts of one split of a table; simple routers learn from its ``train`` prompts.

    Args:
        routers: Checkpoint folders, the one that the others are held against first.
        outcomes: What was observed.
        prices: USD per million tokens of each expert of the pool.
        progress: Where progress goes.
        settings: What is measured.

    Returns:
        Plain JSON values; see ``metrics.json``.

    Raises:
        OutcomesError: No prompt of the split was observed with the whole pool, or an expert of it is not in the table.
        ConfigurationError: A router learnt from some of the prompts.
    """
    table, cost = outcomes.select(list(prices)), np.array(list(prices.values()))
    rows, complete = _measured(table, settings.split)
    asked, load = table.take(complete), cache(load_checkpoint)
    scores, domains = asked.scores.astype(np.float64), asked.domains
    folders = {name_of(folder): folder for folder in routers}
    predicted = {
        n: predict(folder, asked, progress, settings.force, load) for n, folder in folders.items()
    }
    own = {name: found.quality for name, found in predicted.items()}
    simple = _simple_routers(table, complete, list(predicted.values()), routers[0], progress)
    served = {
        name: serve(found, scores, cost, sweep(cost))
        for name, found in {**own, **simple, ORACLE: scores}.items()
    }
    everyone, drawn = {**served, **blind_routers(scores, cost)}, bootstrap_weights(len(scores))
    anchor, (best, cheapest), first = (
        measure_baseline(scores, cost),
        best_and_cheapest(scores, cost),
        next(iter(own)),
    )
    bounds = optima(scores, cost, anchor)
    return {
        "split": settings.split,
        "prompts": len(asked.prompts),
        "left_out": len(rows) - len(complete),
        "missing_pairs": int(np.isnan(table.scores[rows]).sum()),
        "routers": {
            name: {
                "seen": {
                    "held_out": found.held_out,
                    "new": found.new,
                    "trained_on": found.trained_on,
                },
                **prediction_metrics(found.quality, scores).to_dict(),
                "log_loss": log_loss(found.quality, scores),
                "decision_ms": _milliseconds(load(folders[name]), asked.prompts[:TIMED]),
                "reliability": [point.to_dict() for point in reliability(found.quality, scores)],
            }
            for name, found in predicted.items()
        },
        "stamped": any(found.trained_on for found in predicted.values()),
        "experts": experts_alone(table.take(rows), asked, cost, settings.sizes),
        "best_single": table.experts[best],
        "cheapest": table.experts[cheapest],
        "figures": pool_figures(table.experts, everyone, scores, cost, drawn).to_dict()["routers"],
        "tiers": {
            name: at_tiers(found, cost, anchor, bounds, domains) for name, found in served.items()
        },
        "domains": by_domain(served, scores, domains, anchor.best_cost / 2, best),
        "oracle": {
            "raw": oracle_shares(scores, cost).tolist(),
            "corrected": oracle_shares(scores, cost, settings.guess).tolist(),
            "guess": settings.guess,
        },
        "curves": {name: banded(found, cost, drawn) for name, found in everyone.items()},
        "rules": by_rule(served[first]),
        "stress": _stress(
            load(folders[first]), asked, served[first], cost, anchor, settings, progress
        ),
    }


def _measured(table: Outcomes, split: str) -> tuple[Rows, Rows]:
    """The prompts of a split, and those of them that were observed with every expert.

    Raises:
        OutcomesError: There is none.
    """
    rows = table.rows(split)
    if not len(rows):
        there = ", ".join(
            f"{count:,} {name}" for name, count in sorted(Counter(table.splits).items())
        )
        raise OutcomesError(f"--split: no {split!r} prompts; the table has {there}")
    complete = rows[~np.isnan(table.scores[rows]).any(axis=1)]
    if not len(complete):
        raise OutcomesError(
            f"no {split!r} prompt was observed with every expert of the pool; choose a smaller --pool"
        )
    return rows, complete


def _simple_routers(
    table: Outcomes, rows: Rows, predicted: Sequence[Predictions], first: Path, progress: Progress
) -> dict[str, Array]:
    """What simple routers predict for these rows; those that learn are left out where there is nothing to learn from.

    Where a checkpoint keeps what they predicted for all of the prompts, that is taken, and nothing is encoded.
    """
    if not len(table.rows("train")):
        return {}
    kept = next((found.simple for found in predicted if found.simple), None)
    if kept is None:
        encoder = read_config(first).training.encoder
        kept = predict_simple_routers(
            table, encode_cached(table.prompts, encoder, progress), rows, encoder
        )
    return {DOMAIN_LOOKUP: domain_lookup(table, rows), **kept}


def predict(
    folder: Path,
    asked: Outcomes,
    progress: Progress,
    force: bool = False,
    load: Callable[[Path], Predictor] = load_checkpoint,
) -> Predictions:
    """What a checkpoint predicts for prompts it did not learn from, of the experts they were observed with.

    Prompts held out when it was trained have predictions in the checkpoint, made before it learnt from them too.

    Raises:
        ConfigurationError: It learnt from some of them, or does not know an expert.
    """
    config, reference, pool = read_config(folder), read_reference(folder), asked.experts
    if unknown := [name for name in pool if name not in config.experts]:
        raise ConfigurationError(
            f"{folder}: does not know {', '.join(unknown)}; choose another pool"
        )
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
    columns, held_out = [reference.experts.index(name) for name in pool if kept], place >= 0

    def then(table: NDArray[np.float32]) -> Array:
        predicted: Array = table[place[held_out]][:, columns].astype(np.float64)
        return predicted

    quality, others = np.empty((len(prints), len(pool))), np.flatnonzero(~held_out)
    if kept:
        quality[held_out] = then(reference.quality)
    if len(others):
        predictor = load(folder)
        found = predict_all(predictor, [asked.prompts[row] for row in others], progress)
        quality[others] = found[:, [predictor.experts.index(name) for name in pool]]
    simple = {} if len(others) else {name: then(table) for name, table in reference.simple.items()}
    learnt = int(known.sum())
    return Predictions(quality, simple, int(held_out.sum()), len(others) - learnt, learnt)


def _milliseconds(predictor: Predictor, prompts: Sequence[str]) -> float:
    """Time one prediction takes here, the median."""
    taken = []
    for prompt in prompts:
        start = time.perf_counter()
        predictor.predict([prompt])
        taken.append((time.perf_counter() - start) * 1e3)
    return float(np.median(taken))


def _stress(
    predictor: Predictor,
    asked: Outcomes,
    served: ServedSweep,
    cost: Array,
    anchor: Baseline,
    settings: EvaluationSettings,
    progress: Progress,
) -> list[dict[str, Any]]:
    """A router's mind at the λ that costs half of what the best single expert does."""
    if not settings.stressed:
        return []
    prices = [policy.lambda_ for policy in served.policies if isinstance(policy, Lagrangian)]
    price = prices[served.of_kind(Lagrangian).row_within(anchor.best_cost / 2)]
    reworded = [settings.paraphrases.get(str(prompt_id)) for prompt_id in asked.prompt_ids]
    drawn = np.random.default_rng(0).permutation(len(asked.prompts))
    rows = sorted(drawn, key=lambda row: reworded[row] is None)[: settings.stressed]
    prompts = [asked.prompts[row] for row in rows]
    pairs = {asked.prompts[row]: text for row in rows if (text := reworded[row]) is not None}
    return stress(predictor, prompts, list(asked.experts), cost, price, progress, paraphrases=pairs)
