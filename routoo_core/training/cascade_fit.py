"""``routoo plans fit-cascade``: a scorer of answers, and whom to ask up to which threshold within a mean cost.

FrugalGPT (arXiv 2305.05176, §3) fits both on stored answers. The scorer learns on one part of the train prompts, the
list of experts and its thresholds are chosen on the other, and what they are worth is measured on the dev prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import OutcomesError
from routoo_core.files import replacing_all
from routoo_core.measures.call_costs import CALLS, measured_costs
from routoo_core.measures.curve import Array
from routoo_core.measures.figures import bootstrap_weights
from routoo_core.measures.plan_replay import AnswerTable, replay_plan
from routoo_core.outcomes import Outcomes
from routoo_core.plans.cascade import Cascade
from routoo_core.plans.tables import describe_plan
from routoo_core.predictor.answer_scorer import (
    SCORER_FILES,
    AnswerReader,
    AnswerScorer,
    load_scorer,
    write_scorer_files,
)
from routoo_core.prices import PriceList
from routoo_core.progress import SILENT, Progress
from routoo_core.text import question_fingerprints
from routoo_core.training.ladder_search import LadderSearch, SearchPrompts
from routoo_core.training.scorer_fit import fit_scorer, probabilities, read_answer_features

_LEARNING_TENTHS = 6
"""So many tenths of the train prompts teach the scorer; the others choose the list and its thresholds."""
_FEWEST_PROMPTS = 20

PLANS_FILE = "plans.toml"
CASCADE_FILES = (*SCORER_FILES, PLANS_FILE)
"""What :func:`fit_cascades` writes."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over prompts, and its 95 % interval over resampled ones."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Array, weights: Sequence[Array]) -> Estimate:
        """Of a value for each prompt."""
        means = [float(weight @ values) for weight in weights]
        low, high = np.quantile(means, [0.025, 0.975])
        return cls(float(values.mean()), float(low), float(high))


@dataclass(frozen=True, eq=False)
class FittedCascade:
    """A cascade for one budget, and what it is worth on prompts that neither it nor its scorer has seen.

    Attributes:
        budget: The mean cost that a call may have.
        plan: The cascade; of one expert where no list is better within the budget.
        quality: Its mean score, 0–1.
        cost: Its mean cost.
        best_expert: The single expert that the search prompts say is best within the budget.
        best_quality: That one's mean score, 0–1.
        best_cost: Its mean cost.
        gain: Quality of the cascade less that of the expert.
        scores: Of each measured prompt, (prompts,).
        costs: Of each measured prompt, (prompts,).
    """

    budget: float
    plan: Cascade
    quality: Estimate
    cost: Estimate
    best_expert: str
    best_quality: float
    best_cost: float
    gain: Estimate
    scores: Array = field(repr=False)
    costs: Array = field(repr=False)


@dataclass(frozen=True, eq=False)
class CascadeFit:
    """The result of :func:`fit_cascades`.

    Attributes:
        cascades: One for each budget.
        learning: On how many prompts the scorer learnt.
        searching: On how many prompts the lists were chosen.
        measuring: On how many prompts they were measured.
    """

    cascades: tuple[FittedCascade, ...]
    learning: int
    searching: int
    measuring: int


