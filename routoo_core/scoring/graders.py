"""Graders: what to ask an expert about a prompt, and how good its answer is, 0–1."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from routoo_core.asking.calls import Answer, Call, Chat, Likelihood
from routoo_core.errors import ConfigurationError
from routoo_core.scoring.reading import (
    LETTERS,
    extract_code,
    find_letter,
    find_number,
    normalise_answer,
    without_thoughts,
)
from routoo_core.scoring.rows import GraderRow, read_choices, right_choice

HARNESS_TEMPLATE = "Question: {prompt}\nAnswer:"  # what lm-eval-harness asks ARC and its like with


@dataclass(frozen=True)
class Grader:
    """Asks the prompt as it is; subclasses say how good an answer is.

    Attributes:
        columns: What a row needs beside ``prompt_id`` and ``prompt``.
        max_tokens: Limit on an answer.
        temperature: Of the answer; ``None`` leaves it to the endpoint.
    """

    columns: ClassVar[tuple[str, ...]] = ()
    max_tokens: int = 512
    temperature: float | None = 0.0

    def check(self, row: GraderRow) -> None:
        """Refuse a row that could not be graded, before anything is spent.

        Raises:
            ValueError: The message names the column and the reason.
        """

    def calls(self, row: GraderRow) -> Sequence[Call]:
        """What the expert is asked; at least one."""
        return [self._chat(str(row["prompt"]))]

    def reviews(self, row: GraderRow, answers: Sequence[Answer]) -> Sequence[Call]:
        """What a judge is asked about the answers; none for all other graders."""
        return ()

    def grade(
        self, row: GraderRow, answers: Sequence[Answer], verdicts: Sequence[Answer]
    ) -> float | None:
        """The score, 0–1; ``None`` where a judge said nothing that can be read."""
        return self.mark(row, without_thoughts(answers[0].text))

    def mark(self, row: GraderRow, text: str) -> float:
        """The score of a text, 0–1, without what a model thought aloud before it."""
        raise NotImplementedError

    def _chat(self, text: str) -> Chat:
        return Chat((("user", text),), self.max_tokens, self.temperature)


@dataclass(frozen=True)
class Letter(Grader):
    """Multiple choice: the choices are listed with letters, and the answer's letter is looked for.

    ``choices`` is a list of texts; ``answer`` the right one's index (from 0), letter or text.
    """

    columns = ("choices", "answer")

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        right_choice(row)

    def calls(self, row: GraderRow) -> Sequence[Call]:
        """The question, its choices with letters, and what is wanted."""
        listed = "\n".join(
            f"{letter}. {choice}"
            for letter, choice in zip(LETTERS, read_choices(row), strict=False)
        )
        return [
            self._chat(
                f"{row['prompt']}\n\n{listed}\n\nAnswer with the letter of the right choice."
            )
        ]

    def mark(self, row: GraderRow, text: str) -> float:
        """1 for the right letter; none that can be made out is wrong."""
        return float(find_letter(text, read_choices(row)) == LETTERS[right_choice(row)])


@dataclass(frozen=True)
class LikeliestChoice(Grader):
    """Multiple choice as EleutherAI's harness does it: the choice that the expert finds likeliest after the question.

    The expert writes nothing (paper §4.1).

    Attributes:
        normalised: Divide each log-likelihood by the choice's length in bytes (the harness's ``acc_norm``).
        template: What stands before a choice; ``{prompt}`` is the prompt.
    """

    columns = ("choices", "answer")
    normalised: bool = False
    template: str = HARNESS_TEMPLATE

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        right_choice(row)

    def calls(self, row: GraderRow) -> Sequence[Call]:
        """How likely is each choice?"""
        context = self.template.replace("{prompt}", str(row["prompt"]))
        return [Likelihood(context, f" {choice}") for choice in read_choices(row)]

    def grade(
        self, row: GraderRow, answers: Sequence[Answer], verdicts: Sequence[Answer]
    ) -> float | None:
        """1 where the likeliest choice is the right one."""
        return float(self.pick(row, answers) == right_choice(row))

    def pick(self, row: GraderRow, answers: Sequence[Answer]) -> int:
        """Index of the likeliest choice, the first of equal ones."""
        sizes = [len(choice.encode()) if self.normalised else 1 for choice in read_choices(row)]
        values = [
            (answer.logprob or 0.0) / size for answer, size in zip(answers, sizes, strict=True)
        ]
        return values.index(max(values))


@dataclass(frozen=True)
class Exact(Grader):
    """The answer is the column ``answer``, or one of its list, whatever the case, spaces and outer punctuation."""

    columns = ("answer",)

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        if not all(normalise_answer(text) for text in _accepted(row)):
            raise ValueError("answer: is empty")

    def mark(self, row: GraderRow, text: str) -> float:
        """1 where they are the same."""
        return float(
            normalise_answer(text) in {normalise_answer(accepted) for accepted in _accepted(row)}
        )


@dataclass(frozen=True)
class Numeric(Grader):
    """The number an answer ends in is the column ``answer``.

    Attributes:
        tolerance: How far off it may be, as a share of the right number.
    """

    columns = ("answer",)
    tolerance: float = 1e-6

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        if find_number(str(row["answer"])) is None:
            raise ValueError(f"answer: {row['answer']!r} is not a number")

    def mark(self, row: GraderRow, text: str) -> float:
        """1 where it is near enough."""
        found, right = find_number(text), find_number(str(row["answer"]))
        return float(
            found is not None
            and math.isclose(found, right or 0.0, rel_tol=self.tolerance, abs_tol=1e-9)
        )


@dataclass(frozen=True)
class Pattern(Grader):
    """The column ``pattern``, a regular expression of Python's, is found in the answer."""

    columns = ("pattern",)

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        try:
            re.compile(str(row["pattern"]))
        except re.error as error:
            raise ValueError(
                f"pattern: {row['pattern']!r} is no regular expression ({error})"
            ) from error

    def mark(self, row: GraderRow, text: str) -> float:
        """1 where it is found."""
        return float(re.search(str(row["pattern"]), text) is not None)


