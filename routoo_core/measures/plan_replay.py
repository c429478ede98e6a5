"""What a plan is worth: its rule is followed over stored answers, without a new call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.answer import Answer
from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.measures.curve import Array
from routoo_core.outcomes import Outcomes
from routoo_core.plans.plan import Ask, Contribution, GiveUp, Plan
from routoo_core.progress import SILENT, Progress
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.sandbox.probes import is_probe, probes_of_tests
from routoo_core.tables import read_columns

Rows = NDArray[np.int64]

Probes = tuple[str, ...]
"""Python expressions by whose results the code of answers is compared."""


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """What experts answered.

    Attributes:
        texts: Prompt id and expert → the text, which may be empty; without those that are missing.
        source: Where they come from, for messages.
        probes: Prompt id → its probes, where it has some.
    """

    texts: dict[tuple[str, str], str] = field(repr=False)
    source: str = "--answers"
    probes: Mapping[str, Probes] = field(default_factory=dict, repr=False)

    def of(self, prompt_id: str, expert: str) -> Answer:
        """An answer; one that is missing states nothing, and :meth:`has_answers` tells it apart."""
        return Answer(self.texts.get((prompt_id, expert), ""))

    def request(self, prompt_id: str, prompt: str) -> RoutedRequest:
        """The call that was answered, with the probes of its prompt."""
        probes = self.probes.get(prompt_id, ())
        return RoutedRequest.from_text(prompt, overrides=Overrides(probes=probes))

    def has_answers(self, prompt_ids: Sequence[str], experts: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each prompt has an answer of all of some experts, (prompts,)."""
        is_complete = np.ones(len(prompt_ids), dtype=np.bool_)
        for row, prompt_id in enumerate(prompt_ids):
            is_complete[row] = all((prompt_id, expert) in self.texts for expert in experts)
        return is_complete


def read_answers(path: Path, experts: Sequence[str]) -> AnswerTable:
    """Read a table ``prompt_id, model, answer``; a row without a text is an empty answer.

    Args:
        path: Parquet or CSV.
        experts: Whose answers are needed.

    Raises:
        OutcomesError: The file cannot be read, a column is missing, or an expert has no answer in it.
    """
    columns = read_columns(path, ("prompt_id", "model", "answer"))
    texts: dict[tuple[str, str], str] = {}
    rows = zip(columns["prompt_id"], columns["model"], columns["answer"], strict=True)
    for prompt_id, model, answer in rows:
        if model in experts:
            # An empty field of a CSV is read as a null.
            texts[str(prompt_id), str(model)] = "" if answer is None else str(answer)

    authors = {model for _, model in texts}
    silent_experts = sorted(set(experts) - authors)
    if silent_experts:
        raise OutcomesError(
            f"{path}: holds no answer of {', '.join(silent_experts)}; a plan needs those of all its experts"
        )
    return AnswerTable(texts, str(path))


def read_probes(path: Path) -> dict[str, Probes]:
    """Read the probes of a table of prompts: prompt id → its probes, where it has some.

    They are in the column ``probes``, a list of Python expressions or its JSON form. A prompt without it has the calls
    that its ``tests`` look at, the tests that ``routoo score --grader code`` runs.

    Args:
        path: Parquet or CSV.

    Raises:
        OutcomesError: The file cannot be read, or probes are no list of expressions; the message names file and row.
    """
    columns = read_columns(path, ("prompt_id",), optional=("probes", "tests"))
    ids = columns["prompt_id"]
    nothing = [None] * len(ids)
    rows = zip(ids, columns.get("probes", nothing), columns.get("tests", nothing), strict=True)
    probes_of: dict[str, Probes] = {}
    for number, (prompt_id, cell, tests) in enumerate(rows, start=1):
        if cell not in (None, ""):
            probes = _probes_in(cell, f"{path}: row {number}")
        else:
            probes = probes_of_tests(str(tests or ""))
        if probes:
            probes_of[str(prompt_id)] = probes
    return probes_of


def _probes_in(cell: Any, place: str) -> Probes:
    """The probes of a cell.

    Raises:
        OutcomesError: It holds something else.
    """
    probes = cell
    if isinstance(cell, str):
        try:
            probes = json.loads(cell)
        except ValueError:
            probes = None
    if not isinstance(probes, list) or not all(
        isinstance(probe, str) and is_probe(probe) for probe in probes
    ):
        raise OutcomesError(
            f'{place}: probes: {cell!r} is no list of Python expressions; give JSON such as ["double(2)"]'
        )
    return tuple(probes)


@dataclass(frozen=True, eq=False)
class PlanOutcomes:
    """What a plan would have done with each prompt.

    Attributes:
        plan: The plan.
        scores: The score of its reply, 0–1; NaN where it is not offered, or an expert has no score or
            no stored answer, (prompts,).
        calls: Whether the expert of each of its steps was called, prompts × steps.
        rounds: How many times one call waited for another, (prompts,); experts asked together are one round.
    """

    plan: Plan
    scores: NDArray[np.float32] = field(repr=False)
    calls: NDArray[np.bool_] = field(repr=False)
    rounds: NDArray[np.int64] = field(repr=False)

    @property
    def has_outcome(self) -> NDArray[np.bool_]:
        """Whether the plan has a score, (prompts,)."""
        has_outcome: NDArray[np.bool_] = ~np.isnan(self.scores)
        return has_outcome

    def shares(self, rows: Rows | None = None) -> Array:
        """The share of the prompts with an outcome on which each step calls its expert, 0–1, (steps,).

        Args:
            rows: The prompts that count; by default all.
        """
        outcome_rows = np.flatnonzero(self.has_outcome)
        if rows is not None:
            outcome_rows = rows[self.has_outcome[rows]]
        shares: Array = self.calls[outcome_rows].mean(axis=0)
        return shares

    def costs(self, expert_costs: NDArray[np.floating[Any]], experts: Sequence[str]) -> Array:
        """The cost of each prompt: the sum over the experts that were called, (prompts,).

        Args:
            expert_costs: The cost of a call to each expert, prompts × experts.
            experts: Names of the columns.
        """
        columns = [list(experts).index(step.expert) for step in self.plan.steps]
        step_costs = np.where(self.calls, expert_costs[:, columns].astype(np.float64), 0.0)
        costs: Array = step_costs.sum(axis=1)
        costs[~self.has_outcome] = np.nan
        return costs


