"""The outcomes table: which expert answered which prompt how well; read, checked, split by question."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.expert_table import ExpertTable, join_expert_tables
from routoo_core.prompts import Prompts, join_prompts, read_prompts
from routoo_core.tables import read_columns
from routoo_core.text import first_duplicate, without_choices

SPLITS = ("train", "dev")
CHARACTERS_PER_TOKEN = 4
"""Of English in today's vocabularies, for tables that only know how many characters an answer has."""
LENGTHS = ("completion_tokens", "completion_chars")
COST = "cost_usd"


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Observed scores of experts on prompts. A pair without a score is NaN and is never imputed.

    Attributes:
        prompt_table: The prompts with their domains and splits.
        score_table: float32, 0–1 or NaN; its rows are the prompts.
        length_table: Tokens of the answers, float32, at least 0 or NaN; ``None`` where no table has them.
        cost_table: USD that the answers cost, float32, at least 0 or NaN; ``None`` where no table has them.
    """

    prompt_table: Prompts
    score_table: ExpertTable
    length_table: ExpertTable | None = None
    cost_table: ExpertTable | None = None

    def __post_init__(self) -> None:
        for table in (self.score_table, self.length_table, self.cost_table):
            if table is not None and table.row_ids != self.prompt_table.ids:
                raise OutcomesError("all tables must be of the prompts, in the same order")

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
        if self.length_table is None:
            return None
        return self.length_table.values

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of one split."""
        return self.prompt_table.rows(split)

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Outcomes:
        """These prompts only, by row number."""
        return Outcomes(
            prompt_table=self.prompt_table.take(rows),
            score_table=self.score_table.take(rows),
            length_table=None if self.length_table is None else self.length_table.take(rows),
            cost_table=None if self.cost_table is None else self.cost_table.take(rows),
        )

    def select(self, experts: Sequence[str]) -> Outcomes:
        """These experts only, in this order.

        Raises:
            OutcomesError: An expert has no outcomes here.
        """
        return Outcomes(
            prompt_table=self.prompt_table,
            score_table=self.score_table.select(experts),
            length_table=None if self.length_table is None else self.length_table.select(experts),
            cost_table=None if self.cost_table is None else self.cost_table.select(experts),
        )

    def with_splits(self, splits: Sequence[str]) -> Outcomes:
        """The same outcomes with the prompts on other sides."""
        prompts = self.prompt_table.with_splits(splits)
        return replace(self, prompt_table=prompts)

    def with_scores(self, scores: NDArray[np.float32]) -> Outcomes:
        """The same prompts and experts with other scores, prompts × experts."""
        table = replace(self.score_table, values=scores)
        return replace(self, score_table=table)

    def with_open_questions(self) -> Outcomes:
        """These prompts, and after them the ``train`` ones among them that list choices, without the choices.

        A router trained on multiple choice alone finds any open question unlike everything it has seen.
        """
        stems = [without_choices(text) for text in self.prompts]
        rows = [row for row in self.rows("train") if stems[row] != self.prompts[row]]
        open_questions = self.take(rows)
        ids = tuple(f"{prompt_id}-open" for prompt_id in open_questions.prompt_ids)
        texts = tuple(stems[row] for row in rows)

        prompts = replace(open_questions.prompt_table, ids=ids, texts=texts)
        scores = replace(open_questions.score_table, row_ids=ids)
        lengths = open_questions.length_table
        if lengths is not None:
            lengths = replace(lengths, row_ids=ids)
        costs = open_questions.cost_table
        if costs is not None:
            costs = replace(costs, row_ids=ids)
        return join_outcomes([self, Outcomes(prompts, scores, lengths, costs)])

    def fingerprint(self) -> str:
        """SHA-256 over ids, texts, experts and scores, shortened."""
        names = "\x00".join((*self.prompt_ids, *self.prompts, *self.experts))
        digest = hashlib.sha256(names.encode())
        scores = np.ascontiguousarray(self.scores)
        digest.update(scores.tobytes())
        return digest.hexdigest()[:16]


def outcome_rows(outcomes: Outcomes) -> list[dict[str, object]]:
    """A row to write for each pair that was observed; tokens and cost where the table has them."""
    further = {LENGTHS[0]: outcomes.length_table, COST: outcomes.cost_table}
    rows: list[dict[str, object]] = []
    for row, column in zip(*outcomes.score_table.observed.nonzero(), strict=True):
        values: dict[str, object] = {
            "prompt_id": outcomes.prompt_ids[row],
            "model": outcomes.experts[column],
            "score": float(outcomes.scores[row, column]),
        }
        for name, table in further.items():
            if table is not None:
                value = float(table.values[row, column])
                values[name] = None if np.isnan(value) else value
        rows.append(values)
    return rows


def join_outcomes(tables: Sequence[Outcomes]) -> Outcomes:
    """Several tables as one: the prompts of all, the experts of all; pairs no table has are not observed.

    Raises:
        OutcomesError: Two tables have prompts of the same id.
    """
    prompts = join_prompts([table.prompt_table for table in tables])
    duplicate = first_duplicate(prompts.ids)
    if duplicate is not None:
        raise OutcomesError(
            f"prompt_id {duplicate!r} is in two tables; give each prompt an id of its own"
        )

    scores = join_expert_tables([table.score_table for table in tables])
    lengths = _join_optional(tables, [table.length_table for table in tables])
    costs = _join_optional(tables, [table.cost_table for table in tables])
    return Outcomes(prompts, scores, lengths, costs)


