"""One value for each prompt and expert: the table under outcomes, predictions and observed scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import OutcomesError
from routoo_core.text import first_duplicate

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class ExpertTable:
    """A matrix whose rows are prompts and whose columns are experts; NaN where nothing was observed.

    ::

        table = ExpertTable(("p1", "p2"), ("cheap", "dear"), np.array([[0.0, 1.0], [1.0, np.nan]]))
        table.select(["dear"]).take(table.complete_rows())  # the dear expert where both were observed

    Attributes:
        row_ids: The prompts' ids, one for each row, all different.
        experts: The experts' names, one for each column, all different.
        values: Floats of any precision, rows × experts.

    Raises:
        OutcomesError: The values have another shape, or an id or a name is there twice.
    """

    row_ids: tuple[str, ...] = field(repr=False)
    experts: tuple[str, ...]
    values: Values = field(repr=False)

    def __post_init__(self) -> None:
        shape = (len(self.row_ids), len(self.experts))
        if self.values.shape != shape:
            raise OutcomesError(
                f"a table of {shape[0]} rows and {shape[1]} experts has values of shape {self.values.shape}"
            )
        for kind, names in (("row", self.row_ids), ("expert", self.experts)):
            if (name := first_duplicate(names)) is not None:
                raise OutcomesError(
                    f"{kind} {name!r} is in a table twice; each needs a name of its own"
                )

    @classmethod
    def empty(cls, row_ids: Iterable[str], experts: Iterable[str]) -> Self:
        """A table without any observed value, float32."""
        rows = tuple(row_ids)
        columns = tuple(experts)
        values = np.full((len(rows), len(columns)), np.nan, dtype=np.float32)
        return cls(rows, columns, values)

    def __len__(self) -> int:
        """How many rows it has."""
        return len(self.row_ids)

    @property
    def observed(self) -> NDArray[np.bool_]:
        """A mask of the cells that have a value, rows × experts."""
        return ~np.isnan(self.values)

    def complete_rows(self) -> NDArray[np.int64]:
        """Numbers of the rows in which every expert has a value."""
        is_complete = self.observed.all(axis=1)
        return np.flatnonzero(is_complete)

    def column(self, expert: str) -> Values:
        """The values of one expert, (rows,).

        Raises:
            OutcomesError: See :meth:`select`.
        """
        (column,) = self._columns([expert])
        return self.values[:, column]

    def select(self, experts: Sequence[str]) -> Self:
        """These experts only, in this order.

        Raises:
            OutcomesError: The table does not have one of them.
        """
        columns = self._columns(experts)
        return type(self)(self.row_ids, tuple(experts), self.values[:, columns])

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Self:
        """These rows only, by number, in this order."""
        numbers = np.asarray(rows, dtype=np.intp)
        row_ids = tuple(self.row_ids[number] for number in numbers)
        return type(self)(row_ids, self.experts, self.values[numbers])

    def with_columns(self, names: Sequence[str], values: Values) -> Self:
        """The same table with further experts behind its own.

        Args:
            names: The further experts.
            values: Rows × further experts.

        Raises:
            OutcomesError: The values have another shape, or a name is there already.
        """
        return type(self)(self.row_ids, (*self.experts, *names), np.hstack([self.values, values]))

    def _columns(self, experts: Sequence[str]) -> list[int]:
        """The column numbers of experts."""
        column_of = {name: column for column, name in enumerate(self.experts)}
        missing = [name for name in experts if name not in column_of]
        if missing:
            raise OutcomesError(
                f"no outcomes for {', '.join(missing)}; known: {', '.join(self.experts)}"
            )
        return [column_of[name] for name in experts]


def join_expert_tables(tables: Sequence[ExpertTable]) -> ExpertTable:
    """Several tables as one, float32: the rows of all, the experts of all; pairs that no table has are NaN.

    Raises:
        OutcomesError: A row is in two tables.
    """
    row_ids: list[str] = []
    experts: dict[str, None] = {}
    for table in tables:
        row_ids.extend(table.row_ids)
        experts.update(dict.fromkeys(table.experts))

    joined_table = ExpertTable.empty(row_ids, experts)
    start = 0
    for table in tables:
        end = start + len(table)
        for column, name in enumerate(table.experts):
            joined_table.column(name)[start:end] = table.values[:, column]
        start = end
    return joined_table
