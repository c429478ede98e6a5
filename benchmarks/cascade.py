"""Cascades with a trained scorer on held-out prompts, at equal cost: python benchmarks/cascade.py DATA_FOLDER

DATA_FOLDER holds mmlu_pro and zeroeval, each as .prompts, .outcomes and .answers (Parquet), and pools.csv. Scorer, list
and thresholds come from the split ``train`` alone; figures are of ``dev``. A call costs its tokens at list prices.

Each cascade stands beside what the same cost buys elsewhere: the best single expert within the budget, the zero router
(a random mix of experts, chosen on the dev prompts themselves), a lookup by domain that learnt from ``train``, and the
router that ships. That one has learnt from all of these prompts, so what it says of them flatters. Intervals (95 %) are
of the difference over resampled prompts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from routoo_core.answer import Answer
from routoo_core.loading import load_predictor
from routoo_core.measures.curve import Array, Curve, ServedSweep, even_weights, serve, sweep
from routoo_core.measures.figures import bootstrap_weights
from routoo_core.measures.plan_replay import AnswerTable, read_answers
from routoo_core.outcomes import Outcomes, read_outcomes
from routoo_core.predictor.answer_scorer import AnswerScorer
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.price_list import read_price_list
from routoo_core.prices import PriceList
from routoo_core.request import RoutedRequest
from routoo_core.training.cascade_fit import FittedCascade, fit_cascades, usd_per_call

POOLS = {"open": ("open",), "mix": ("open", "mix"), "frontier": ("open", "mix", "frontier")}
ROUTER = "general-fast"
CALLS = 1000
"""Costs are of so many."""
BUDGETS = (0.25, 0.5, 0.75)
"""How far each budget lies from the cheapest expert's cost to the dearest's, in logarithms."""
TIMED = 200

ZEROEVAL_PRICES = {
    "gemma-2-9b-it": (0.3, 0.3),
    "Meta-Llama-3.1-8B-Instruct": (0.18, 0.18),
    "gemini-1.5-flash": (0.075, 0.3),
    "gpt-4o-mini-2024-07-18": (0.15, 0.6),
    "claude-3-haiku-20240307": (0.25, 1.25),
    "Meta-Llama-3.1-70B-Instruct": (0.88, 0.88),
    "deepseek-v2.5-0908": (0.14, 0.28),
    "Mistral-Large-2": (2.0, 6.0),
    "gpt-4o-2024-08-06": (2.5, 10.0),
    "claude-3-5-sonnet-20240620": (3.0, 15.0),
}
"""List prices of autumn 2024: USD per million tokens of input and of output."""


@dataclass(frozen=True, eq=False)
class Data:
    """Prompts that all experts of a pool answered.

    Attributes:
        name: What the pool is called.
        outcomes: Their scores.
        answers: What the experts said.
        costs: USD of a thousand calls, prompts × experts.
    """

    name: str
    outcomes: Outcomes
    answers: AnswerTable
    costs: Array


def read_data(folder: Path, table: str, name: str, prices: PriceList) -> Data:
    outcomes = read_outcomes(
        folder / f"{table}.prompts.parquet", folder / f"{table}.outcomes.parquet"
    )
    prices = prices.select([name for name in prices.models if name in outcomes.experts])
    outcomes = outcomes.select(prices.models)
    answers = read_answers(folder / f"{table}.answers.parquet", prices.models)
    answered = {prompt_id for prompt_id, _ in answers.texts}
    rows = [
        row for row in outcomes.score_table.complete_rows() if outcomes.prompt_ids[row] in answered
    ]
    outcomes = outcomes.take(rows)
    return Data(name, outcomes, answers, usd_per_call(outcomes, prices) * CALLS)


# What the same cost buys elsewhere


def domain_quality(train: Outcomes, prompts: Outcomes) -> Array:
    """The mean score of each expert in the domain of each prompt, as the train prompts have it."""
    domains = np.asarray(train.domains)
    asked = np.asarray(prompts.domains)
    values = np.tile(train.scores.mean(axis=0, dtype=np.float64), (len(asked), 1))
    for domain in np.unique(domains):
        values[asked == domain] = train.scores[domains == domain].mean(axis=0, dtype=np.float64)
    return values


def routed(quality: Array, data: Data, dev: np.ndarray) -> ServedSweep:
    """What a router with these predictions serves over its whole range of costs."""
    costs = data.costs[dev]
    expected = data.costs[data.outcomes.rows("train")].mean(axis=0)
    scores = data.outcomes.scores[dev].astype(np.float64)
    return serve(quality, scores, expected, sweep(expected), costs)


def lead(cascade: FittedCascade, served: ServedSweep | None, data: Data, dev: np.ndarray) -> str:
    """The cascade's quality less a router's at the same cost; without a router, the zero router's."""
    scores = data.outcomes.scores[dev].astype(np.float64)
    costs = data.costs[dev]
    leads = []
    for weight in (even_weights(len(dev)), *bootstrap_weights(len(dev))):
        if served is None:
            curve = Curve(weight @ costs, weight @ scores)
        else:
            curve = served.curve(weight)
        reached = float(curve.at(float(weight @ cascade.costs)))
        leads.append(float(weight @ cascade.scores) - reached)
    low, high = np.quantile(leads[1:], [0.025, 0.975])
    return f"{leads[0]:+.3f} [{low:+.3f}, {high:+.3f}]"


