"""``routoo score``: every expert on every prompt, graded → a table of outcomes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routoo_core.asking.answers import AnswerStore
from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Answer, Call, Chat, ExpertClient, NoAnswer
from routoo_core.asking.clients import make_clients
from routoo_core.asking.direct import direct_router
from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.errors import NoCapableExpert, OutcomesError
from routoo_core.experts import Expert, Pool
from routoo_core.money import NANO_PER_USD, format_usd
from routoo_core.progress import Progress
from routoo_core.prompts import read_prompts
from routoo_core.scoring.graders import Grader
from routoo_core.scoring.rows import GraderRow
from routoo_core.tables import read_columns, write_table

OPTIONAL = ("reference",)  # columns a grader uses where the table has them


@dataclass(frozen=True)
class ScoringTask:
    """What is to be scored, and by whom.

    Attributes:
        rows: The prompts.
        experts: Whose answers are graded.
        grader: How.
        judge: Who reviews the answers, where the grader asks a judge.
    """

    rows: Sequence[GraderRow] = field(repr=False)
    experts: Sequence[Expert]
    grader: Grader
    judge: Expert | None = None

    @property
    def pool(self) -> Pool:
        """Everybody who is asked."""
        judge = [] if self.judge is None or self.judge in self.experts else [self.judge]
        return Pool([*self.experts, *judge])


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What asking an expert is expected to cost, nano-USD.

    Attributes:
        calls: Still to be made.
        kept: Answered before.
        expected: With answers of the usual length.
        maximum: With all of them as long as allowed.
    """

    calls: int = 0
    kept: int = 0
    expected: int = 0
    maximum: int = 0

    def __add__(self, other: CostEstimate) -> CostEstimate:
        return CostEstimate(
            self.calls + other.calls,
            self.kept + other.kept,
            self.expected + other.expected,
            self.maximum + other.maximum,
        )


@dataclass(frozen=True, slots=True)
class PairScore:
    """One graded pair; ``score`` is ``None`` where ``missing`` says why there is none."""

    row: GraderRow
    expert: Expert
    score: float | None
    answers: Sequence[Answer] = ()
    missing: str = ""


@dataclass(frozen=True)
class ScoringResult:
    """All pairs, prompt by prompt.

    Attributes:
        pairs: Graded or missing.
        spent: Nano-USD settled by this run, the judge's calls included.
        stopped: Expert → why it was asked no more.
    """

    pairs: Sequence[PairScore]
    spent: int
    stopped: Mapping[str, str]

    @property
    def graded(self) -> list[PairScore]:
        """Those with a score."""
        return [pair for pair in self.pairs if pair.score is not None]

    def missing(self) -> Counter[tuple[str, str]]:
        """(expert, reason) → pairs without a score."""
        return Counter(
            (pair.expert.name, pair.missing) for pair in self.pairs if pair.score is None
        )

    def mean(self, expert: str) -> float | None:
        """An expert's mean score."""
        scores = [
            pair.score
            for pair in self.pairs
            if pair.expert.name == expert and pair.score is not None
        ]
        return sum(scores) / len(scores) if scores else None


def read_grader_rows(path: Path, grader: Grader) -> list[GraderRow]:
    """The prompts with the columns that ``grader`` needs.

    Raises:
        OutcomesError: A column is missing, or a row cannot be graded; the message names file, row and column.
    """
    prompts = read_prompts(path)
    optional = [name for name in OPTIONAL if name not in grader.columns]
    table = (
        read_columns(path, grader.columns, optional=optional) if grader.columns or optional else {}
    )
    rows: list[GraderRow] = [
        {"prompt_id": prompt_id, "prompt": text, **dict(zip(table, values, strict=True))}
        for prompt_id, text, *values in zip(
            prompts.ids, prompts.texts, *table.values(), strict=True
        )
    ]
    for number, row in enumerate(rows, start=1):
        if empty := [name for name in grader.columns if row[name] is None]:
            raise OutcomesError(f"{path}: row {number}: {empty[0]}: is empty")
        try:
            grader.check(row)
        except ValueError as error:
            raise OutcomesError(f"{path}: row {number}: {error}") from error
    return rows


def estimate_costs(
    scoring: ScoringTask, budget: Budget, ledger: Ledger, store: AnswerStore
) -> dict[str, CostEstimate]:
    """What is still to be asked and what it will cost, by expert; nobody is asked.

    A judge's prompts are estimated with answers of the usual length where there are none yet.
    """
    router = direct_router(scoring.pool, budget, ledger)
    found = {expert.name: CostEstimate() for expert in scoring.pool}

    def add(expert: Expert, call: Call) -> Answer | None:
        if (answer := store.get(expert, call)) is not None:
            found[expert.name] += CostEstimate(kept=1)
            return answer
        try:
            candidate = router.decide(call.request(expert.name)).candidates[0]
        except NoCapableExpert:
            return None
        found[expert.name] += CostEstimate(1, 0, candidate.expected_cost, candidate.maximum_cost)
        return None

    for row in scoring.rows:
        for expert in scoring.experts:
            answers = [add(expert, call) or _imagined(call) for call in scoring.grader.calls(row)]
            if scoring.judge is not None:
                for call in scoring.grader.reviews(row, answers):
                    add(scoring.judge, call)
    return found


