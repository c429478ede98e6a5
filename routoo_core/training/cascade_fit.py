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

from routoo_core.errors import ConfigurationError, OutcomesError
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
from routoo_core.training.scorer_fit import fit_scorer, probabilities, read_answer_features

_LEARNING_TENTHS = 6
"""So many tenths of the train prompts teach the scorer; the others choose the list and its thresholds."""
_THRESHOLDS = 16
"""So many are tried for each expert."""
_SURE = 1.645
"""Standard errors by which the mean cost must lie below the budget, so that new prompts keep it 19 times in 20."""
_CLEAR = 2.0
"""Standard errors by which a longer list, or a cheaper expert, must be better than another to count as better."""
_FEWEST_PROMPTS = 20

PLANS_FILE = "plans.toml"
CASCADE_FILES = (*SCORER_FILES, PLANS_FILE)
"""What :func:`fit_cascades` writes."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SearchPrompts:
    """The prompts on which lists and thresholds are chosen.

    Attributes:
        scores: Observed, prompts × experts, 0–1.
        costs: Paid, prompts × experts.
        probabilities: What the scorer says of the answers, prompts × experts.
    """

    scores: Array
    costs: Array
    probabilities: Array


@dataclass(frozen=True)
class Ladder:
    """Whom to ask one after the other, and from which probability an answer is accepted.

    Attributes:
        experts: Columns.
        thresholds: One for each but the last.
    """

    experts: tuple[int, ...]
    thresholds: tuple[float, ...] = ()

    def outcome(self, prompts: SearchPrompts) -> tuple[Array, Array]:
        """Score and cost of each prompt, (prompts,)."""
        count = len(prompts.scores)
        score = np.zeros(count)
        cost = np.zeros(count)
        is_open = np.ones(count, dtype=np.bool_)
        for position, expert in enumerate(self.experts):
            cost += np.where(is_open, prompts.costs[:, expert], 0.0)
            is_accepted = is_open
            if position < len(self.thresholds):
                probability = prompts.probabilities[:, expert]
                is_accepted = is_open & (probability >= self.thresholds[position])
            score += np.where(is_accepted, prompts.scores[:, expert], 0.0)
            is_open = is_open & ~is_accepted
        return score, cost


class TriedLists:
    """The lists of one length, and what each is worth with every combination of thresholds that is tried.

    Attributes:
        length: Experts in a list.
        experts: Columns of each list.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.experts: list[tuple[int, ...]] = []
        self._quality: list[Array] = []
        self._cost: list[Array] = []

    def add(self, experts: tuple[int, ...], quality: Array, cost: Array) -> None:
        """Add a list with its mean quality and cost, (combinations,), the last threshold varying fastest."""
        self.experts.append(experts)
        self._quality.append(quality)
        self._cost.append(cost)

    def best_within(self, limit: float) -> tuple[int, tuple[int, ...], float] | None:
        """The best list up to a mean cost: its number, the places of its thresholds, its cost; ``None`` for none."""
        best_quality = -np.inf
        best = None
        for number, (quality, cost) in enumerate(zip(self._quality, self._cost, strict=True)):
            affordable = np.where(cost <= limit, quality, -np.inf)
            combination = int(affordable.argmax())
            if affordable[combination] > best_quality:
                best_quality = affordable[combination]
                places = np.unravel_index(combination, (_THRESHOLDS,) * (self.length - 1))
                best = (number, tuple(int(place) for place in places), float(cost[combination]))
        return best


