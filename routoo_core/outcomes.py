"""The outcomes table: which expert answered which prompt how well; read, checked, split by question."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError, OutcomesError
from routoo_core.prompts import read_prompts
from routoo_core.tables import read_columns
from routoo_core.text import without_choices

SPLITS = ("train", "dev")
CHARACTERS_PER_TOKEN = (
    4  # of English in today's vocabularies; for tables that only know how long an answer is
)
LENGTHS = ("completion_tokens", "completion_chars")


@dataclass(frozen=True)
class Outcomes:
    """Observed scores as a matrix; a pair nobody observed is NaN, never imputed.

    Attributes:
        prompt_ids: One for each row.
        prompts: The texts.
        domains: A domain for each prompt; empty strings where unknown.
        splits: ``train``, ``dev`` or another for each prompt; the same question is always on one side.
        experts: One for each column.
        scores: float32, prompts × experts, 0–1 or NaN.
        lengths: Tokens of the answers, float32, prompts × experts, at least 0 or NaN; none where no table has them.
    """

    prompt_ids: tuple[str, ...] = field(repr=False)
    prompts: tuple[str, ...] = field(repr=False)
    domains: tuple[str, ...] = field(repr=False)
    splits: tuple[str, ...] = field(repr=False)
    experts: tuple[str, ...]
    scores: NDArray[np.float32] = field(repr=False)
    lengths: NDArray[np.float32] | None = field(default=None, repr=False)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of one split."""
        return np.flatnonzero(np.asarray(self.splits) == split)

    def take(self, rows: NDArray[np.int64]) -> Outcomes:
        """These prompts only."""
        chosen = {
            name: tuple(getattr(self, name)[i] for i in rows)
            for name in ("prompt_ids", "prompts", "domains", "splits")
        }
        lengths = None if self.lengths is None else self.lengths[rows]
        return replace(self, **chosen, scores=self.scores[rows], lengths=lengths)

    def select(self, experts: Sequence[str]) -> Outcomes:
        """These experts only, in this order.

        Raises:
            OutcomesError: An expert has no outcomes here.
        """
        if missing := [name for name in experts if name not in self.experts]:
            raise OutcomesError(
                f"no outcomes for {', '.join(missing)}; known: {', '.join(self.experts)}"
            )
        columns = [self.experts.index(name) for name in experts]
        lengths = None if self.lengths is None else self.lengths[:, columns]
        return replace(
            self, experts=tuple(experts), scores=self.scores[:, columns], lengths=lengths
        )

    def with_open_questions(self) -> Outcomes:
        """These prompts, and after them the ``train`` ones among them that list choices, without the choices.

        A router trained on multiple choice alone finds any open question unlike everything it has seen.
        """
        stems = [without_choices(text) for text in self.prompts]
        rows = np.array(
            [row for row in self.rows("train") if stems[row] != self.prompts[row]], dtype=np.int64
        )
        added = self.take(rows)
        ids = tuple(f"{prompt_id}-open" for prompt_id in added.prompt_ids)
        return joined(
            [self, replace(added, prompt_ids=ids, prompts=tuple(stems[row] for row in rows))]
        )

    def fingerprint(self) -> str:
        """SHA-256 over ids, texts, experts and scores, shortened."""
        digest = hashlib.sha256(
            "\x00".join((*self.prompt_ids, *self.prompts, *self.experts)).encode()
        )
        digest.update(np.ascontiguousarray(self.scores).tobytes())
        return digest.hexdigest()[:16]


def joined(tables: Sequence[Outcomes]) -> Outcomes:
    """Several tables as one: the prompts of all, the experts of all; pairs no table has are not observed.

    Raises:
        OutcomesError: Two tables have prompts of the same id.
    """
    experts = tuple(dict.fromkeys(name for table in tables for name in table.experts))
    ids = [prompt_id for table in tables for prompt_id in table.prompt_ids]
    if len(set(ids)) < len(ids):
        repeated = next(prompt_id for prompt_id in ids if ids.count(prompt_id) > 1)
        raise OutcomesError(
            f"prompt_id {repeated!r} is in two tables; give each prompt an id of its own"
        )
    shape = (len(ids), len(experts))
    scores, lengths = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    start = 0
    for table in tables:
        where = np.ix_(
            range(start, start + len(table.prompts)),
            [experts.index(name) for name in table.experts],
        )
        scores[where] = table.scores
        if table.lengths is not None:
            lengths[where] = table.lengths
        start += len(table.prompts)
    return Outcomes(
        tuple(ids),
        tuple(text for table in tables for text in table.prompts),
        tuple(domain for table in tables for domain in table.domains),
        tuple(split for table in tables for split in table.splits),
        experts,
        scores,
        lengths if any(table.lengths is not None for table in tables) else None,
    )


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
    ids, texts, domains, given_splits = read_prompts(Path(prompts))
    if unknown := sorted({str(split) for split in given_splits} - set(splits)):
        raise OutcomesError(
            f"{prompts}: split {unknown[0]!r} is none of {', '.join(splits)}; leave other rows out"
        )
    pair = ("prompt_id", "model", "score")
    table = read_columns(Path(outcomes), pair, optional=LENGTHS)
    row_of = {prompt_id: row for row, prompt_id in enumerate(ids)}
    experts = tuple(dict.fromkeys(table["model"]))
    column_of = {name: column for column, name in enumerate(experts)}
    scores = np.full((len(ids), len(experts)), np.nan, dtype=np.float32)
    lengths = scores.copy()
    given = zip(*(table[name] for name in pair), _lengths(Path(outcomes), table), strict=True)
    for row, (prompt_id, model, score, length) in enumerate(given, start=1):
        if prompt_id not in row_of:
            raise OutcomesError(
                f"{outcomes}: row {row}: prompt_id {prompt_id!r} is not in {prompts}"
            )
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise OutcomesError(
                f"{outcomes}: row {row}: score {score!r} is not a number from 0 to 1"
            )
        cell = row_of[prompt_id], column_of[model]
        if not np.isnan(scores[cell]):
            raise OutcomesError(
                f"{outcomes}: row {row}: {prompt_id!r} × {model!r} was given before"
            )
        scores[cell], lengths[cell] = score, length
    known = None if np.isnan(lengths).all() else lengths
    return Outcomes(
        tuple(ids), tuple(texts), tuple(domains), tuple(given_splits), experts, scores, known
    )


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
            f"--outcomes: {len(outcomes)} given for {len(prompts)} --prompts; give as many"
        )
    return joined([read_outcomes(*pair, splits) for pair in zip(prompts, outcomes, strict=True)])


def _lengths(path: Path, table: Mapping[str, list[Any]]) -> list[float]:
    """Tokens of each answer; NaN where the table does not say."""
    absent: list[Any] = [None] * len(table["prompt_id"])
    lengths = []
    for row, given in enumerate(
        zip(*(table.get(name, absent) for name in LENGTHS), strict=True), start=1
    ):
        wrong = [
            value
            for value in given
            if value is not None and not (isinstance(value, int | float) and value >= 0)
        ]
        if wrong:
            raise OutcomesError(
                f"{path}: row {row}: length {wrong[0]!r} is not a number of at least 0"
            )
        tokens, characters = given
        if tokens is None and characters is not None:
            tokens = characters / CHARACTERS_PER_TOKEN
        lengths.append(float("nan") if tokens is None else float(tokens))
    return lengths