@dataclass(frozen=True)
class Code(Grader):
    """The answer's Python code passes the column ``tests`` (statements that raise where it is wrong).

    **It runs what a model wrote**, on this machine: see :mod:`routoo_core.scoring.sandbox` for what holds it back.

    Attributes:
        timeout_s: Seconds of computing, and twice as long by the clock.
        memory_mb: Address space.
    """

    columns = ("tests",)
    timeout_s: int = 10
    memory_mb: int = 1024

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        try:
            compile(str(row["tests"]), "tests", "exec")
        except SyntaxError as error:
            raise ValueError(f"tests: is not Python ({error.msg}, line {error.lineno})") from error

    def mark(self, row: GraderRow, text: str) -> float:
        """1 where all tests pass."""
        from routoo_core.scoring.sandbox import tests_pass

        return float(
            tests_pass(extract_code(text), str(row["tests"]), self.timeout_s, self.memory_mb)
        )


@dataclass(frozen=True)
class CustomGrader(Grader):
    """A function of yours, ``grade(row, text) -> float``; it may say what it needs in an attribute ``columns``."""

    function: Callable[[GraderRow, str], float] = field(default=lambda row, text: 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(getattr(self.function, "columns", ())))

    def mark(self, row: GraderRow, text: str) -> float:
        """What the function says.

        Raises:
            ConfigurationError: It is not a number in 0–1.
        """
        score = self.function(row, text)
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ConfigurationError(
                f"--grader: {self.function.__name__} gave {score!r} for prompt {row['prompt_id']!r}; return 0 to 1"
            )
        return float(score)


GRADERS: dict[str, type[Grader]] = {
    "letter": Letter,
    "likelihood": LikeliestChoice,
    "exact": Exact,
    "numeric": Numeric,
    "regex": Pattern,
    "code": Code,
}
"""``--grader`` → grader; ``judge`` is in :mod:`routoo_core.scoring.judge`, ``python:module:function`` is yours."""


def load_custom_grader(name: str, **settings: Any) -> CustomGrader:
    """The grader ``python:module:function`` names; the module may lie in the current folder.

    Raises:
        ConfigurationError: There is no such function.
    """
    _, _, path = name.partition(":")
    module, _, function = path.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"--grader: {name!r}: {error}; write python:module:function"
        ) from error
    return CustomGrader(function=found, **settings)


def _accepted(row: GraderRow) -> list[str]:
    answer = row["answer"]
    return [str(one) for one in answer] if isinstance(answer, list) else [str(answer)]