def _imagined(call: Call) -> Answer:
    words = min(call.max_tokens, 300) if isinstance(call, Chat) else 0
    return Answer(" answer" * words, 0.0, 0, 0, 0, 0.0)


def score_experts(
    scoring: ScoringTask,
    budget: Budget,
    ledger: Ledger,
    store: AnswerStore,
    progress: Progress,
    concurrency: int = 8,
    retries: int = 5,
    clients: Mapping[str, ExpertClient] | None = None,
) -> ScoringResult:
    """Ask everybody everything that is not answered yet, under the budget, and grade the answers.

    Args:
        scoring: Prompts, experts, grader.
        budget: What may be spent.
        ledger: Where it is booked, call by call.
        store: Where answers are kept as they come.
        progress: Where the bar and the cost so far are shown.
        concurrency: Calls of each expert at once.
        retries: How often a call is tried again that may succeed later.
        clients: Used instead of those the experts' settings describe.

    Raises:
        ConfigurationError: An expert cannot be asked at all.
    """
    router = direct_router(scoring.pool, budget, ledger)
    asker = Asker(
        router, clients or make_clients(scoring.pool.experts), store, concurrency, retries
    )
    try:
        pairs = asyncio.run(_score_all(scoring, asker, progress, concurrency))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return ScoringResult(pairs, asker.spent, asker.stopped)


async def _score_all(
    scoring: ScoringTask, asker: Asker, progress: Progress, concurrency: int
) -> list[PairScore]:
    done: dict[tuple[int, str], PairScore] = {}
    with progress.bar("Scoring", len(scoring.rows) * len(scoring.experts)) as advance:

        async def work(expert: Expert, rows: Iterator[tuple[int, GraderRow]]) -> None:
            for number, row in rows:
                done[number, expert.name] = await _score(scoring, asker, expert, row)
                advance(1, f"Scoring, {format_usd(asker.spent, 4)} so far")

        async with asyncio.TaskGroup() as tasks:
            for expert in scoring.experts:
                rows = enumerate(scoring.rows)
                for _ in range(min(concurrency, len(scoring.rows))):
                    tasks.create_task(work(expert, rows))
    return [
        done[number, expert.name]
        for number in range(len(scoring.rows))
        for expert in scoring.experts
    ]


async def _score(scoring: ScoringTask, asker: Asker, expert: Expert, row: GraderRow) -> PairScore:
    grader = scoring.grader
    try:
        answers = [await asker.ask(expert, call) for call in grader.calls(row)]
        verdicts = [
            await asker.ask(scoring.judge, call)
            for call in grader.reviews(row, answers)
            if scoring.judge
        ]
    except NoAnswer as error:
        return PairScore(row, expert, None, missing=str(error))
    score = await asyncio.to_thread(grader.grade, row, answers, verdicts)
    return PairScore(
        row,
        expert,
        score,
        answers,
        "" if score is not None else "the judge's verdict cannot be read",
    )


def write_outcomes(path: Path, scores: ScoringResult) -> None:
    """Write ``prompt_id, model, score, prompt_tokens, completion_tokens, cost_usd, latency_s``, one row for each score.

    Tokens, cost and latency are summed over a pair's calls. Where nothing was written, as in likelihoods, there is no
    ``completion_tokens``: it would teach a router lengths that no answer had.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    pairs = scores.graded
    write_table(
        path,
        {
            "prompt_id": [pair.row["prompt_id"] for pair in pairs],
            "model": [pair.expert.name for pair in pairs],
            "score": [pair.score for pair in pairs],
            "prompt_tokens": _column([_total(pair, "prompt_tokens") for pair in pairs]),
            "completion_tokens": _column([_total(pair, "completion_tokens") for pair in pairs]),
            "cost_usd": [
                sum(answer.cost for answer in pair.answers) / NANO_PER_USD for pair in pairs
            ],
            "latency_s": [sum(answer.latency_s for answer in pair.answers) for pair in pairs],
        },
    )


def _total(pair: PairScore, field_: str) -> int | None:
    counts = [getattr(answer, field_) for answer in pair.answers]
    silent = field_ == "completion_tokens" and any(
        answer.logprob is not None for answer in pair.answers
    )
    return None if silent or None in counts else sum(counts)


def _column(values: list[int | None]) -> Any:
    """Integers with gaps; pyarrow would make a column of nothing of one that is all gaps."""
    import pyarrow as pa

    return pa.array(values, type=pa.int64())
