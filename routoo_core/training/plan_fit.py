"""``routoo plans fit``: what plans are worth, learnt from stored answers, and a router that knows it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.loading import is_general, load_predictor
from routoo_core.measures.curve import Array
from routoo_core.measures.plan_replay import AnswerTable, PlanOutcomes, replay_plan
from routoo_core.outcomes import Outcomes
from routoo_core.plans.consensus import Consensus
from routoo_core.plans.plan import Plan
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.general_checkpoint import load_general
from routoo_core.prices import PriceList
from routoo_core.progress import Progress
from routoo_core.text import question_fingerprints
from routoo_core.training.expert_run import NewExpert, add_expert_to
from routoo_core.training.general_labels import teach_general

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FittedPlan:
    """The quality and calls of a plan on the prompts of one split, with its best single expert for comparison.

    Attributes:
        plan: The plan with the shares of its steps.
        prompts: Number of prompts on which the plan has an outcome.
        quality: Mean score of the plan, 0–1.
        best_expert: The plan's expert with the best mean score on the same prompts.
        best_quality: Mean score of that expert, 0–1.
        calls: Mean number of experts called for a prompt.
        rounds: Mean number of calls that wait for one another.
    """

    plan: Plan
    prompts: int
    quality: float
    best_expert: str
    best_quality: float
    calls: float
    rounds: float


@dataclass(frozen=True, eq=False)
class PlanFit:
    """The result of :func:`fit_plans`.

    Attributes:
        plans: One for each plan, by its held-out prompts where there are some.
        outcomes: The table with a column for each plan.
    """

    plans: tuple[FittedPlan, ...]
    outcomes: Outcomes = field(repr=False)


def with_plans(outcomes: Outcomes, plans: Sequence[PlanOutcomes]) -> Outcomes:
    """A table with a column of scores for each plan; what they cost is the sum of their experts', where known."""
    names = [plan.plan.name for plan in plans]
    scores = np.column_stack([plan.scores for plan in plans])
    lengths = outcomes.length_table
    if lengths is not None:
        no_lengths = np.full_like(scores, np.nan)
        lengths = lengths.with_columns(names, no_lengths)
    costs = outcomes.cost_table
    if costs is not None:
        plan_costs = [plan.costs(costs.values, outcomes.experts) for plan in plans]
        costs = costs.with_columns(names, np.column_stack(plan_costs))
    score_table = outcomes.score_table.with_columns(names, scores)
    return replace(outcomes, score_table=score_table, length_table=lengths, cost_table=costs)


def fit_plans(
    checkpoint: Path,
    outcomes: Outcomes,
    answers: AnswerTable,
    plans: Sequence[Plan],
    out: Path,
    progress: Progress,
) -> PlanFit:
    """Write to ``out`` a router that has learnt plans as further experts; shares come from ``train`` prompts alone.

    Args:
        checkpoint: The router to start from; it stays as it is.
        outcomes: What the experts scored, by split.
        answers: What they answered, with the probes of prompts for plans that compare code.
        plans: The plans.
        out: The folder to write.
        progress: Where progress goes.

    Raises:
        OutcomesError: A plan's expert was not observed, or a plan has no outcome on a train prompt, or on a dev prompt
            where there are some. Nothing is written then.
        ConfigurationError: The router knows a plan's name already, has learnt from all of the prompts, or a plan cannot
            be replayed.
    """
    train = outcomes.rows("train")
    lesson_rows = _new_rows(checkpoint, outcomes, train)
    members = sorted({step.expert for plan in plans for step in plan.steps})
    member_outcomes = outcomes.select(members)
    predictor = load_predictor(checkpoint, members)
    quality = _quality_of(predictor, outcomes.prompts, members)
    replays = [replay_plan(plan, member_outcomes, answers, quality, progress) for plan in plans]
    dev = outcomes.rows("dev")
    for replay in replays:
        _check_outcomes(replay, train, dev)
    table = with_plans(outcomes, replays)
    _teach(checkpoint, table.take(lesson_rows), plans, out, progress)

    test_rows = dev if len(dev) else train
    fits = [_describe(replay, outcomes, train, test_rows) for replay in replays]
    return PlanFit(tuple(fits), table)


