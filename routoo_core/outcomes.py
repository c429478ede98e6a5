"""The outcomes table: which expert answered which prompt how well; read, checked, split by question."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.expert_table import ExpertTable, join_expert_tables
from routoo_core.prompts import Prompts, join_prompts, read_prompts
from routoo_core.tables import read_columns
from routoo_core.text import first_repeated, without_choices

SPLITS = ("train", "dev")
CHARACTERS_PER_TOKEN = 4
"""Of English in today's vocabularies, for tables that only know how many characters an answer has."""
LENGTHS = ("completion_tokens", "completion_chars")


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Observed scores of experts on prompts; a pair nobody observed is NaN, never imputed.

    Attributes:
        prompt_table: The prompts with their domains and splits.
        score_table: float32, 0–1 or NaN; its rows are the prompts.
        length_table: Tokens of the answers, float32, at least 0 or NaN; ``None`` where no table has them.
    """

    prompt_table: Prompts
    score_table: ExpertTable
    length_table: ExpertTable | None = None

    def __post_init__(self) -> None:
        for table in (self.score_table, self.length_table):
            if table is not None and table.row_ids != self.prompt_table.ids:
                raise OutcomesError("scores and lengths must be of the prompts, in the same order")

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        """One for each row."""
        return self.prompt_table.ids

    @property
    def prompts(self) -> tuple[str, ...]:
        """The texts."""
        return self.prompt_table.texts

    @property
    def domains(self) -> tuple[str, ...]:
        """A domain for each prompt; empty strings where unknown."""
        return self.prompt_table.domains

    @property
    def splits(self) -> tuple[str, ...]:
        """``train``, ``dev`` or another for each prompt."""
        return self.prompt_table.splits

    @property
    def experts(self) -> tuple[str, ...]:
        """One for each column."""
        return self.score_table.experts

    @property
    def scores(self) -> NDArray[np.float32]:
        """The values of ``score_table``, prompts × experts."""
        return self.score_table.values

    @property
    def lengths(self) -> NDArray[np.float32] | None:
        """The values of ``length_table``, prompts × experts."""
        return None if self.length_table is None else self.length_table.values

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of one split."""
        return self.prompt_table.rows(split)

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Outcomes:
        """These prompts only, by row number."""
        lengths = None if self.length_table is None else self.length_table.take(rows)
        return Outcomes(self.prompt_table.take(rows), self.score_table.take(rows), lengths)

    def select(self, experts: Sequence[str]) -> Outcomes:
        """These experts only, in this order.

        Raises:
            OutcomesError: An expert has no outcomes here.
        """
        lengths = None if self.length_table is None else self.length_table.select(experts)
        return Outcomes(self.prompt_table, self.score_table.select(experts), lengths)

    def with_splits(self, splits: Sequence[str]) -> Outcomes:
        """The same outcomes with the prompts on other sides."""
        return replace(self, prompt_table=self.prompt_table.with_splits(splits))

    def with_scores(self, scores: NDArray[np.float32]) -> Outcomes:
        """The same prompts and experts with other scores, prompts × experts."""
        return replace(self, score_table=replace(self.score_table, values=scores))

    def with_open_questions(self) -> Outcomes:
        """These prompts, and after them the ``train`` ones among them that list choices, without the choices.

        A router trained on multiple choice alone finds any open question unlike everything it has seen.
        """
        stems = [without_choices(text) for text in self.prompts]
        rows = [row for row in self.rows("train") if stems[row] != self.prompts[row]]
        added = self.take(rows)
        ids = tuple(f"{prompt_id}-open" for prompt_id in added.prompt_ids)
        texts = tuple(stems[row] for row in rows)
        lengths = added.length_table
        return joined(
            [
                self,
                Outcomes(
                    replace(added.prompt_table, ids=ids, texts=texts),
                    replace(added.score_table, row_ids=ids),
                    None if lengths is None else replace(lengths, row_ids=ids),
                ),
            ]
        )

    def fingerprint(self) -> str:
        """SHA-256 over ids, texts, experts and scores, shortened."""
        names = "\x00".join((*self.prompt_ids, *self.prompts, *self.experts))
        digest = hashlib.sha256(names.encode())
        digest.update(np.ascontiguousarray(self.scores).tobytes())
        return digest.hexdigest()[:16]


