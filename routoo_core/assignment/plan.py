"""``routoo assign``: predicted scores, prices and a budget → who answers what, and a certificate."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.solver import NOBODY, Assignment
from routoo_core.errors import OutcomesError
from routoo_core.price_list import read_price_list
from routoo_core.tables import read_columns, write_table


@dataclass(frozen=True)
class Scores:
    """Predicted scores as a matrix.

    Attributes:
        prompt_ids: One for each row.
        experts: One for each column.
        quality: float32, prompts × experts, 0–1.
    """

    prompt_ids: tuple[str, ...] = field(repr=False)
    experts: tuple[str, ...]
    quality: NDArray[np.float32] = field(repr=False)

    def select(self, experts: Iterable[str]) -> Scores:
        """These experts only.

        Raises:
            OutcomesError: One of them has no scores.
        """
        if missing := [name for name in experts if name not in self.experts]:
            raise OutcomesError(
                f"no scores of {', '.join(missing)}; known: {', '.join(self.experts)}"
            )
        columns = [self.experts.index(name) for name in experts]
        return Scores(self.prompt_ids, tuple(experts), self.quality[:, columns])


def read_scores(path: Path) -> Scores:
    """Read what ``routoo predict`` wrote: ``prompt_id, model, score``.

    Raises:
        OutcomesError: A missing column, a score that is not a number from 0 to 1, a pair given twice or not at all.
    """
    table = read_columns(path, ("prompt_id", "model", "score"))
    ids, experts = (tuple(dict.fromkeys(table[name])) for name in ("prompt_id", "model"))
    row_of, column_of = (
        {name: place for place, name in enumerate(names)} for names in (ids, experts)
    )
    rows = np.array([row_of[name] for name in table["prompt_id"]], dtype=np.intp)
    columns = np.array([column_of[name] for name in table["model"]], dtype=np.intp)
    given = np.array(
        [np.nan if score is None else score for score in table["score"]], dtype=np.float32
    )
    if len(wrong := np.flatnonzero(~((given >= 0) & (given <= 1)))):
        raise OutcomesError(
            f"{path}: row {wrong[0] + 1}: score {given[wrong[0]]} is not a number from 0 to 1"
        )
    seen = np.zeros((len(ids), len(experts)), dtype=np.int64)
    np.add.at(seen, (rows, columns), 1)
    if (seen != 1).any():
        row, column = np.argwhere(seen != 1)[0]
        fault = "is missing" if not seen[row, column] else "is given twice"
        raise OutcomesError(
            f"{path}: {ids[row]!r} × {experts[column]!r} {fault}; give each pair once"
        )
    quality = np.empty(seen.shape, dtype=np.float32)
    quality[rows, columns] = given
    return Scores(ids, experts, quality)


def read_priced(
    scores: Path, prices: Path, pools: Collection[str], tokens: int
) -> tuple[Scores, NDArray[np.float64]]:
    """The scores of the experts that have a price, and the USD of a call of so many tokens to each, (experts,).

    Raises:
        OutcomesError: See :func:`read_scores`.
        ConfigurationError: See :func:`~routoo_core.price_list.read_price_list`.
    """
    everyone = read_scores(scores)
    listed = read_price_list(prices, pools, everyone.experts).per_call(tokens)
    return everyone.select(listed), np.array(list(listed.values()), dtype=np.float64)


def write_assignment(
    path: Path, scores: Scores, cost: NDArray[np.float64], found: Assignment
) -> None:
    """Write ``prompt_id, model, score, cost_usd``; of a prompt that nobody answers, only its id."""
    served = found.chosen != NOBODY
    place = np.where(served, found.chosen, 0)
    quality = scores.quality[np.arange(len(place)), place].astype(np.float64)
    columns: dict[str, list[Any]] = {
        "model": [scores.experts[column] for column in place],
        "score": quality.tolist(),
        "cost_usd": cost[place].tolist(),
    }
    blank = {
        name: [v if s else None for v, s in zip(values, served, strict=True)]
        for name, values in columns.items()
    }
    write_table(path, {"prompt_id": list(scores.prompt_ids), **blank})


def certificate(found: Assignment) -> dict[str, Any]:
    """What an assignment is worth, and how far from the optimum it can be."""
    return {
        "prompts": len(found.chosen),
        "unanswered": int((found.chosen == NOBODY).sum()),
        "quality": found.quality,
        "mean_quality": found.quality / len(found.chosen),
        "cost_usd": found.cost,
        "budget_usd": found.budget,
        "upper_bound": found.bound,
        "gap": found.gap,
        "lambda_per_usd": found.price,
    }
