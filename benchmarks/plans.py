"""Routing with and without plans of pairs, on held-out prompts: python benchmarks/plans.py DATA_FOLDER

DATA_FOLDER holds mmlu_pro.prompts, .outcomes and .answers (Parquet) and pools.csv. Which pairs are offered and how
often each expert of a plan is asked comes from the prompts of the split ``train`` alone, and so does the lookup. The
router that ships has learnt from these prompts, so what it says of them flatters. It learns the plans from one half of
``dev`` and is measured on the other, and the other way round.

Figures are of the split ``dev``: the area under the quality–cost curve from the cheapest to the dearest expert, with
95 % intervals over resampled prompts. Two priors are measured: a lookup by domain, and the router that ships.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from routoo_core.loading import load_predictor
from routoo_core.measures.curve import Array, serve, sweep
from routoo_core.measures.figures import Baseline, bootstrap_weights, measure_baseline
from routoo_core.measures.plan_replay import (
    AnswerTable,
    PlanOutcomes,
    read_answers,
    replay_plan,
)
from routoo_core.measures.simple_routers import domain_lookup
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.plans import Consensus
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.price_list import read_price_list
from routoo_core.training.expert_run import NewExpert
from routoo_core.training.general_labels import teach_general
from routoo_core.training.plan_fit import with_plans

POOLS = {"open": ("open",), "mix": ("open", "mix"), "frontier": ("open", "mix", "frontier")}
ROUTER = "general-fast"
OFFERED = 3
"""So many plans are offered."""
SHORTLIST = 24
"""So many are tried on the train prompts for each that is offered."""
CHOOSING_PROMPTS = 2500
"""On so many of them the plans are chosen."""
NEVER = -1.0
"""Predicted quality of a plan where it is not offered: no rule chooses it."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """The prompts of a split that every expert of a pool was observed on.

    Attributes:
        outcomes: Their scores.
        cost: USD per million tokens of each expert.
        choices: The letter that each expert chose, as a number; -1 for none, prompts × experts.
    """

    outcomes: Outcomes
    cost: Array
    choices: NDArray[np.int64]


def complete_prompts(outcomes: Outcomes, answers: AnswerTable, cost: Array, split: str) -> Prompts:
    rows = outcomes.rows(split)
    rows = rows[~np.isnan(outcomes.scores[rows]).any(axis=1)]
    chosen = outcomes.take(rows)
    choices = np.full(chosen.scores.shape, -1, dtype=np.int64)
    for column, expert in enumerate(chosen.experts):
        for row, prompt_id in enumerate(chosen.prompt_ids):
            letter = answers.of(prompt_id, expert).text
            if letter:
                choices[row, column] = ord(letter[0])
    return Prompts(chosen, cost, choices)


def first_prompts(prompts: Prompts, count: int) -> Prompts:
    rows = np.random.default_rng(0).permutation(len(prompts.choices))[:count]
    return Prompts(prompts.outcomes.take(rows), prompts.cost, prompts.choices[rows])


# Which plans are offered


@dataclass(frozen=True)
class Triple:
    """Two experts whose answers are compared, and the one that is asked where they differ, by column."""

    first: int
    second: int
    third: int


def quick_outcome(prompts: Prompts, prior: Array, triple: Triple) -> tuple[Array, Array]:
    """Score and cost of a plan on every prompt, all at once; its rule is replayed only for those that are offered."""
    members = [triple.first, triple.second, triple.third]
    choices = prompts.choices[:, members]
    scores = prompts.outcomes.scores[:, members]
    is_agreed = (choices[:, 0] == choices[:, 1]) & (choices[:, 0] >= 0)
    weights = np.log(np.clip(prior[:, members], 0.02, 0.98))
    weights = np.maximum(weights - np.log1p(-np.clip(prior[:, members], 0.02, 0.98)), 0.0) + 0.01
    support = np.zeros(choices.shape)
    for place in range(3):
        same = (choices == choices[:, [place]]) & (choices[:, [place]] >= 0)
        support[:, place] = (weights * same).sum(axis=1)
    winner = np.where(is_agreed, 0, support.argmax(axis=1))
    score = scores[np.arange(len(scores)), winner]
    pair_cost = prompts.cost[triple.first] + prompts.cost[triple.second]
    return score, pair_cost + np.where(is_agreed, 0.0, prompts.cost[triple.third])


def shortlist(train: Prompts, prior: Array) -> list[Triple]:
    """The plans whose mean quality lies furthest above what the experts alone reach for the same cost."""
    scores = train.outcomes.scores.astype(np.float64)
    means = scores.mean(axis=0)
    order = np.argsort(train.cost)
    frontier = np.maximum.accumulate(means[order])
    best = [int(column) for column in np.argsort(-means)[:6]]
    gains: list[tuple[float, Triple]] = []
    for first, second in combinations(range(len(means)), 2):
        for third in best:
            if third in {first, second}:
                continue
            triple = Triple(first, second, third)
            score, cost = quick_outcome(train, prior, triple)
            reached = np.interp(cost.mean(), train.cost[order], frontier)
            gains.append((float(score.mean() - reached), triple))
    gains.sort(key=lambda gain: -gain[0])
    return [triple for _, triple in gains[:SHORTLIST]]


def choose_plans(train: Prompts) -> list[Consensus]:
    """The plans that enlarge the area on the train prompts most, one after the other."""
    prior = domain_lookup(train.outcomes, np.arange(len(train.outcomes.prompts)))
    quality = prior
    scores = train.outcomes.scores.astype(np.float64)
    cost = train.cost
    paid = np.broadcast_to(cost, scores.shape)
    baseline = measure_baseline(scores, cost)
    rules = sweep(cost)[::6]
    candidates = shortlist(train, prior)
    chosen: list[Triple] = []
    while len(chosen) < OFFERED:
        best_area = -1.0
        best_columns: tuple[Array, Array, Array] | None = None
        best_triple = candidates[0]
        for triple in candidates:
            if triple in chosen:
                continue
            score, plan_paid = quick_outcome(train, prior, triple)
            plan_quality = means_by_domain(train.outcomes, score)
            columns = (plan_quality, score, plan_paid)
            served = serve(
                np.column_stack([quality, plan_quality]),
                np.column_stack([scores, score]),
                np.append(cost, plan_paid.mean()),
                rules,
                np.column_stack([paid, plan_paid]),
            )
            area = served.curve().area(baseline.cheapest_cost, baseline.dearest_cost)
            if area > best_area:
                best_area, best_columns, best_triple = area, columns, triple
        assert best_columns is not None
        chosen.append(best_triple)
        quality = np.column_stack([quality, best_columns[0]])
        scores = np.column_stack([scores, best_columns[1]])
        paid = np.column_stack([paid, best_columns[2]])
        cost = np.append(cost, best_columns[2].mean())
    experts = train.outcomes.experts
    plans = []
    for number, triple in enumerate(chosen, start=1):
        pair = (experts[triple.first], experts[triple.second])
        plans.append(
            Consensus(
                name=f"plan {number}", experts=pair, then=experts[triple.third], compare="choice"
            )
        )
    return plans


def means_by_domain(outcomes: Outcomes, scores: Array) -> Array:
    domains = np.asarray(outcomes.domains)
    means = np.empty(len(scores))
    for domain in np.unique(domains):
        means[domains == domain] = scores[domains == domain].mean()
    return means


# What they are worth


@dataclass(frozen=True, eq=False)
class Offer:
    """What is predicted, scored and paid for the dev prompts, prompts × experts or plans."""

    quality: Array
    scores: Array
    expected: Array
    paid: Array


def areas(offer: Offer, baselines: Sequence[Baseline], weights: Sequence[Array | None]) -> Array:
    served = serve(offer.quality, offer.scores, offer.expected, sweep(offer.expected), offer.paid)
    values = []
    for baseline, weight in zip(baselines, weights, strict=True):
        curve = served.curve(weight) if weight is not None else served.curve()
        values.append(curve.area(baseline.cheapest_cost, baseline.dearest_cost))
    return np.array(values)


def measure(dev: Prompts, alone: Offer, together: Offer) -> tuple[float, float, list[float]]:
    """The area without and with plans, and the interval of the difference."""
    scores = dev.outcomes.scores.astype(np.float64)
    resamples = bootstrap_weights(len(scores))
    weights: list[Array | None] = [None, *resamples]
    baselines = [measure_baseline(scores, dev.cost, weight) for weight in weights]
    without = areas(alone, baselines, weights)
    with_them = areas(together, baselines, weights)
    gain = with_them[1:] - without[1:]
    return without[0], with_them[0], np.quantile(gain, [0.025, 0.975]).tolist()


def offer_of(
    dev: Prompts, quality: Array, plans: Sequence[PlanOutcomes], shares: Sequence[Array]
) -> Offer:
    """Experts, and plans behind them in the same order as the columns of the quality."""
    scores = [dev.outcomes.scores.astype(np.float64)]
    paid = [np.broadcast_to(dev.cost, dev.outcomes.scores.shape)]
    expected = list(dev.cost)
    columns = list(dev.outcomes.experts)
    for plan, share in zip(plans, shares, strict=True):
        scores.append(np.nan_to_num(plan.scores.astype(np.float64))[:, None])
        paid.append(
            plan.costs(np.broadcast_to(dev.cost, dev.outcomes.scores.shape), columns)[:, None]
        )
        prices = [dev.cost[columns.index(step.expert)] for step in plan.plan.steps]
        expected.append(float(np.dot(share, prices)))
    masked = quality.copy()
    for number, plan in enumerate(plans):
        masked[~plan.has_outcome, len(columns) + number] = NEVER
    return Offer(masked, np.hstack(scores), np.array(expected), np.hstack(paid))


def predictions(folder: Path, names: Sequence[str], prompts: Sequence[str]) -> Array:
    return load_predictor(folder, names).predict(prompts).astype(np.float64)


def measure_pool(data: Path, pool: str, console: Console, rows: Table) -> None:
    prices = read_price_list(data / "pools.csv", POOLS[pool])
    outcomes = read_outcomes(data / "mmlu_pro.prompts.parquet", data / "mmlu_pro.outcomes.parquet")
    prices = prices.select(outcomes.experts)
    outcomes = outcomes.select(prices.models)
    answers = read_answers(data / "mmlu_pro.answers.parquet", prices.models)
    cost = np.array(list(prices.per_million().values()))
    train = complete_prompts(outcomes, answers, cost, "train")
    dev = complete_prompts(outcomes, answers, cost, "dev")
    plans = choose_plans(first_prompts(train, CHOOSING_PROMPTS))
    shipped = find_router(ROUTER)
    names = train.outcomes.experts

    for prior in ("domain lookup", ROUTER):
        if prior == ROUTER:
            train_quality = predictions(shipped, names, train.outcomes.prompts)
            dev_quality = predictions(shipped, names, dev.outcomes.prompts)
        else:
            train_quality = lookup(train.outcomes, train.outcomes)
            dev_quality = lookup(train.outcomes, dev.outcomes)
        on_train = [replay_plan(plan, train.outcomes, answers, train_quality) for plan in plans]
        on_dev = [replay_plan(plan, dev.outcomes, answers, dev_quality) for plan in plans]
        taught = with_plans(train.outcomes, on_train)
        if prior == ROUTER:
            plan_quality = cross_taught_quality(shipped, with_plans(dev.outcomes, on_dev), plans)
        else:
            plan_quality = lookup(taught, dev.outcomes)[:, len(names) :]
        shares = [plan.shares() for plan in on_train]
        alone = offer_of(dev, dev_quality, [], [])
        together = offer_of(dev, np.hstack([dev_quality, plan_quality]), on_dev, shares)
        without, with_them, interval = measure(dev, alone, together)
        rows.add_row(
            pool,
            prior,
            f"{without:.4f}",
            f"{with_them:.4f}",
            f"{with_them - without:+.4f} [{interval[0]:+.4f}, {interval[1]:+.4f}]",
        )
    for plan in plans:
        console.print(f"{pool}: {plan.name}: {' + '.join(plan.experts)}, then {plan.then}")


def lookup(train: Outcomes, prompts: Outcomes) -> Array:
    """The mean score of each expert in the domain of each prompt, as the train prompts have it."""
    domains = np.asarray(train.domains)
    overall = np.nanmean(train.scores, axis=0)
    values = np.tile(overall, (len(prompts.prompts), 1)).astype(np.float64)
    asked = np.asarray(prompts.domains)
    for domain in np.unique(domains):
        values[asked == domain] = np.nanmean(train.scores[domains == domain], axis=0)
    return values


def cross_taught_quality(router: Path, outcomes: Outcomes, plans: Sequence[Consensus]) -> Array:
    """What the router predicts for plans on each half of the prompts once it has learnt them from the other half."""
    halves = np.random.default_rng(1).permutation(len(outcomes.prompts)) % 2
    quality = np.empty((len(halves), len(plans)))
    for half in (0, 1):
        taught = outcomes.take(np.flatnonzero(halves != half))
        rows = np.flatnonzero(halves == half)
        prompts = outcomes.take(rows).prompts
        quality[rows] = taught_quality(router, taught, plans, prompts)
    return quality


def taught_quality(
    router: Path, taught: Outcomes, plans: Sequence[Consensus], prompts: Sequence[str]
) -> Array:
    """What the router predicts for plans once it has learnt them."""
    with tempfile.TemporaryDirectory() as folder:
        grown = router
        for number, plan in enumerate(plans):
            out = Path(folder) / str(number)
            teach_general(grown, taught, NewExpert(plan.name, plan.then), out)
            grown = out
        return predictions(grown, [plan.name for plan in plans], prompts)


def main(data: Path) -> None:
    console = Console(width=140)
    rows = Table("pool", "prior", "without plans", "with plans", "gain [95 %]", box=None)
    for pool in POOLS:
        measure_pool(data, pool, console, rows)
    console.print(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
