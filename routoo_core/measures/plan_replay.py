"""What a plan is worth: its rule is followed over stored answers, without a new call."""

from __future__ import annotations

from collections.abc import Sequence
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
from routoo_core.request import RoutedRequest
from routoo_core.tables import read_columns


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """What experts answered.

    Attributes:
        texts: Prompt id and expert → the text, which may be empty; without those that are not known.
        source: Where they come from, for messages.
    """

    texts: dict[tuple[str, str], str] = field(repr=False)
    source: str = "--answers"

    def of(self, prompt_id: str, expert: str) -> Answer:
        """An answer; one that is not known states nothing, and :meth:`answered` tells it apart."""
        return Answer(self.texts.get((prompt_id, expert), ""))

    def answered(self, prompt_ids: Sequence[str], experts: Sequence[str]) -> NDArray[np.bool_]:
        """Whether the answers of all of some experts are known, (prompts,)."""
        answered = np.ones(len(prompt_ids), dtype=np.bool_)
        for row, prompt_id in enumerate(prompt_ids):
            answered[row] = all((prompt_id, expert) in self.texts for expert in experts)
        return answered


def read_answers(path: Path, experts: Sequence[str]) -> AnswerTable:
    """Read a table ``prompt_id, model, answer``; a row without a text is an empty answer.

    Args:
        path: Parquet or CSV.
        experts: Whose answers are needed.

    Raises:
        OutcomesError: The file cannot be read, a column is missing, or an expert has no answer in it.
    """
    columns = read_columns(path, ("prompt_id", "model", "answer"))
    wanted = set(experts)
    texts: dict[tuple[str, str], str] = {}
    seen: set[str] = set()
    rows = zip(columns["prompt_id"], columns["model"], columns["answer"], strict=True)
    for prompt_id, model, answer in rows:
        if model not in wanted:
            continue
        seen.add(model)
        # An empty field of a CSV is read as a null.
        texts[str(prompt_id), str(model)] = "" if answer is None else str(answer)
    if wanted - seen:
        missing = ", ".join(sorted(wanted - seen))
        raise OutcomesError(
            f"{path}: holds no answer of {missing}; a plan needs those of all its experts"
        )
    return AnswerTable(texts, str(path))


@dataclass(frozen=True, eq=False)
class PlanOutcomes:
    """What a plan would have done with each prompt.

    Attributes:
        plan: The plan.
        scores: The score of its reply, 0–1; NaN where it is not offered, or an expert has no score or
            no stored answer, (prompts,).
        asked: Whether each of its steps was asked, prompts × steps.
        rounds: How many times one call waited for another, (prompts,); experts asked together are one round.
    """

    plan: Plan
    scores: NDArray[np.float32] = field(repr=False)
    asked: NDArray[np.bool_] = field(repr=False)
    rounds: NDArray[np.int64] = field(repr=False)

    @property
    def offered(self) -> NDArray[np.bool_]:
        """The prompts whose outcome is known, (prompts,)."""
        offered: NDArray[np.bool_] = ~np.isnan(self.scores)
        return offered

    def shares(self, rows: NDArray[np.int64] | None = None) -> Array:
        """The share of the prompts with a known outcome on which each step calls its expert, 0–1, (steps,).

        Args:
            rows: The prompts that count; by default all.
        """
        counted = np.flatnonzero(self.offered)
        if rows is not None:
            counted = rows[self.offered[rows]]
        shares: Array = self.asked[counted].mean(axis=0)
        return shares

    def costs(self, expert_costs: NDArray[np.floating[Any]], experts: Sequence[str]) -> Array:
        """The cost of each prompt: the sum over the experts that were called, (prompts,).

        Args:
            expert_costs: The cost of a call to each expert, prompts × experts.
            experts: Names of the columns.
        """
        columns = [list(experts).index(step.expert) for step in self.plan.steps]
        asked_costs = np.where(self.asked, expert_costs[:, columns].astype(np.float64), 0.0)
        costs: Array = asked_costs.sum(axis=1)
        costs[~self.offered] = np.nan
        return costs