def measure(data: Data, rows: Table, console: Console) -> None:
    train = data.outcomes.take(data.outcomes.rows("train"))
    dev = data.outcomes.rows("dev")
    held_out = data.outcomes.take(dev)
    by_domain = routed(domain_quality(train, held_out), data, dev)
    names = data.outcomes.experts
    shipped = load_predictor(find_router(ROUTER), names)
    predicted = shipped.predict(held_out.prompts).astype(np.float64)
    columns = [list(shipped.experts).index(name) for name in names]
    by_router = routed(predicted[:, columns], data, dev)

    mean_costs = data.costs.mean(axis=0)
    cheapest = float(mean_costs.min())
    span = float(mean_costs.max()) / cheapest
    budgets = [round(cheapest * span**share, 3) for share in BUDGETS]
    with tempfile.TemporaryDirectory() as folder:
        fit = fit_cascades(data.outcomes, data.answers, data.costs, budgets, "ladder", Path(folder))
    for cascade in fit.cascades:
        rows.add_row(
            data.name,
            f"{cascade.budget:g}",
            f"{cascade.cost.mean:.3f}",
            f"{cascade.quality.mean:.3f}",
            f"{cascade.best_quality:.3f} at {cascade.best_cost:.3f}",
            lead(cascade, None, data, dev),
            lead(cascade, by_domain, data, dev),
            lead(cascade, by_router, data, dev),
        )
        chain = " → ".join(cascade.plan.experts)
        console.print(f"{data.name} {cascade.budget:g}: {chain}, {cascade.plan.thresholds}")
    console.print(
        f"{data.name}: learnt on {fit.learning:,} prompts, chosen on {fit.searching:,}, measured on {fit.measuring:,}"
    )
    scorer = next((each.plan.scorer for each in fit.cascades if each.plan.scorer), None)
    if scorer is not None:
        console.print(quality_of_scorer(scorer, held_out, data.answers))


def quality_of_scorer(scorer: AnswerScorer, held_out: Outcomes, answers: AnswerTable) -> str:
    """How well it orders the answers of each expert (AUC, averaged), how true its probabilities are, and its time."""
    chosen = held_out.take(np.random.default_rng(0).permutation(len(held_out.prompts))[:TIMED])
    said: list[list[float]] = []
    started = time.perf_counter()
    for prompt_id, prompt in zip(chosen.prompt_ids, chosen.prompts, strict=True):
        prompt_scorer = scorer.for_prompt(RoutedRequest.from_text(prompt))
        answered: list[Answer] = [answers.of(prompt_id, expert) for expert in scorer.experts]
        pairs = zip(answered, scorer.experts, strict=True)
        said.append([prompt_scorer.probability(answer, expert) for answer, expert in pairs])
    seconds = time.perf_counter() - started
    probabilities = np.array(said)
    is_right = chosen.scores > 0.5
    areas = []
    for column in range(len(scorer.experts)):
        right = probabilities[is_right[:, column], column]
        wrong = probabilities[~is_right[:, column], column]
        if len(right) and len(wrong):
            areas.append(float((right[:, None] > wrong).mean()))
    gap = abs(float(probabilities.mean()) - float(is_right.mean()))
    return (
        f"scorer: AUC {np.mean(areas):.3f}, mean probability off by {gap:.3f}, "
        f"{1000 * seconds / probabilities.size:.2f} ms an answer"
    )


def main(folder: Path) -> None:
    console = Console(width=170)
    rows = Table(
        "pool", "budget", "cost", "quality", "best single", "− zero router", "− domain lookup",
        f"− {ROUTER}", box=None,
    )  # fmt: skip
    for pool, names in POOLS.items():
        prices = read_price_list(folder / "pools.csv", names)
        measure(read_data(folder, "mmlu_pro", pool, prices), rows, console)
    prices = PriceList(
        {name: price for name, (price, _) in ZEROEVAL_PRICES.items()},
        {name: price for name, (_, price) in ZEROEVAL_PRICES.items()},
    )
    measure(read_data(folder, "zeroeval", "zeroeval", prices), rows, console)
    console.print(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
