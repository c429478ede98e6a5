"""Battles: which of two experts answered a prompt better, and how strong each expert is by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.bradley_terry import maximum_likelihood
from routoo_core.errors import OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.outcomes import Outcomes
from routoo_core.prompts import Prompts

Array = NDArray[np.float64]
Columns = NDArray[np.int64]

WIN = 1.0
TIE = 0.5
LOSS = 0.0

_NEWTON_STEPS = 50
_CLOSE_ENOUGH = 1e-8


@dataclass(frozen=True, eq=False)
class Battles:
    """Pairs of experts that answered the same prompt, and who won.

    ::

        battles = from_outcomes(outcomes)
        ratings = fit_ratings(*battles.counts())  # log-odds, one for each expert

    Attributes:
        prompts: The prompts.
        experts: The experts' names.
        row: Row of each battle's prompt, (battles,).
        first: Column of its first expert, (battles,).
        second: Column of its second expert, (battles,).
        result: 1 where the first one won, 0 where the second one did, 0.5 for a tie, (battles,).

    Raises:
        OutcomesError: The columns differ in length, a result is another number, or an expert meets itself.
    """

    prompts: Prompts
    experts: tuple[str, ...]
    row: Columns = field(repr=False)
    first: Columns = field(repr=False)
    second: Columns = field(repr=False)
    result: Array = field(repr=False)

    def __post_init__(self) -> None:
        lengths = {len(self.row), len(self.first), len(self.second), len(self.result)}
        if len(lengths) != 1:
            raise OutcomesError(f"columns of battles have lengths {sorted(lengths)}; make them one")
        if not np.isin(self.result, (WIN, TIE, LOSS)).all():
            raise OutcomesError("battles: a result is none of 1, 0.5 and 0; give one of these")
        if (self.first == self.second).any():
            raise OutcomesError("battles: an expert meets itself; leave such battles out")

    def __len__(self) -> int:
        """How many there are."""
        return len(self.row)

    def of_rows(self, rows: NDArray[np.integer[Any]]) -> Battles:
        """The battles about these prompts; the table of prompts stays whole."""
        is_of_rows = np.isin(self.row, rows)
        return Battles(
            self.prompts,
            self.experts,
            self.row[is_of_rows],
            self.first[is_of_rows],
            self.second[is_of_rows],
            self.result[is_of_rows],
        )

    def counts(self) -> Array:
        """How often each expert beat each other, (winner, loser); a tie is half a win for both."""
        size = len(self.experts)
        wins = np.zeros((size, size))
        np.add.at(wins, (self.first, self.second), self.result)
        np.add.at(wins, (self.second, self.first), 1 - self.result)
        return wins

    def to_outcomes(self) -> Outcomes:
        """A prompt for each battle, with a score of 1 for the winner, 0 for the loser and 0.5 for both in a tie.

        :func:`from_outcomes` makes the same battles of them.
        """
        ids = tuple(f"b{number}" for number in range(1, len(self) + 1))
        scores = ExpertTable.empty(ids, self.experts)
        numbers = np.arange(len(self))
        scores.values[numbers, self.first] = self.result
        scores.values[numbers, self.second] = 1 - self.result

        battle_prompts = self.prompts.take(self.row)
        prompts = Prompts(ids, battle_prompts.texts, battle_prompts.domains, battle_prompts.splits)
        return Outcomes(prompts, scores)


def from_outcomes(outcomes: Outcomes, split: str | None = None) -> Battles:
    """A battle for every two experts that were observed on the same prompt; equal scores tie.

    Args:
        outcomes: Observed scores.
        split: Only the prompts of this split.
    """
    scores = outcomes.scores
    observed = ~np.isnan(scores)
    if split is not None:
        in_split = np.asarray(outcomes.splits) == split
        observed = observed & in_split[:, None]

    rows = []
    firsts = []
    seconds = []
    results = []
    for first in range(scores.shape[1]):
        for second in range(first + 1, scores.shape[1]):
            row = np.flatnonzero(observed[:, first] & observed[:, second])
            lead = np.sign(scores[row, first] - scores[row, second])
            rows.append(row)
            firsts.append(np.full(len(row), first))
            seconds.append(np.full(len(row), second))
            results.append((lead + 1) / 2)

    return Battles(
        prompts=outcomes.prompt_table,
        experts=outcomes.experts,
        row=_join(rows).astype(np.int64),
        first=_join(firsts).astype(np.int64),
        second=_join(seconds).astype(np.int64),
        result=_join(results).astype(np.float64),
    )


def _join(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0)


def fit_ratings(wins: Array, ties_added: float = 0.1) -> Array:
    """Bradley–Terry ratings: ``P(a beats b) = σ(rating_a - rating_b)``, by maximum likelihood (Newton's method).

    Args:
        wins: How often each expert beat each other, (winner, loser); weights need not be whole numbers.
        ties_added: Half wins that every two experts are given against each other, so that an expert that always
            wins has a finite rating and two that never met can be compared.

    Returns:
        Log-odds with a mean of 0, (experts,).
    """
    tie_shares = ties_added / 2 * (1 - np.eye(len(wins)))
    start = np.zeros(len(wins))
    ratings = maximum_likelihood((wins + tie_shares)[None], start, _CLOSE_ENOUGH, _NEWTON_STEPS)[0]
    deviations: Array = ratings - ratings.mean()
    return deviations