def joined(tables: Sequence[Outcomes]) -> Outcomes:
    """Several tables as one: the prompts of all, the experts of all; pairs no table has are not observed.

    Raises:
        OutcomesError: Two tables have prompts of the same id.
    """
    prompts = join_prompts([table.prompt_table for table in tables])
    repeated = first_repeated(prompts.ids)
    if repeated is not None:
        raise OutcomesError(
            f"prompt_id {repeated!r} is in two tables; give each prompt an id of its own"
        )

    scores = join_expert_tables([table.score_table for table in tables])
    if all(table.length_table is None for table in tables):
        return Outcomes(prompts, scores)

    lengths = []
    for table in tables:
        unknown = ExpertTable.empty(table.prompt_ids, table.experts)
        lengths.append(table.length_table or unknown)
    return Outcomes(prompts, scores, join_expert_tables(lengths))


def read_outcomes(
    prompts: str | Path, outcomes: str | Path, splits: Collection[str] = SPLITS
) -> Outcomes:
    """Read both tables (Parquet or CSV) and join them.

    Args:
        prompts: Columns ``prompt_id, prompt``, optional ``domain, split``.
        outcomes: Columns ``prompt_id, model, score`` (0–1), one row for each observation; optional the answer's
            length as ``completion_tokens``, or as ``completion_chars``.
        splits: What a prompt's split may be.

    Raises:
        OutcomesError: A missing column, empty or repeated prompt, unknown prompt, score outside 0–1, length below 0
            or repeated pair; the message names file, row (counted from 1) and reason.
        MissingDependency: ``pyarrow`` is not installed.
    """
    prompt_table = read_prompts(Path(prompts))
    unknown = sorted(set(prompt_table.splits) - set(splits))
    if unknown:
        raise OutcomesError(
            f"{prompts}: split {unknown[0]!r} is none of {', '.join(splits)}; leave other rows out"
        )

    columns = read_columns(Path(outcomes), ("prompt_id", "model", "score"), optional=LENGTHS)
    row_lengths = _read_lengths(Path(outcomes), columns)
    experts = tuple(dict.fromkeys(columns["model"]))
    row_of = {prompt_id: row for row, prompt_id in enumerate(prompt_table.ids)}
    column_of = {name: column for column, name in enumerate(experts)}
    scores = np.full((len(prompt_table), len(experts)), np.nan, dtype=np.float32)
    lengths = scores.copy()

    observations = zip(
        columns["prompt_id"], columns["model"], columns["score"], row_lengths, strict=True
    )
    for number, (prompt_id, model, score, length) in enumerate(observations, start=1):
        where = f"{outcomes}: row {number}"
        if not model:
            raise OutcomesError(f"{where}: model is empty")
        if prompt_id not in row_of:
            raise OutcomesError(f"{where}: prompt_id {prompt_id!r} is not in {prompts}")
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise OutcomesError(f"{where}: score {score!r} is not a number from 0 to 1")
        cell = (row_of[prompt_id], column_of[model])
        if not np.isnan(scores[cell]):
            raise OutcomesError(f"{where}: {prompt_id!r} × {model!r} was given before")
        scores[cell] = score
        lengths[cell] = length

    length_table = None
    if not np.isnan(lengths).all():
        length_table = ExpertTable(prompt_table.ids, experts, lengths)
    return Outcomes(prompt_table, ExpertTable(prompt_table.ids, experts, scores), length_table)


def read_tables(
    prompts: Sequence[Path], outcomes: Sequence[Path], splits: Collection[str] = SPLITS
) -> Outcomes:
    """Several tables as one; see :func:`read_outcomes` and :func:`joined`.

    Raises:
        ConfigurationError: There is not one table of outcomes for each of prompts.
        OutcomesError: One cannot be read, or two have prompts of the same id.
    """
    if len(prompts) != len(outcomes):
        raise ConfigurationError(
            f"{len(outcomes)} tables of outcomes for {len(prompts)} of prompts; give one for each"
        )
    tables = []
    for prompt_path, outcome_path in zip(prompts, outcomes, strict=True):
        tables.append(read_outcomes(prompt_path, outcome_path, splits))
    return joined(tables)


def _read_lengths(path: Path, columns: Mapping[str, list[Any]]) -> list[float]:
    """Tokens of the answer in each row; NaN where the table does not have them."""
    absent = [None] * len(columns["prompt_id"])
    tokens_of_rows = columns.get("completion_tokens", absent)
    characters_of_rows = columns.get("completion_chars", absent)

    lengths = []
    pairs = zip(tokens_of_rows, characters_of_rows, strict=True)
    for number, (tokens, characters) in enumerate(pairs, start=1):
        for length in (tokens, characters):
            if length is not None and not (isinstance(length, int | float) and length >= 0):
                raise OutcomesError(
                    f"{path}: row {number}: length {length!r} is not a number of at least 0"
                )
        if tokens is not None:
            lengths.append(float(tokens))
        elif characters is not None:
            lengths.append(characters / CHARACTERS_PER_TOKEN)
        else:
            lengths.append(np.nan)
    return lengths