def fit_cascades(
    outcomes: Outcomes,
    answers: AnswerTable,
    costs: Array,
    budgets: Sequence[float],
    name: str,
    folder: Path,
    progress: Progress = SILENT,
) -> CascadeFit:
    """Learn a scorer, choose a cascade for each budget, and write both once all is known.

    Args:
        outcomes: What the experts scored, by split.
        answers: What they answered.
        costs: Of each answer, prompts × experts.
        budgets: The mean costs that a call may have, in the same unit.
        name: What the plan is called; with several budgets, a number is put behind it.
        folder: Where the scorer and the plans are written; it stays as it is where anything is raised.
        progress: Where progress goes.

    Raises:
        OutcomesError: Too few prompts were answered by all of the experts.
        ConfigurationError: A budget is less than the cheapest expert costs.
    """
    lesson = _complete_lesson(outcomes, answers, costs, progress)
    parts = _parts_of(lesson)
    scorer, search_prompts = _scorer_of(lesson, parts, folder, progress)
    search = LadderSearch(search_prompts, progress)
    test = lesson.take(parts.measuring)
    cascades = []
    for number, budget in enumerate(budgets, start=1):
        ladder = search.best(budget)
        plan = Cascade(
            name=name if len(budgets) == 1 else f"{name}-{number}",
            experts=tuple(lesson.outcomes.experts[column] for column in ladder.experts),
            scorer=scorer,
            thresholds=ladder.thresholds,
        )
        best_single = search_prompts.best_single(budget)
        cascades.append(_measure(plan, budget, test, best_single, progress))
    stored_cascades = _write(folder, scorer, cascades)
    return CascadeFit(
        cascades=stored_cascades,
        learning=len(parts.learning),
        searching=len(parts.searching),
        measuring=len(parts.measuring),
    )


@dataclass(frozen=True, eq=False)
class _Lesson:
    """Prompts with all that is learnt from and measured on.

    Attributes:
        outcomes: What every expert scored; none is missing.
        answers: What every expert answered; none is missing.
        costs: Of each answer, prompts × experts.
        lacks_answers: Whether prompts were left out since an answer is missing.
    """

    outcomes: Outcomes
    answers: AnswerTable
    costs: Array
    lacks_answers: bool

    def take(self, rows: Rows) -> _Lesson:
        """These prompts only, by row number, in this order."""
        return replace(self, outcomes=self.outcomes.take(rows), costs=self.costs[rows])


@dataclass(frozen=True, eq=False)
class _Parts:
    """The rows of a lesson, each in one part.

    Attributes:
        learning: The scorer learns from these.
        searching: It is calibrated on these, and lists are chosen on them.
        measuring: What the lists are worth is measured on these.
    """

    learning: Rows
    searching: Rows
    measuring: Rows


def _complete_lesson(
    outcomes: Outcomes, answers: AnswerTable, costs: Array, progress: Progress
) -> _Lesson:
    """The prompts that every expert has a score and an answer for; those that lack an answer alone are counted."""
    rows = outcomes.score_table.complete_rows()
    complete_outcomes = outcomes.take(rows)
    has_answers = answers.has_answers(complete_outcomes.prompt_ids, outcomes.experts)
    missing = int((~has_answers).sum())
    if missing:
        progress.note(f"{missing:,} prompts lack an answer in {answers.source}: left out")
    return _Lesson(
        outcomes=complete_outcomes.take(np.flatnonzero(has_answers)),
        answers=answers,
        costs=costs[rows][has_answers],
        lacks_answers=missing > 0,
    )


def _parts_of(lesson: _Lesson) -> _Parts:
    """The parts of a lesson; a question asked twice is in one of them.

    Raises:
        OutcomesError: One has too few prompts.
    """
    train = lesson.outcomes.rows("train")
    fingerprints = question_fingerprints(lesson.outcomes.take(train).prompts)
    is_learning = fingerprints % 10 < _LEARNING_TENTHS
    parts = _Parts(train[is_learning], train[~is_learning], lesson.outcomes.rows("dev"))
    for split, rows in (
        ("train", parts.learning),
        ("train", parts.searching),
        ("dev", parts.measuring),
    ):
        if len(rows) < _FEWEST_PROMPTS:
            source = lesson.answers.source if lesson.lacks_answers else "--prompts"
            raise OutcomesError(
                f"{source}: too few prompts of the split {split} were answered by all of the experts; a scorer learns "
                "on six tenths of the train prompts, lists are chosen on the others and measured on the dev prompts, "
                f"and each needs {_FEWEST_PROMPTS} or more"
            )
    return parts


