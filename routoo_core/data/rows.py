"""Rows of tables whose columns are kept from step to step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routoo_core.errors import OutcomesError
from routoo_core.tables import read_lines, read_table


@dataclass(frozen=True)
class PromptRow:
    """A row of a table of prompts, with all its columns.

    Attributes:
        values: Column → value, in the order of the table; ``prompt_id`` and ``prompt`` are among them, as text.
    """

    values: Mapping[str, object]

    @classmethod
    def of(cls, prompt_id: str, prompt: str, **columns: object) -> PromptRow:
        """A row from its values."""
        return cls({"prompt_id": prompt_id, "prompt": prompt, **columns})

    @property
    def prompt_id(self) -> str:
        """Unlike every other of its table."""
        return str(self.values["prompt_id"])

    @property
    def prompt(self) -> str:
        """The text; not empty."""
        return str(self.values["prompt"])

    def get(self, column: str) -> Any:
        """The value of a column; ``None`` where there is none."""
        return self.values.get(column)

    def replace(self, **columns: object) -> PromptRow:
        """The same row with other values; new columns come last."""
        return PromptRow({**self.values, **columns})


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a Parquet, CSV or JSONL table, all columns as they are.

    Raises:
        OutcomesError: The file cannot be read, a line is no JSON object, or there is no row.
        MissingDependency: ``pyarrow`` is not installed.
    """
    if path.suffix in {".jsonl", ".ndjson"}:
        rows = read_lines(path)
    else:
        rows = read_table(path).to_pylist()
    if not rows:
        raise OutcomesError(f"{path}: holds no row")
    return rows


def read_prompt_rows(path: Path) -> list[PromptRow]:
    """Read a table of prompts with all its columns.

    Args:
        path: Parquet, CSV or JSONL with ``prompt_id, prompt``.

    Raises:
        OutcomesError: No ``prompt_id`` or ``prompt``, an empty prompt, an id given twice; the message names file and
            row (counted from 1).
    """
    rows: dict[str, PromptRow] = {}
    for number, values in enumerate(read_rows(path), start=1):
        position = f"{path}: row {number}"
        row = _prompt_row(values, position)
        if row.prompt_id in rows:
            raise OutcomesError(f"{position}: prompt_id {row.prompt_id!r} was given before")
        rows[row.prompt_id] = row
    return list(rows.values())


def _prompt_row(values: Mapping[str, object], position: str) -> PromptRow:
    for name in ("prompt_id", "prompt"):
        if name not in values:
            columns = ", ".join(values)
            raise OutcomesError(f"{position}: column {name!r} is missing; found {columns}")

    prompt_id = values["prompt_id"]
    prompt = str(values["prompt"] or "")
    if prompt_id is None or not prompt.strip():
        raise OutcomesError(f"{position}: prompt_id or prompt is empty")
    return PromptRow({**values, "prompt_id": str(prompt_id), "prompt": prompt})


def draw_rows(rows: Sequence[PromptRow], count: int, seed: int) -> list[PromptRow]:
    """Some rows at random, in the order they have.

    Rows are drawn by a hash of seed and id: neither the order nor other rows change which one comes first, so that a
    smaller draw is part of a larger one.
    """

    def draw_key(prompt_id: str) -> bytes:
        text = f"{seed}:{prompt_id}"
        return hashlib.sha256(text.encode()).digest()

    ids = [row.prompt_id for row in rows]
    ids.sort(key=draw_key)
    drawn_ids = set(ids[:count])
    return [row for row in rows if row.prompt_id in drawn_ids]
