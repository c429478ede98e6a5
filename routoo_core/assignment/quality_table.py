"""Tables of predicted quality: what ``routoo predict`` writes, and ``assign`` and ``calibrate`` read.

The column is called ``score``, so that a table of predictions can also be read as a table of outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.tables import read_columns, write_table


def read_predicted_quality(path: Path) -> ExpertTable:
    """Read what :func:`write_predicted_quality` wrote: ``prompt_id, model, score``; float32.

    Raises:
        OutcomesError: A column is missing, a score is not a number from 0 to 1, or a pair is given twice or not
            at all.
    """
    table = read_columns(path, ("prompt_id", "model", "score"))
    prompt_ids = tuple(dict.fromkeys(table["prompt_id"]))
    experts = tuple(dict.fromkeys(table["model"]))
    rows = _positions(prompt_ids, table["prompt_id"])
    columns = _positions(experts, table["model"])
    values = _checked_values(path, table["score"])

    shape = (len(prompt_ids), len(experts))
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    wrong_pairs = np.argwhere(counts != 1)
    if len(wrong_pairs):
        row, column = wrong_pairs[0]
        fault = "is given twice" if counts[row, column] else "is missing"
        raise OutcomesError(
            f"{path}: {prompt_ids[row]!r} × {experts[column]!r} {fault}; give each pair once"
        )

    quality = np.empty(shape, dtype=np.float32)
    quality[rows, columns] = values
    return ExpertTable(prompt_ids, experts, quality)


def write_predicted_quality(path: Path, table: ExpertTable) -> None:
    """Write ``prompt_id, model, score``, one row for each prompt and expert.

    Args:
        path: Parquet or CSV; replaced if it exists.
        table: Predicted quality, 0–1.

    Raises:
        ConfigurationError: The suffix is neither ``.parquet`` nor ``.csv``, or the file cannot be written.
    """
    columns = {
        "prompt_id": [prompt_id for prompt_id in table.row_ids for _ in table.experts],
        "model": [*table.experts] * len(table),
        "score": table.values.ravel(),
    }
    write_table(path, columns)


def _positions(names: Sequence[str], values: Sequence[str]) -> NDArray[np.intp]:
    """The position of each value in ``names``."""
    position_of = {name: position for position, name in enumerate(names)}
    positions = [position_of[value] for value in values]
    return np.array(positions, dtype=np.intp)


def _checked_values(path: Path, column: Sequence[float | None]) -> NDArray[np.float32]:
    """The column ``score`` as numbers from 0 to 1."""
    numbers = [np.nan if value is None else value for value in column]
    values = np.array(numbers, dtype=np.float32)
    is_valid = (values >= 0) & (values <= 1)
    if not is_valid.all():
        row = int(np.flatnonzero(~is_valid)[0])
        raise OutcomesError(
            f"{path}: row {row + 1}: score {values[row]} is not a number from 0 to 1"
        )
    return values
