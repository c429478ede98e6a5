"""Which experts a cascade asks, and up to which thresholds: the best list within a mean cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.measures.curve import Array
from routoo_core.progress import SILENT, Progress

THRESHOLDS = 16
"""So many are tried for each expert."""
_ROUNDING = 1e-9
"""Share of a budget by which a mean cost may pass it: the mean of equal costs is not exactly each of them."""
_SURE = 1.645
"""Standard errors by which the mean cost must lie below the budget, so that new prompts keep it 19 times in 20."""
_CLEAR = 2.0
"""Standard errors by which a longer list, or a cheaper expert, must be better than another to count as better."""

Mask = NDArray[np.bool_]


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

    def best_single(self, budget: float) -> int:
        """The best expert that costs no more than the budget on average; the cheapest where none does."""
        mean_cost = self.costs.mean(axis=0)
        is_within = mean_cost <= budget * (1 + _ROUNDING)
        if not is_within.any():
            return int(mean_cost.argmin())
        quality = np.where(is_within, self.scores.mean(axis=0), -np.inf)
        return int(quality.argmax())


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


@dataclass(frozen=True)
class Trial:
    """A list with thresholds.

    Attributes:
        experts: Columns.
        places: Of the threshold of each expert but the last, among those that are tried for it.
        cost: Its mean cost.
    """

    experts: tuple[int, ...]
    places: tuple[int, ...]
    cost: float


class TrialTable:
    """The lists of one length, and what each is worth with every combination of thresholds.

    Args:
        length: Experts in a list.
    """

    def __init__(self, length: int) -> None:
        self._thresholds = (THRESHOLDS,) * (length - 1)
        self._experts: list[tuple[int, ...]] = []
        self._quality: list[Array] = []
        self._cost: list[Array] = []

    def add(self, experts: tuple[int, ...], quality: Array, cost: Array) -> None:
        """Add a list with its mean quality and cost, (combinations,), the last threshold varying fastest."""
        self._experts.append(experts)
        self._quality.append(quality)
        self._cost.append(cost)

    def best_within(self, limit: float) -> Trial | None:
        """The best list up to a mean cost; ``None`` for none."""
        best_quality = -np.inf
        best = None
        for experts, quality, cost in zip(self._experts, self._quality, self._cost, strict=True):
            quality_within = np.where(cost <= limit, quality, -np.inf)
            combination = int(quality_within.argmax())
            if quality_within[combination] > best_quality:
                best_quality = quality_within[combination]
                places = np.unravel_index(combination, self._thresholds)
                place_numbers = tuple(int(place) for place in places)
                best = Trial(experts, place_numbers, float(cost[combination]))
        return best


class LadderSearch:
    """Every list of up to three experts with every threshold that is tried.

    Args:
        prompts: Where they are compared.
        progress: Where progress goes.
    """

    def __init__(self, prompts: SearchPrompts, progress: Progress = SILENT) -> None:
        self._prompts = prompts
        self._experts = _worth_asking(prompts)
        self._thresholds: dict[int, Array] = {}
        self._refusals: dict[int, Mask] = {}
        for expert in self._experts:
            thresholds = _thresholds_of(prompts, expert)
            self._thresholds[expert] = thresholds
            self._refusals[expert] = prompts.probabilities[:, expert] < thresholds[:, None]
        self._singles = TrialTable(1)
        self._pairs = TrialTable(2)
        self._triples = TrialTable(3)
        with progress.bar("Searching lists of experts", len(self._experts) ** 2) as advance:
            for first in self._experts:
                for second in self._experts:
                    self._measure_lists(first, second)
                    advance(1)

    def best(self, budget: float) -> Ladder:
        """The list of the most quality whose mean cost keeps within the budget, also on prompts that are new.

        A longer list must be clearly better than a shorter one, since the best of many is partly the luckiest.

        Args:
            budget: In the unit of the costs.

        Raises:
            ConfigurationError: No expert keeps within it.
        """
        best: Ladder | None = None
        for table in (self._singles, self._pairs, self._triples):
            ladder = self._best_of(table, budget)
            if ladder is not None and (best is None or self._is_better(ladder, best)):
                best = ladder
        if best is None:
            cheapest = self._prompts.costs.mean(axis=0).min()
            raise ConfigurationError(
                f"--cost-per-call: {budget:g} is less than the cheapest expert costs surely ({cheapest:g} on average); "
                "give more"
            )
        return best

    def _best_of(self, table: TrialTable, budget: float) -> Ladder | None:
        """The best list of one length; its mean cost may be above the budget by no chance that counts."""
        budget *= 1 + _ROUNDING
        limit = budget
        while True:
            trial = table.best_within(limit)
            if trial is None:
                return None
            ladder = self._ladder(trial)
            _, costs = ladder.outcome(self._prompts)
            sure_cost = float(costs.mean() + _SURE * costs.std() / np.sqrt(len(costs)))
            if sure_cost <= budget:
                return ladder
            limit = min(limit * budget / sure_cost, trial.cost * (1 - 1e-9))

    def _ladder(self, trial: Trial) -> Ladder:
        thresholds = []
        for expert, place in zip(trial.experts[:-1], trial.places, strict=True):
            thresholds.append(float(self._thresholds[expert][place]))
        return Ladder(trial.experts, tuple(thresholds))

    def _is_better(self, longer: Ladder, shorter: Ladder) -> bool:
        longer_scores, _ = longer.outcome(self._prompts)
        shorter_scores, _ = shorter.outcome(self._prompts)
        gain = longer_scores - shorter_scores
        return bool(gain.mean() > _CLEAR * gain.std() / np.sqrt(len(gain)))

    def _measure_lists(self, first: int, second: int) -> None:
        """Add the lists that begin with two experts; the single one where they are the same."""
        if first == second:
            self._measure_single(first)
        else:
            self._measure_pair(first, second)
            self._measure_triples(first, second)

    def _measure_single(self, expert: int) -> None:
        quality = self._prompts.scores[:, expert].mean(keepdims=True)
        cost = self._prompts.costs[:, expert].mean(keepdims=True)
        self._singles.add((expert,), quality, cost)

    def _measure_pair(self, first: int, second: int) -> None:
        scores = self._prompts.scores
        costs = self._prompts.costs
        refusals = self._refusals[first]
        first_quality = _mean_where(~refusals, scores[:, first])
        second_quality = _mean_where(refusals, scores[:, second])
        cost = costs[:, first].mean() + _mean_where(refusals, costs[:, second])
        self._pairs.add((first, second), first_quality + second_quality, cost)

    def _measure_triples(self, first: int, second: int) -> None:
        """Add the lists of three that begin with two experts, for every pair of their thresholds."""
        scores = self._prompts.scores
        costs = self._prompts.costs
        count = len(scores)
        first_refusals = self._refusals[first]
        second_refusals = self._refusals[second]

        first_quality = _mean_where(~first_refusals, scores[:, first])
        second_scores = ~second_refusals * scores[:, second]
        second_quality = first_refusals.astype(np.float32) @ second_scores.T / count
        quality = (first_quality[:, None] + second_quality).ravel()
        cost = costs[:, first].mean() + _mean_where(first_refusals, costs[:, second])

        both_refuse = (first_refusals[:, None] & second_refusals[None]).reshape(-1, count)
        weights = both_refuse.astype(np.float32)
        last_quality = weights @ scores.astype(np.float32) / count
        last_cost = weights @ costs.astype(np.float32) / count
        for third in self._experts:
            if third not in {first, second}:
                list_cost = np.repeat(cost, THRESHOLDS) + last_cost[:, third]
                self._triples.add(
                    (first, second, third), quality + last_quality[:, third], list_cost
                )


def _mean_where(mask: Mask, values: Array) -> Array:
    """The mean over all prompts of the values where a mask holds, else 0; (rows of the mask,)."""
    means: Array = mask @ values / len(values)
    return means


def _thresholds_of(prompts: SearchPrompts, expert: int) -> Array:
    """Probabilities that as many answers lie between, rounded as they are written."""
    shares = np.linspace(0.03, 0.97, THRESHOLDS)
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
