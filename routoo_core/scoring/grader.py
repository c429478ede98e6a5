"""A grader: what an expert is asked about a prompt, and how good its answer is, 0–1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from routoo_core.asking.calls import Answer, Call, Chat
from routoo_core.scoring.rows import GraderRow
from routoo_core.stated_answers import without_thoughts


@dataclass(frozen=True)
class Grader:
    """Asks the prompt as it is; a subclass scores the answer, most simply by :meth:`score_text`.

    ::

        @dataclass(frozen=True)
        class Polite(Grader):
            def score_text(self, row: GraderRow, text: str) -> float:
                return float("please" in text)

        GRADERS["polite"] = Polite

    Attributes:
        columns: What a row needs beside ``prompt_id`` and ``prompt``.
        runs_code: Whether grading runs on this machine what an expert wrote.
        needs_judge: Whether another expert reviews the answers.
        max_tokens: Limit on an answer.
        temperature: Of the answer, 0–2; ``None`` leaves it to the endpoint.
    """

    columns: ClassVar[tuple[str, ...]] = ()
    runs_code: ClassVar[bool] = False
    needs_judge: ClassVar[bool] = False
    max_tokens: int = 512
    temperature: float | None = 0.0

    def check(self, row: GraderRow) -> None:
        """Refuse a row that could not be graded, before anything is spent.

        Raises:
            ValueError: The message names the column and the reason.
        """

    def calls(self, row: GraderRow) -> Sequence[Call]:
        """The calls to the expert; at least one."""
        prompt = str(row["prompt"])
        return [self.chat(prompt)]

    def judge_calls(self, row: GraderRow, answers: Sequence[Answer]) -> Sequence[Call]:
        """The calls to a judge about the answers; none for a grader without a judge."""
        return ()

    def grade(
        self, row: GraderRow, answers: Sequence[Answer], verdicts: Sequence[Answer]
    ) -> float | None:
        """The score, 0–1; ``None`` where a judge's verdict cannot be read.

        Args:
            row: The prompt.
            answers: The expert's, one for each of :meth:`calls`.
            verdicts: The judge's, one for each of :meth:`judge_calls`.
        """
        answer = answers[0]
        text = without_thoughts(answer.text)
        return self.score_text(row, text)

    def score_text(self, row: GraderRow, text: str) -> float:
        """The score of an answer's text, 0–1, without what the model thought aloud before it."""
        raise NotImplementedError

    def chat(self, text: str) -> Chat:
        """A call that asks ``text`` with this grader's settings."""
        message = ("user", text)
        return Chat((message,), self.max_tokens, self.temperature)