def _new_rows(checkpoint: Path, outcomes: Outcomes, train: Rows) -> Rows:
    """The prompts that a general router has not learnt from: of those, it knows the difficulty too well to learn more.

    Raises:
        ConfigurationError: There is none.
    """
    if not is_general(checkpoint):
        return train
    fingerprints = question_fingerprints(outcomes.take(train).prompts)
    rows = train[~np.isin(fingerprints, load_general(checkpoint).trained)]
    if not len(rows):
        raise ConfigurationError(
            f"--prompts: {checkpoint.name} has learnt from all of the train prompts, or there is none; give prompts "
            "that are new to it"
        )
    return rows


def prices_with_plans(prices: PriceList, plans: Sequence[Plan]) -> PriceList:
    """A price list with a row for each plan: its experts' prices, each as often as it is asked.

    Raises:
        ConfigurationError: An expert of a plan has no price in the list.
    """
    input_usd = dict(prices.input_usd_per_1m)
    output_usd = dict(prices.output_usd_per_1m)
    for plan in plans:
        for step in plan.steps:
            if step.expert not in prices.models:
                raise ConfigurationError(f"--prices: has no row for {step.expert!r}; add one")
        input_usd[plan.name] = sum(
            step.share * prices.input_usd_per_1m[step.expert] for step in plan.steps
        )
        output_usd[plan.name] = sum(
            step.share * prices.output_usd_per_1m[step.expert] for step in plan.steps
        )
    return PriceList(input_usd, output_usd, prices.sizes)


def _quality_of(predictor: Predictor, prompts: Sequence[str], experts: Sequence[str]) -> Array:
    """What a router predicts for some experts, prompts × experts, 0–1."""
    columns = [list(predictor.experts).index(expert) for expert in experts]
    quality: Array = predictor.predict(prompts)[:, columns].astype(np.float64)
    return quality


def _teach(
    checkpoint: Path, lesson: Outcomes, plans: Sequence[Plan], out: Path, progress: Progress
) -> None:
    """One plan after the other, each on top of the router that knows those before."""
    with tempfile.TemporaryDirectory() as folder:
        pupil = checkpoint
        for number, plan in enumerate(plans):
            is_last = number == len(plans) - 1
            target = out if is_last else Path(folder) / str(number)
            expert = NewExpert(plan.name, _prior_of(plan))
            if is_general(checkpoint):
                teach_general(pupil, lesson, expert, target)
            else:
                add_expert_to(pupil, lesson, expert, target, progress)
            pupil = target


def _prior_of(plan: Plan) -> str:
    """The expert that a plan is most like: the one that decides."""
    if isinstance(plan, Consensus) and plan.then:
        return plan.then
    return plan.steps[-1].expert


def _check_outcomes(replay: PlanOutcomes, train: Rows, dev: Rows) -> None:
    """Refuse a plan that cannot be learnt or measured.

    Raises:
        OutcomesError: It has no outcome on a train prompt, or none on a dev prompt where there are some.
    """
    name = replay.plan.name
    if not replay.has_outcome[train].any():
        raise OutcomesError(
            f"plans.{name}: no train prompt suits it; a plan is learnt from prompts of the split train"
        )
    if len(dev) and not replay.has_outcome[dev].any():
        raise OutcomesError(
            f"plans.{name}: no dev prompt suits it, so its quality cannot be measured; give some that do, or prompts "
            "of the split train alone"
        )


def _describe(replay: PlanOutcomes, outcomes: Outcomes, train: Rows, test_rows: Rows) -> FittedPlan:
    """A plan with the shares of the train prompts, and its figures on the test rows."""
    rows = test_rows[replay.has_outcome[test_rows]]
    shares = tuple(round(float(share), 4) for share in replay.shares(train))
    names = sorted({step.expert for step in replay.plan.steps})
    means = {name: float(outcomes.score_table.column(name)[rows].mean()) for name in names}
    best = max(means, key=means.__getitem__)
    return FittedPlan(
        plan=replay.plan.model_copy(update={"shares": shares}),
        prompts=len(rows),
        quality=float(replay.scores[rows].mean()),
        best_expert=best,
        best_quality=means[best],
        calls=float(replay.calls[rows].sum(axis=1).mean()),
        rounds=float(replay.rounds[rows].mean()),
    )