def _join_optional(
    tables: Sequence[Outcomes], parts: Sequence[ExpertTable | None]
) -> ExpertTable | None:
    """One part of each table as one; ``None`` where no table has it."""
    if all(part is None for part in parts):
        return None
    full_parts = []
    for table, part in zip(tables, parts, strict=True):
        full_parts.append(part or ExpertTable.empty(table.prompt_ids, table.experts))
    return join_expert_tables(full_parts)


def read_outcomes(
    prompts: str | Path, outcomes: str | Path, splits: Collection[str] = SPLITS
) -> Outcomes:
    """Read both tables (Parquet or CSV) and join them.

    Args:
        prompts: Columns ``prompt_id, prompt``, optional ``domain, split``.
        outcomes: Columns ``prompt_id, model, score`` (0–1), one row for each observation; optional the answer's
            length as ``completion_tokens``, or as ``completion_chars``, and what it cost as ``cost_usd``.
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

    observations = _read_observations(Path(outcomes))
    known_ids = set(prompt_table.ids)
    for number, observation in enumerate(observations, start=1):
        if observation.prompt_id not in known_ids:
            reason = f"prompt_id {observation.prompt_id!r} is not in {prompts}"
            raise _row_error(outcomes, number, reason)
    return _outcomes_of(prompt_table, observations, outcomes)


def read_tables(
    prompts: Sequence[Path], outcomes: Sequence[Path], splits: Collection[str] = SPLITS
) -> Outcomes:
    """Several tables as one; see :func:`read_outcomes` and :func:`join_outcomes`.

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
    return join_outcomes(tables)


def _outcomes_of(
    prompts: Prompts, observations: Sequence[_Observation], path: str | Path
) -> Outcomes:
    """The rows of a file, each in its cell.

    Raises:
        OutcomesError: Two rows are of the same pair.
    """
    experts = tuple(dict.fromkeys(observation.model for observation in observations))
    scores = ExpertTable.empty(prompts.ids, experts)
    lengths = ExpertTable.empty(prompts.ids, experts)
    costs = ExpertTable.empty(prompts.ids, experts)
    row_of = {prompt_id: row for row, prompt_id in enumerate(prompts.ids)}
    column_of = {name: column for column, name in enumerate(experts)}

    for number, observation in enumerate(observations, start=1):
        cell = (row_of[observation.prompt_id], column_of[observation.model])
        if not np.isnan(scores.values[cell]):
            pair = f"{observation.prompt_id!r} × {observation.model!r}"
            raise _row_error(path, number, f"{pair} was given before")
        scores.values[cell] = observation.score
        lengths.values[cell] = observation.length
        costs.values[cell] = observation.cost_usd

    return Outcomes(
        prompt_table=prompts,
        score_table=scores,
        length_table=lengths if lengths.observed.any() else None,
        cost_table=costs if costs.observed.any() else None,
    )


@dataclass(frozen=True, slots=True)
class _Observation:
    """One row of an outcomes table; NaN where the length or the cost is unknown."""

    prompt_id: str
    model: str
    score: float
    length: float
    cost_usd: float


def _read_observations(path: Path) -> list[_Observation]:
    """The rows of an outcomes table, checked one by one."""
    columns = read_columns(path, ("prompt_id", "model", "score"), optional=(*LENGTHS, COST))
    absent = [None] * len(columns["prompt_id"])
    rows = zip(
        columns["prompt_id"],
        columns["model"],
        columns["score"],
        columns.get("completion_tokens", absent),
        columns.get("completion_chars", absent),
        columns.get(COST, absent),
        strict=True,
    )

    observations = []
    for number, (prompt_id, model, score, tokens, characters, usd) in enumerate(rows, start=1):
        if not model:
            raise _row_error(path, number, "model is empty")
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise _row_error(path, number, f"score {score!r} is not a number from 0 to 1")
        for length in (tokens, characters):
            if not _is_length(length):
                raise _row_error(path, number, f"length {length!r} is not a number of at least 0")
        if not _is_length(usd):
            raise _row_error(path, number, f"cost_usd {usd!r} is not a number of at least 0")
        length = _tokens_of_answer(tokens, characters)
        cost_usd = np.nan if usd is None else float(usd)
        observations.append(_Observation(prompt_id, model, score, length, cost_usd))
    return observations


def _is_length(length: Any) -> bool:
    if length is None:
        return True
    return isinstance(length, int | float) and length >= 0


def _tokens_of_answer(tokens: float | None, characters: float | None) -> float:
    """The length of an answer in tokens; NaN where the table does not have it."""
    if tokens is not None:
        return float(tokens)
    if characters is not None:
        return characters / CHARACTERS_PER_TOKEN
    return np.nan


def _row_error(path: str | Path, number: int, reason: str) -> OutcomesError:
    return OutcomesError(f"{path}: row {number}: {reason}")