def replay_plan(
    plan: Plan,
    outcomes: Outcomes,
    answers: AnswerTable,
    quality: Array,
    progress: Progress = SILENT,
) -> PlanOutcomes:
    """Follow a plan's rule over stored answers. A plan that compares code runs it, in the sandbox.

    Args:
        plan: The plan.
        outcomes: What its experts scored.
        answers: What they said.
        quality: Predicted for the same prompts and experts as the outcomes, 0–1; the weight of each vote.
        progress: Where progress goes.

    Raises:
        ConfigurationError: An expert of the plan would be shown what others answered, which no stored answer has seen,
            or this machine cannot carry the plan out.
        OutcomesError: An expert of the plan is not in the table, no prompt suits the plan, or no prompt has answers of
            all its experts.
    """
    _check_replayable(plan)
    rows = _complete_rows(plan, outcomes, answers, progress)
    step_scores = np.column_stack([outcomes.score_table.column(step.expert) for step in plan.steps])
    step_quality = quality[:, [outcomes.experts.index(step.expert) for step in plan.steps]]
    count = len(outcomes.prompts)
    scores = np.full(count, np.nan, dtype=np.float32)
    calls = np.zeros((count, len(plan.steps)), dtype=np.bool_)
    rounds = np.zeros(count, dtype=np.int64)

    with progress.bar(f"Plan {plan.name}", len(rows)) as advance:
        for row in rows:
            prompt_id = outcomes.prompt_ids[row]
            request = answers.request(prompt_id, outcomes.prompts[row])
            if plan.suits(request):
                trail = _trail_of(plan, request, prompt_id, answers, step_quality[row])
                scores[row] = 0.0 if trail.final is None else step_scores[row, trail.final]
                calls[row, trail.steps] = True
                rounds[row] = trail.rounds
            advance(1)

    if np.isnan(scores).all():
        raise OutcomesError(
            f"plans.{plan.name}: no prompt suits it, or none was answered by all of its experts; a plan is learnt from "
            "prompts whose answers can be compared"
        )
    return PlanOutcomes(plan, scores, calls, rounds)


def _check_replayable(plan: Plan) -> None:
    """Refuse a plan that shows its experts what others answered, or that this machine cannot carry out.

    Raises:
        ConfigurationError: It does, or cannot.
    """
    plan.check_machine()
    for step in plan.steps:
        if step.sees_answers:
            raise ConfigurationError(
                f"plans.{plan.name}: {step.expert!r} is shown other answers, so stored ones do not say what it would "
                "reply. Grade replies of the plan itself, and teach them with `routoo add-expert` (docs/plans.md)"
            )


def _complete_rows(
    plan: Plan, outcomes: Outcomes, answers: AnswerTable, progress: Progress
) -> Rows:
    """The prompts with a score and an answer of each expert of a plan; those that lack an answer alone are counted.

    Raises:
        OutcomesError: No prompt with scores has the answers, or an expert is not in the table.
    """
    table = outcomes.select([step.expert for step in plan.steps])
    rows = np.asarray(table.score_table.complete_rows(), dtype=np.int64)
    score_ids = [outcomes.prompt_ids[row] for row in rows]
    has_answers = answers.has_answers(score_ids, table.experts)
    missing = int((~has_answers).sum())
    if missing:
        progress.note(
            f"Plan {plan.name}: {missing:,} prompts lack an answer in {answers.source}: left out"
        )
        if not has_answers.any():
            raise OutcomesError(
                f"{answers.source}: has no prompt with an answer of each expert of plans.{plan.name}; add their answers"
            )
    return rows[has_answers]


@dataclass(frozen=True, slots=True)
class _Trail:
    """How a plan went: the steps that were called, in how many rounds, and the step whose reply was taken."""

    steps: list[int]
    rounds: int
    final: int | None


def _trail_of(
    plan: Plan,
    request: RoutedRequest,
    prompt_id: str,
    answers: AnswerTable,
    quality: Array,
) -> _Trail:
    """How a plan goes with one prompt.

    Args:
        plan: The plan.
        request: The call.
        prompt_id: Of its prompt.
        answers: What the experts said.
        quality: Predicted for the expert of each step, (steps,).
    """
    appraise = plan.appraiser(request)
    contributions: list[Contribution] = []
    rounds = 0
    verdict = plan.verdict(request, contributions)
    while isinstance(verdict, Ask):
        rounds += 1
        for place in verdict.steps:
            expert = plan.steps[place].expert
            answer = answers.of(prompt_id, expert)
            appraisal = appraise(place, answer)
            contributions.append(
                Contribution(place, expert, float(quality[place]), answer, appraisal)
            )
        verdict = plan.verdict(request, contributions)

    steps = [contribution.step for contribution in contributions]
    if isinstance(verdict, GiveUp):
        return _Trail(steps, rounds, None)
    return _Trail(steps, rounds, contributions[verdict.position].step)