class LadderSearch:
    """Every list of up to three experts with every threshold that is tried.

    Args:
        prompts: Where they are compared.
    """

    def __init__(self, prompts: SearchPrompts) -> None:
        self._prompts = prompts
        self._experts = _worth_asking(prompts)
        self._thresholds = {expert: _tried_thresholds(prompts, expert) for expert in self._experts}
        self._singles = TriedLists(1)
        self._pairs = TriedLists(2)
        self._triples = TriedLists(3)
        for first in self._experts:
            quality = prompts.scores[:, first].mean(keepdims=True)
            cost = prompts.costs[:, first].mean(keepdims=True)
            self._singles.add((first,), quality, cost)
            for second in self._experts:
                if second != first:
                    self._measure_pair(first, second)
                    self._measure_triples(first, second)

    def best(self, budget: float) -> Ladder:
        """The list of the most quality whose mean cost keeps within the budget, also on prompts that are new.

        A longer list must be clearly better than a shorter one, since the best of many is partly the luckiest.

        Args:
            budget: In the unit of the costs.

        Raises:
            ConfigurationError: No expert keeps within it.
        """
        chosen: Ladder | None = None
        for tried in (self._singles, self._pairs, self._triples):
            ladder = self._best_of(tried, budget)
            if ladder is not None and (chosen is None or self._is_better(ladder, chosen)):
                chosen = ladder
        if chosen is None:
            cheapest = self._prompts.costs.mean(axis=0).min()
            raise ConfigurationError(
                f"--cost-per-call: {budget:g} is less than the cheapest expert costs surely ({cheapest:g} on average); "
                "give more"
            )
        return chosen

    def _best_of(self, tried: TriedLists, budget: float) -> Ladder | None:
        """The best list of one length; its mean cost may be above the budget by no chance that counts."""
        limit = budget
        while True:
            best = tried.best_within(limit)
            if best is None:
                return None
            number, places, mean_cost = best
            ladder = self._ladder(tried.experts[number], places)
            _, paid = ladder.outcome(self._prompts)
            sure_cost = float(paid.mean() + _SURE * paid.std() / np.sqrt(len(paid)))
            if sure_cost <= budget:
                return ladder
            limit = min(limit * budget / sure_cost, mean_cost * (1 - 1e-9))

    def _ladder(self, experts: tuple[int, ...], places: tuple[int, ...]) -> Ladder:
        thresholds = []
        for expert, place in zip(experts[:-1], places, strict=True):
            thresholds.append(float(self._thresholds[expert][place]))
        return Ladder(experts, tuple(thresholds))

    def _is_better(self, longer: Ladder, shorter: Ladder) -> bool:
        gain = longer.outcome(self._prompts)[0] - shorter.outcome(self._prompts)[0]
        return bool(gain.mean() > _CLEAR * gain.std() / np.sqrt(len(gain)))

    def _measure_pair(self, first: int, second: int) -> None:
        scores = self._prompts.scores
        costs = self._prompts.costs
        refused = self._refused(first)
        quality = _mean_where(~refused, scores[:, first]) + _mean_where(refused, scores[:, second])
        cost = costs[:, first].mean() + _mean_where(refused, costs[:, second])
        self._pairs.add((first, second), quality, cost)

    def _measure_triples(self, first: int, second: int) -> None:
        """Add the lists that begin with two experts."""
        scores = self._prompts.scores
        costs = self._prompts.costs
        count = len(scores)
        refused = self._refused(first)
        refused_next = self._refused(second)

        taken = _mean_where(~refused, scores[:, first])
        taken_next = refused.astype(np.float32) @ (~refused_next * scores[:, second]).T / count
        begun = (taken[:, None] + taken_next).ravel()
        begun_cost = costs[:, first].mean() + _mean_where(refused, costs[:, second])

        refused_twice = (refused[:, None] & refused_next[None]).reshape(-1, count)
        weights = refused_twice.astype(np.float32)
        last_scores = weights @ scores.astype(np.float32) / count
        last_costs = weights @ costs.astype(np.float32) / count
        for third in self._experts:
            if third not in {first, second}:
                quality = begun + last_scores[:, third]
                cost = np.repeat(begun_cost, _THRESHOLDS) + last_costs[:, third]
                self._triples.add((first, second, third), quality, cost)

    def _refused(self, expert: int) -> NDArray[np.bool_]:
        """Whether an expert's answer is refused by each threshold, thresholds × prompts."""
        probability = self._prompts.probabilities[:, expert]
        refused: NDArray[np.bool_] = probability[None] < self._thresholds[expert][:, None]
        return refused


def _mean_where(mask: NDArray[np.bool_], values: Array) -> Array:
    """The mean over all prompts of the values where a mask holds, else 0; (rows of the mask,)."""
    means: Array = mask @ values / len(values)
    return means


def _tried_thresholds(prompts: SearchPrompts, expert: int) -> Array:
    """Probabilities that as many answers lie between, rounded as they are written."""
    shares = np.linspace(0.03, 0.97, _THRESHOLDS)
    return np.round(np.quantile(prompts.probabilities[:, expert], shares), 4)


def _worth_asking(prompts: SearchPrompts) -> list[int]:
    """The experts that no cheaper one is clearly better than."""
    scores = prompts.scores
    mean_cost = prompts.costs.mean(axis=0)
    worth = []
    for expert in range(scores.shape[1]):
        lead = scores - scores[:, [expert]]
        error = lead.std(axis=0) / np.sqrt(len(scores))
        is_beaten = (mean_cost <= mean_cost[expert]) & (lead.mean(axis=0) > _CLEAR * error)
        is_beaten[expert] = False
        if not is_beaten.any():
            worth.append(expert)
    return worth


# What is fitted, and what it is worth


