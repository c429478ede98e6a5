"""The graders, and the dict that names them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from routoo_core.asking.calls import Answer, Call, Likelihood
from routoo_core.errors import ConfigurationError
from routoo_core.sandbox.code_tests import tests_pass
from routoo_core.scoring.custom import CUSTOM_PREFIX, CustomGrader, load_custom_grader
from routoo_core.scoring.grader import Grader
from routoo_core.scoring.judge import Judge, PairwiseJudge
from routoo_core.scoring.rows import GraderRow, read_choices, right_choice
from routoo_core.stated_answers import (
    LETTERS,
    extract_code,
    find_letter,
    find_number,
    normalise_answer,
)

PATTERN_TIMEOUT_S = 2.0
"""How long a pattern may search one answer."""
HARNESS_TEMPLATE = "Question: {prompt}\nAnswer:"
"""How lm-eval-harness asks ARC and similar tasks."""


@dataclass(frozen=True)
class Letter(Grader):
    """Multiple choice: the choices are listed with letters, and the answer is read for its letter.

    ``choices`` is a list of texts; ``answer`` is the right one's index (from 0), letter or text.
    """

    columns = ("choices", "answer")

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        right_choice(row)

    def calls(self, row: GraderRow) -> Sequence[Call]:
        """The question, its lettered choices, and what to answer with."""
        lines = [
            f"{letter}. {choice}"
            for letter, choice in zip(LETTERS, read_choices(row), strict=False)
        ]
        choices = "\n".join(lines)
        question = f"{row['prompt']}\n\n{choices}\n\nAnswer with the letter of the right choice."
        return [self.chat(question)]

    def score_text(self, row: GraderRow, text: str) -> float:
        """1 for the right letter; an answer without a clear letter is wrong."""
        letter = find_letter(text, read_choices(row))
        right_letter = LETTERS[right_choice(row)]
        return float(letter == right_letter)


@dataclass(frozen=True)
class LikeliestChoice(Grader):
    """Multiple choice as in EleutherAI's harness: the expert's likeliest choice is its answer.

    The expert writes nothing (paper §4.1).

    Attributes:
        normalised: Divide each log-likelihood by the choice's length in bytes (the harness's
            ``acc_norm``).
        template: The text before a choice; ``{prompt}`` is the prompt.
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
        pick = self.pick(row, answers)
        return float(pick == right_choice(row))

    def pick(self, row: GraderRow, answers: Sequence[Answer]) -> int:
        """Index of the likeliest choice; the first of equal ones."""
        likelihoods = []
        for answer, choice in zip(answers, read_choices(row), strict=True):
            size = len(choice.encode()) if self.normalised else 1
            likelihoods.append((answer.logprob or 0.0) / size)
        return likelihoods.index(max(likelihoods))


@dataclass(frozen=True)
class Exact(Grader):
    """The answer is ``answer``, or one of its list, whatever the case and outer punctuation."""

    columns = ("answer",)

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        if "" in _accepted_answers(row):
            raise ValueError("answer: is empty")

    def score_text(self, row: GraderRow, text: str) -> float:
        """1 where they are equal."""
        answer = normalise_answer(text)
        return float(answer in _accepted_answers(row))


@dataclass(frozen=True)
class Numeric(Grader):
    """The number that an answer ends in is ``answer``.

    Attributes:
        tolerance: How far off it may be, as a share of the right number.
    """

    columns = ("answer",)
    tolerance: float = 1e-6

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        if find_number(str(row["answer"])) is None:
            raise ValueError(f"answer: {row['answer']!r} is not a number")

    def score_text(self, row: GraderRow, text: str) -> float:
        """1 where it is near enough."""
        number = find_number(text)
        if number is None:
            return 0.0
        expected = find_number(str(row["answer"])) or 0.0
        is_close = math.isclose(number, expected, rel_tol=self.tolerance, abs_tol=1e-9)
        return float(is_close)


@dataclass(frozen=True)
class Pattern(Grader):
    """The regular expression ``pattern`` (Python's syntax) matches somewhere in the answer.

    A search that takes longer than :data:`PATTERN_TIMEOUT_S` leaves the answer without a score.
    """

    columns = ("pattern",)

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        pattern = str(row["pattern"])
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(
                f"pattern: {row['pattern']!r} is no regular expression ({error})"
            ) from error

    def score_text(self, row: GraderRow, text: str) -> float:
        """1 where it matches.

        Raises:
            TimeoutError: The search takes too long.
        """
        match = regex.search(str(row["pattern"]), text, timeout=PATTERN_TIMEOUT_S)
        return float(match is not None)


@dataclass(frozen=True)
class Code(Grader):
    """The answer's Python code passes ``tests``, statements that raise where it is wrong.

    **It runs what a model wrote**, on this machine, in a sandbox: see :mod:`routoo_core.sandbox.code_tests`.

    Attributes:
        timeout_s: Seconds of computing, and twice as long by the clock.
        memory_mb: Address space.
        unsafe: Run it without a sandbox.
    """

    columns = ("tests",)
    runs_code = True
    timeout_s: int = 10
    memory_mb: int = 1024
    unsafe: bool = False

    def check(self, row: GraderRow) -> None:
        """See :meth:`Grader.check`."""
        try:
            compile(str(row["tests"]), "tests", "exec")
        except SyntaxError as error:
            raise ValueError(f"tests: is not Python ({error.msg}, line {error.lineno})") from error

    def score_text(self, row: GraderRow, text: str) -> float:
        """1 where all tests pass."""
        code = extract_code(text)
        tests = str(row["tests"])
        return float(tests_pass(code, tests, self.timeout_s, self.memory_mb, self.unsafe))


GRADERS: dict[str, type[Grader]] = {
    "letter": Letter,
    "likelihood": LikeliestChoice,
    "exact": Exact,
    "numeric": Numeric,
    "regex": Pattern,
    "code": Code,
    "judge": Judge,
    "pairwise-judge": PairwiseJudge,
}
"""Name → grader. Add an entry to add a grader."""


def make_grader(name: str, settings: Mapping[str, Any]) -> Grader:
    """A grader by its name in ``GRADERS``, or by ``python:module:function``.

    Args:
        name: The name.
        settings: Field → value, for any grader; each takes the fields that it has.

    Raises:
        ConfigurationError: There is no such grader.
    """
    if name.startswith(CUSTOM_PREFIX):
        return load_custom_grader(name, **_fields_of(CustomGrader, settings))
    if name not in GRADERS:
        choices = ", ".join((*GRADERS, "python:module:function"))
        raise ConfigurationError(f"grader: {name!r} is unknown; choose one of {choices}")
    kind = GRADERS[name]
    return kind(**_fields_of(kind, settings))


def _fields_of(kind: type[Grader], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a grader has."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in settings:
            fields[field.name] = settings[field.name]
    return fields


def _accepted_answers(row: GraderRow) -> set[str]:
    """What counts as right, in the form that answers are compared in."""
    answer = row["answer"]
    answers = answer if isinstance(answer, list) else [answer]
    return {normalise_answer(str(text)) for text in answers}