def replay_plan(
    plan: Plan,
    outcomes: Outcomes,
    answers: AnswerTable,
    quality: Array,
    progress: Progress = SILENT,
) -> PlanOutcomes:
    """Follow a plan's rule over stored answers.

    Args:
        plan: The plan.
        outcomes: What its experts scored.
        answers: What they said.
        quality: Predicted for the same prompts and experts as the outcomes, 0–1; the weight of each vote.
        progress: Where progress goes.

    Raises:
        ConfigurationError: An expert of the plan would be shown what others answered, which no stored answer has seen.
        OutcomesError: An expert of the plan is not in the table, no prompt suits the plan, or no prompt has answers of
            all its experts.
    """
    _check_replayable(plan)
    table = outcomes.select([step.expert for step in plan.steps])
    columns = [list(outcomes.experts).index(step.expert) for step in plan.steps]
    observed = np.zeros(len(outcomes.prompts), dtype=np.bool_)
    observed[table.score_table.complete_rows()] = True
    answered = answers.answered(outcomes.prompt_ids, table.experts)
    unanswered = int((observed & ~answered).sum())
    if unanswered:
        progress.note(
            f"Plan {plan.name}: {unanswered:,} prompts lack an answer in {answers.source}: left out"
        )
    if unanswered and not (observed & answered).any():
        raise OutcomesError(
            f"{answers.source}: has no prompt with an answer of each expert of plans.{plan.name}; add their answers"
        )
    scores = np.full(len(outcomes.prompts), np.nan, dtype=np.float32)
    asked = np.zeros((len(scores), len(plan.steps)), dtype=np.bool_)
    rounds = np.zeros(len(scores), dtype=np.int64)
    with progress.bar(f"Plan {plan.name}", len(scores)) as advance:
        for row, prompt in enumerate(outcomes.prompts):
            advance(1)
            request = RoutedRequest.from_text(prompt)
            is_known = observed[row] and answered[row]
            if not is_known or not plan.suits(request):
                continue
            trail = _follow(plan, request, outcomes.prompt_ids[row], answers, quality[row, columns])
            scores[row] = 0.0 if trail.final is None else table.scores[row, trail.final]
            asked[row, trail.asked] = True
            rounds[row] = trail.rounds
    if np.isnan(scores).all():
        raise OutcomesError(
            f"plans.{plan.name}: no prompt suits it, or none was answered by all of its experts; a plan is learnt from "
            "prompts whose answers can be compared"
        )
    return PlanOutcomes(plan, scores, asked, rounds)


def _check_replayable(plan: Plan) -> None:
    """Refuse a plan that shows its experts what others answered.

    Raises:
        ConfigurationError: It does.
    """
    for step in plan.steps:
        if step.sees_answers:
            raise ConfigurationError(
                f"plans.{plan.name}: {step.expert!r} is shown other answers, so stored ones do not say what it would "
                "reply. Grade replies of the plan itself, and teach them with `routoo add-expert` (docs/plans.md)"
            )


@dataclass(frozen=True, slots=True)
class _Trail:
    """How a plan went: the steps that were asked, in how many rounds, and whose reply was taken."""

    asked: list[int]
    rounds: int
    final: int | None


def _follow(
    plan: Plan,
    request: RoutedRequest,
    prompt_id: str,
    answers: AnswerTable,
    quality: Array,
) -> _Trail:
    contributions: list[Contribution] = []
    rounds = 0
    while True:
        verdict = plan.verdict(request, contributions)
        if not isinstance(verdict, Ask):
            break
        rounds += 1
        for place in verdict.steps:
            expert = plan.steps[place].expert
            answer = answers.of(prompt_id, expert)
            contributions.append(Contribution(place, expert, float(quality[place]), answer))
    asked = [contribution.step for contribution in contributions]
    if isinstance(verdict, GiveUp):
        return _Trail(asked, rounds, None)
    return _Trail(asked, rounds, contributions[verdict.position].step)
