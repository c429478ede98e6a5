"""Every expert on every prompt, graded: a table of outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Answer, Call, NoAnswer
from routoo_core.errors import OutcomesError, RoutooError
from routoo_core.experts import Expert
from routoo_core.money import NANO_PER_USD, format_usd
from routoo_core.progress import SILENT, Advance, Progress
from routoo_core.scoring.rows import GraderRow
from routoo_core.scoring.task import PairScore, ScoringResult, ScoringTask
from routoo_core.tables import read_table, write_table

ScoredPairs = Mapping[tuple[str, str], float]
"""Prompt id and expert → score, 0–1."""

OUTCOME_COLUMNS = (
    "prompt_id",
    "model",
    "score",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "latency_s",
)
"""The columns of a table of outcomes."""


def score_experts(task: ScoringTask, asker: Asker, progress: Progress = SILENT) -> ScoringResult:
    """Ask everything that is not answered yet, within the asker's budget, and grade the answers.

    Args:
        task: Prompts, experts and grader.
        asker: Asks the experts and the judge, whose pool is ``task.pool``.
        progress: Shows a bar and the cost so far.

    Raises:
        ConfigurationError: An expert cannot be asked at all.
    """
    try:
        pairs = asyncio.run(_score_pairs(task, asker, progress))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return ScoringResult(pairs, asker.spent, asker.stop_reasons)


async def _score_pairs(task: ScoringTask, asker: Asker, progress: Progress) -> list[PairScore]:
    total = len(task.rows) * len(task.experts)
    with progress.bar("Scoring", total) as advance:
        run = _ScoringRun(task, asker, advance)
        async with asyncio.TaskGroup() as workers:
            for expert in task.experts:
                rows = enumerate(task.rows)  # shared: each worker takes the next row
                count = min(asker.concurrency, len(task.rows))
                for _ in range(count):
                    workers.create_task(run.work(expert, rows))
    return run.in_order()


class _ScoringRun:
    """The scores so far of a task whose workers run at once.

    Args:
        task: Prompts, experts and grader.
        asker: Asks the experts and the judge.
        advance: Moves the bar.
    """

    def __init__(self, task: ScoringTask, asker: Asker, advance: Advance) -> None:
        self._task = task
        self._asker = asker
        self._advance = advance
        self._scores: dict[tuple[int, str], PairScore] = {}

    async def work(self, expert: Expert, rows: Iterator[tuple[int, GraderRow]]) -> None:
        """Score an expert on rows, until there are none left."""
        for number, row in rows:
            pair = await self._score_pair(expert, row)
            self._scores[number, expert.name] = pair
            cost = format_usd(self._asker.spent, 4)
            self._advance(1, f"Scoring, {cost} so far")

    def in_order(self) -> list[PairScore]:
        """All scores, prompt by prompt."""
        pairs = []
        for number in range(len(self._task.rows)):
            for expert in self._task.experts:
                pair = self._scores[number, expert.name]
                pairs.append(pair)
        return pairs

    async def _score_pair(self, expert: Expert, row: GraderRow) -> PairScore:
        grader = self._task.grader
        verdicts: list[Answer] = []
        try:
            answers = await self._ask_all(expert, grader.calls(row))
            if self._task.judge is not None:
                judge_calls = grader.judge_calls(row, answers)
                verdicts = await self._ask_all(self._task.judge, judge_calls)
        except NoAnswer as error:
            return PairScore(row, expert, None, missing=str(error))

        try:
            # In a thread, since a grader may compute for seconds.
            score = await asyncio.to_thread(grader.grade, row, answers, verdicts)
        except Exception as error:  # noqa: BLE001 (no answer may end a run)
            return PairScore(row, expert, None, answers, _grading_problem(error))
        if score is None:
            return PairScore(row, expert, None, answers, "the judge's verdict cannot be read")
        return PairScore(row, expert, score, answers)

    async def _ask_all(self, expert: Expert, calls: Sequence[Call]) -> list[Answer]:
        return [await self._asker.ask(expert, call) for call in calls]


def _grading_problem(error: Exception) -> str:
    """Why an answer has no score, in words that do not quote it."""
    if isinstance(error, RoutooError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "grading it took too long"
    return f"the grader failed ({type(error).__name__})"


def read_scored_pairs(path: Path) -> ScoredPairs | None:
    """The scores in a table that :func:`write_outcomes` wrote; ``None`` where it is another table.

    Raises:
        MissingDependency: ``pyarrow`` is not installed.
    """
    try:
        table = read_table(path)
    except OutcomesError:
        return None
    if tuple(table.column_names) != OUTCOME_COLUMNS:
        return None

    scores = {}
    for row in table.select(["prompt_id", "model", "score"]).to_pylist():
        scores[row["prompt_id"], row["model"]] = row["score"]
    return scores


def write_answers(path: Path, result: ScoringResult) -> None:
    """Write what experts answered: ``prompt_id, model, answer``; of several calls, the first.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    pairs = [pair for pair in result.scored_pairs if pair.answers]
    columns = {
        "prompt_id": [pair.row["prompt_id"] for pair in pairs],
        "model": [pair.expert.name for pair in pairs],
        "answer": [pair.answers[0].text for pair in pairs],
    }
    write_table(path, columns)


def write_outcomes(path: Path, result: ScoringResult) -> None:
    """Write a table of outcomes, one row for each score.

    The columns are ``prompt_id, model, score, prompt_tokens, completion_tokens, cost_usd,
    latency_s``.

    Tokens, cost and latency are summed over a pair's calls. Where nothing was written, as for
    likelihoods, there is no ``completion_tokens``: it would teach a router lengths that no answer
    had.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    import pyarrow as pa

    pairs = result.scored_pairs
    # Typed, since a column without any value would otherwise have no type.
    prompt_tokens = pa.array([pair.prompt_tokens for pair in pairs], type=pa.int64())
    completion_tokens = pa.array([pair.completion_tokens for pair in pairs], type=pa.int64())
    columns = {
        "prompt_id": [pair.row["prompt_id"] for pair in pairs],
        "model": [pair.expert.name for pair in pairs],
        "score": [pair.score for pair in pairs],
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "cost_usd": [pair.cost / NANO_PER_USD for pair in pairs],
        "latency_s": [pair.latency_s for pair in pairs],
    }
    write_table(path, columns)
