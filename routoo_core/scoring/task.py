"""What is scored, and what comes out: prompts, experts and a grader; a score for each pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routoo_core.asking.calls import Answer
from routoo_core.errors import OutcomesError
from routoo_core.experts import Expert, Pool
from routoo_core.money import NanoUsd
from routoo_core.prompts import read_prompts
from routoo_core.scoring.grader import Grader
from routoo_core.scoring.rows import GraderRow
from routoo_core.tables import read_columns

OPTIONAL_COLUMNS = ("reference",)
"""Columns that a grader uses where the table has them."""


@dataclass(frozen=True)
class ScoringTask:
    """What is to be scored.

    Attributes:
        rows: The prompts.
        experts: The experts whose answers are graded.
        grader: Asks the questions and grades the answers.
        judge: Reviews the answers, where the grader needs a judge.
    """

    rows: Sequence[GraderRow] = field(repr=False)
    experts: Sequence[Expert]
    grader: Grader
    judge: Expert | None = None

    @property
    def pool(self) -> Pool:
        """Every expert that is asked, the judge included."""
        experts = list(self.experts)
        if self.judge is not None and self.judge not in experts:
            experts.append(self.judge)
        return Pool(experts)

    def pair_names(self) -> set[tuple[str, str]]:
        """Every prompt id with every expert's name."""
        names = set()
        for row in self.rows:
            for expert in self.experts:
                names.add((str(row["prompt_id"]), expert.name))
        return names


@dataclass(frozen=True, slots=True)
class PairScore:
    """The score of one expert on one prompt.

    Attributes:
        row: The prompt.
        expert: The expert.
        score: 0–1; ``None`` where there is none.
        answers: The expert's answers, one for each call; empty where one is missing.
        missing: Why there is no score.
    """

    row: GraderRow
    expert: Expert
    score: float | None
    answers: Sequence[Answer] = ()
    missing: str = ""

    @property
    def prompt_tokens(self) -> int | None:
        """Prompt tokens of all calls; ``None`` where a call did not report them."""
        return _sum_reported([answer.prompt_tokens for answer in self.answers])

    @property
    def completion_tokens(self) -> int | None:
        """Completion tokens of all calls; ``None`` where one did not report them, and for likelihoods."""
        for answer in self.answers:
            if answer.logprob is not None:
                return None
        return _sum_reported([answer.completion_tokens for answer in self.answers])

    @property
    def cost(self) -> NanoUsd:
        """Cost of the expert's calls; a judge's calls are not counted."""
        return sum(answer.cost for answer in self.answers)

    @property
    def latency_s(self) -> float:
        """Seconds of the expert's calls, one after another."""
        return sum(answer.latency_s for answer in self.answers)


@dataclass(frozen=True)
class ScoringResult:
    """The scores of all pairs.

    Attributes:
        pairs: Prompt by prompt, in the order of the experts.
        spent: Nano-USD settled by this run, the judge's calls included.
        stop_reasons: Expert → why it was asked no more.
    """

    pairs: Sequence[PairScore]
    spent: NanoUsd
    stop_reasons: Mapping[str, str]

    @property
    def scored_pairs(self) -> list[PairScore]:
        """The pairs that have a score."""
        return [pair for pair in self.pairs if pair.score is not None]

    def missing(self) -> Counter[tuple[str, str]]:
        """(expert, reason) → pairs without a score."""
        counts: Counter[tuple[str, str]] = Counter()
        for pair in self.pairs:
            if pair.score is None:
                counts[pair.expert.name, pair.missing] += 1
        return counts

    def mean(self, expert: str) -> float | None:
        """An expert's mean score; ``None`` where it has none."""
        scores: list[float] = []
        for pair in self.pairs:
            if pair.expert.name == expert and pair.score is not None:
                scores.append(pair.score)
        return sum(scores) / len(scores) if scores else None


def read_grader_rows(path: Path, grader: Grader) -> list[GraderRow]:
    """The prompts with the columns that ``grader`` needs.

    Raises:
        OutcomesError: A column is missing, or a row cannot be graded; the message names file, row
            and column.
    """
    prompts = read_prompts(path)
    optional = [name for name in OPTIONAL_COLUMNS if name not in grader.columns]
    columns = read_columns(path, grader.columns, optional)

    rows: list[GraderRow] = []
    for index, (prompt_id, text) in enumerate(zip(prompts.ids, prompts.texts, strict=True)):
        row = {"prompt_id": prompt_id, "prompt": text}
        for name, values in columns.items():
            row[name] = values[index]
        _check_row(path, index + 1, row, grader)
        rows.append(row)
    return rows


def _check_row(path: Path, number: int, row: GraderRow, grader: Grader) -> None:
    for name in grader.columns:
        if row[name] is None:
            raise OutcomesError(f"{path}: row {number}: {name}: is empty")
    try:
        grader.check(row)
    except ValueError as error:
        raise OutcomesError(f"{path}: row {number}: {error}") from error


def _sum_reported(counts: Sequence[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