@dataclass(frozen=True, slots=True)
class Measured:
    """A mean over prompts, and its 95 % interval over resampled ones."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Array, weights: Sequence[Array]) -> Measured:
        """Of a value for each prompt."""
        resampled = [float(weight @ values) for weight in weights]
        low, high = np.quantile(resampled, [0.025, 0.975])
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
    quality: Measured
    cost: Measured
    best_expert: str
    best_quality: float
    best_cost: float
    gain: Measured
    scores: Array = field(repr=False)
    costs: Array = field(repr=False)


@dataclass(frozen=True, eq=False)
class CascadeFit:
    """What :func:`fit_cascades` made.

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
    complete = outcomes.score_table.complete_rows()
    outcomes = outcomes.take(complete)
    answered = answers.has_answers(outcomes.prompt_ids, outcomes.experts)
    unanswered = int((~answered).sum())
    if unanswered:
        progress.note(f"{unanswered:,} prompts lack an answer in {answers.source}: left out")
    outcomes = outcomes.take(np.flatnonzero(answered))
    costs = costs[complete][answered]
    learning, searching = _parts(outcomes)
    measuring = outcomes.rows("dev")
    for part, rows in (("train", learning), ("train", searching), ("dev", measuring)):
        if len(rows) < _FEWEST_PROMPTS:
            source = answers.source if unanswered else "--prompts"
            raise OutcomesError(
                f"{source}: too few prompts of the split {part} were answered by all of the experts; a scorer learns "
                "on six tenths of the train prompts, lists are chosen on the others and measured on the dev prompts, "
                f"and each needs {_FEWEST_PROMPTS} or more"
            )
    reader = AnswerReader()
    taught = outcomes.take(np.concatenate([learning, searching]))
    taught_rows = np.arange(len(taught.prompts))
    learnt_rows = taught_rows[: len(learning)]
    searched_rows = taught_rows[len(learning) :]
    read = read_answer_features(taught, answers, reader, progress)
    progress.note("Fitting the scorer")
    scorer = fit_scorer(taught, read, reader, learnt_rows, searched_rows)
    scorer = replace(scorer, folder=folder)  # The plans name it, and it is written after them.

    searched = SearchPrompts(
        outcomes.scores[searching].astype(np.float64),
        costs[searching],
        probabilities(scorer, read, searched_rows),
    )
    progress.note("Searching lists of experts")
    search = LadderSearch(searched)
    measured = outcomes.take(measuring)
    cascades = []
    for number, budget in enumerate(budgets, start=1):
        ladder = search.best(budget)
        plan = Cascade(
            name=name if len(budgets) == 1 else f"{name}-{number}",
            experts=tuple(outcomes.experts[column] for column in ladder.experts),
            scorer=scorer,
            thresholds=ladder.thresholds,
        )
        single = _best_single(searched, budget)
        cascades.append(
            _measure(plan, budget, measured, answers, costs[measuring], single, progress)
        )
    stored = _write(folder, scorer, cascades)
    return CascadeFit(stored, len(learning), len(searching), len(measuring))


def _write(
    folder: Path, scorer: AnswerScorer, cascades: Sequence[FittedCascade]
) -> tuple[FittedCascade, ...]:
    """Write all of the files once each is whole; the cascades, with the scorer as it is stored."""
    with replacing_all(folder, CASCADE_FILES) as scratch:
        write_scorer_files(scratch, scorer)
        (scratch / PLANS_FILE).write_text(cascade_tables(cascades), encoding="utf-8")
    loaded = load_scorer(folder)
    stored = []
    for cascade in cascades:
        plan = cascade.plan.model_copy(update={"scorer": loaded})
        stored.append(replace(cascade, plan=plan))
    return tuple(stored)


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


def _parts(outcomes: Outcomes) -> tuple[Rows, Rows]:
    """Train prompts to learn from, and to choose on; a question asked twice is in one part."""
    train = outcomes.rows("train")
    fingerprints = question_fingerprints(outcomes.take(train).prompts)
    is_learning = fingerprints % 10 < _LEARNING_TENTHS
    return train[is_learning], train[~is_learning]


def _best_single(prompts: SearchPrompts, budget: float) -> int:
    """The best expert that costs no more than the budget on average; the cheapest where none does."""
    mean_cost = prompts.costs.mean(axis=0)
    if (mean_cost > budget).all():
        return int(mean_cost.argmin())
    affordable = np.where(mean_cost <= budget, prompts.scores.mean(axis=0), -np.inf)
    return int(affordable.argmax())


def _measure(
    plan: Cascade,
    budget: float,
    outcomes: Outcomes,
    answers: AnswerTable,
    costs: Array,
    single: int,
    progress: Progress,
) -> FittedCascade:
    """What a cascade is worth by its own rule, over stored answers."""
    even = np.full(outcomes.scores.shape, 0.5)
    replayed = replay_plan(plan, outcomes, answers, even, progress)
    scores = replayed.scores.astype(np.float64)
    paid = replayed.costs(costs, outcomes.experts)
    single_scores = outcomes.scores[:, single].astype(np.float64)
    weights = bootstrap_weights(len(scores))
    shares = tuple(round(float(share), 4) for share in replayed.shares())
    return FittedCascade(
        budget=budget,
        plan=plan.model_copy(update={"shares": shares}),
        quality=Measured.of(scores, weights),
        cost=Measured.of(paid, weights),
        best_expert=outcomes.experts[single],
        best_quality=float(single_scores.mean()),
        best_cost=float(costs[:, single].mean()),
        gain=Measured.of(scores - single_scores, weights),
        scores=scores,
        costs=paid,
    )