def _scorer_of(
    lesson: _Lesson, parts: _Parts, folder: Path, progress: Progress
) -> tuple[AnswerScorer, SearchPrompts]:
    """A scorer that is to be stored in a folder, and what it says of the prompts on which lists are chosen."""
    train = lesson.take(np.concatenate([parts.learning, parts.searching]))
    rows = np.arange(len(train.outcomes.prompts))
    learning = rows[: len(parts.learning)]
    searching = rows[len(parts.learning) :]
    reader = AnswerReader()
    features = read_answer_features(train.outcomes, train.answers, reader, progress)
    scorer = fit_scorer(train.outcomes, features, reader, learning, searching, progress)
    search_prompts = SearchPrompts(
        scores=train.outcomes.scores[searching].astype(np.float64),
        costs=train.costs[searching],
        probabilities=probabilities(scorer, features, searching),
    )
    # The plans name the folder, and it is written after them.
    return replace(scorer, folder=folder), search_prompts


def _write(
    folder: Path, scorer: AnswerScorer, cascades: Sequence[FittedCascade]
) -> tuple[FittedCascade, ...]:
    """Write all of the files once each is whole; the cascades, with the scorer as it is stored."""
    with replacing_all(folder, CASCADE_FILES) as scratch:
        write_scorer_files(scratch, scorer)
        (scratch / PLANS_FILE).write_text(cascade_tables(cascades), encoding="utf-8")
    stored_scorer = load_scorer(folder)
    stored_cascades = []
    for cascade in cascades:
        plan = cascade.plan.model_copy(update={"scorer": stored_scorer})
        stored_cascades.append(replace(cascade, plan=plan))
    return tuple(stored_cascades)


def cascade_tables(cascades: Sequence[FittedCascade]) -> str:
    """The plans of several experts as tables of routoo.toml, with what each is worth; empty where there is none."""
    import tomlkit

    plans = tomlkit.table(is_super_table=True)
    for cascade in cascades:
        plan = cascade.plan
        if len(plan.experts) == 1:
            continue
        quality = cascade.quality
        table = tomlkit.table()
        table.comment(
            f"quality {quality.mean:.3f} [{quality.low:.3f}, {quality.high:.3f}] at {cascade.cost.mean:.6f} USD a "
            f"call [{cascade.cost.low:.6f}, {cascade.cost.high:.6f}]"
        )
        for key, value in describe_plan(plan).items():
            table.add(key, value)
        plans.add(plan.name, table)
    return tomlkit.dumps({"plans": plans}) if len(plans) else ""


def usd_per_call(outcomes: Outcomes, prices: PriceList) -> Array:
    """USD of each answer, prompts × experts: what was paid, else its tokens at list prices."""
    return measured_costs(outcomes, prices).paid / CALLS


def _measure(
    plan: Cascade, budget: float, test: _Lesson, best_single: int, progress: Progress
) -> FittedCascade:
    """What a cascade is worth by its own rule, over stored answers, and what the best single expert is."""
    even = np.full(test.outcomes.scores.shape, 0.5)
    replay = replay_plan(plan, test.outcomes, test.answers, even, progress)
    scores = replay.scores.astype(np.float64)
    costs = replay.costs(test.costs, test.outcomes.experts)
    single_scores = test.outcomes.scores[:, best_single].astype(np.float64)
    weights = bootstrap_weights(len(scores))
    shares = tuple(round(float(share), 4) for share in replay.shares())
    return FittedCascade(
        budget=budget,
        plan=plan.model_copy(update={"shares": shares}),
        quality=Estimate.of(scores, weights),
        cost=Estimate.of(costs, weights),
        best_expert=test.outcomes.experts[best_single],
        best_quality=float(single_scores.mean()),
        best_cost=float(test.costs[:, best_single].mean()),
        gain=Estimate.of(scores - single_scores, weights),
        scores=scores,
        costs=costs,
    )
