"""Tables of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import OutcomesError
from routoo_core.tables import read_columns
from routoo_core.text import question_fingerprint

DEV_SHARE = 0.2


@dataclass(frozen=True)
class Prompts:
    """Prompts, and what is known of each; columns of equal length.

    Attributes:
        ids: No two are the same.
        texts: Never empty.
        domains: Empty strings where unknown.
        splits: ``train``, ``dev`` or another; the same question is always on one side.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...] = field(repr=False)
    domains: tuple[str, ...] = field(repr=False)
    splits: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.ids)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of one split."""
        is_in_split = np.asarray(self.splits) == split
        return np.flatnonzero(is_in_split)

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Prompts:
        """These prompts only, by row number, in this order."""
        return Prompts(
            tuple(self.ids[row] for row in rows),
            tuple(self.texts[row] for row in rows),
            tuple(self.domains[row] for row in rows),
            tuple(self.splits[row] for row in rows),
        )

    def with_splits(self, splits: Sequence[str]) -> Prompts:
        """The same prompts on other sides."""
        return replace(self, splits=tuple(splits))


def join_prompts(tables: Sequence[Prompts]) -> Prompts:
    """Several tables as one, in this order."""
    ids: list[str] = []
    texts: list[str] = []
    domains: list[str] = []
    splits: list[str] = []
    for table in tables:
        ids += table.ids
        texts += table.texts
        domains += table.domains
        splits += table.splits
    return Prompts(tuple(ids), tuple(texts), tuple(domains), tuple(splits))


def read_prompts(path: Path) -> Prompts:
    """Read a table of prompts: ``prompt_id, prompt``, optional ``domain, split``.

    Without a column ``split``, each prompt is on the side that :func:`split_of` puts it.

    Raises:
        OutcomesError: The file cannot be read, a column is missing, or a prompt is empty or repeated; the message names
            file and row (counted from 1).
        MissingDependency: ``pyarrow`` is not installed.
    """
    columns = read_columns(path, ("prompt_id", "prompt"), optional=("domain", "split"))
    ids: list[str] = columns["prompt_id"]
    texts: list[str] = columns["prompt"]
    _check_prompts(path, ids, texts)

    domains = [""] * len(ids)
    if "domain" in columns:
        domains = _text_column(columns["domain"])
    if "split" in columns:
        splits = _text_column(columns["split"])
    else:
        splits = [split_of(text) for text in texts]
    return Prompts(tuple(ids), tuple(texts), tuple(domains), tuple(splits))


def split_of(text: str, dev_share: float = DEV_SHARE) -> str:
    """``dev`` for a share of all questions, by their fingerprint: reformatting does not move a question."""
    position = question_fingerprint(text) / 2**64  # 0 to 1, evenly spread
    return "dev" if position < dev_share else "train"


def _check_prompts(path: Path, ids: Sequence[Any], texts: Sequence[Any]) -> None:
    ids_before: set[str] = set()
    for row, (prompt_id, text) in enumerate(zip(ids, texts, strict=True), start=1):
        if not prompt_id:
            raise OutcomesError(f"{path}: row {row}: prompt_id is empty")
        if not isinstance(text, str) or not text.strip():
            raise OutcomesError(f"{path}: row {row}: prompt {prompt_id!r} is empty")
        if prompt_id in ids_before:
            raise OutcomesError(f"{path}: row {row}: prompt_id {prompt_id!r} was given before")
        ids_before.add(prompt_id)


def _text_column(values: Sequence[Any]) -> list[str]:
    """Values as text; empty where there is none."""
    texts = []
    for value in values:
        texts.append("" if value is None else str(value))
    return texts
