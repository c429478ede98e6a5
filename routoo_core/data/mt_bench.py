"""MT-Bench as FastChat publishes it: questions of two turns, and a judge's grades from 1 to 10."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from routoo_core.errors import OutcomesError
from routoo_core.expert_table import ExpertTable
from routoo_core.outcomes import Outcomes
from routoo_core.prompts import Prompts
from routoo_core.tables import read_lines

LOWEST_GRADE = 1.0
HIGHEST_GRADE = 10.0


def read_mt_bench(questions: Path, judgements: Path) -> Outcomes:
    """Read MT-Bench: the first turn is the prompt, and the mean grade of all turns is the score.

    Args:
        questions: ``question.jsonl``: ``question_id``, ``turns``, optional ``category``.
        judgements: Single-answer grades, such as ``gpt-4_single.jsonl``: ``question_id``, ``model``, ``turn``,
            ``score``. A score of -1 is a grade that could not be read and is left out.

    Raises:
        OutcomesError: A file cannot be read, or a line lacks something; the message names file and line.
    """
    texts, domains = _read_questions(questions)
    grades = _read_grades(judgements, texts, questions)
    models = dict.fromkeys(grade.model for grade in grades)
    ids = tuple(texts)
    row_of = {question_id: row for row, question_id in enumerate(ids)}
    table = ExpertTable.empty(ids, models)
    for grade, scores in grades.items():
        table.column(grade.model)[row_of[grade.question_id]] = np.mean(scores)
    prompts = Prompts(ids, tuple(texts.values()), tuple(domains.values()), ("dev",) * len(ids))
    return Outcomes(prompts, table)


class _Graded(NamedTuple):
    """What is graded: a model's answers to the turns of a question."""

    question_id: str
    model: str


def _read_questions(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Question id → first turn, and question id → category.

    Raises:
        OutcomesError: The file cannot be read, or a line lacks something.
    """
    texts: dict[str, str] = {}
    domains: dict[str, str] = {}
    for number, row in enumerate(read_lines(path), start=1):
        place = f"{path}: line {number}"
        turns = row.get("turns")
        if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
            raise OutcomesError(f"{place}: turns: no list of texts")
        question_id = _question_id(row, place)
        texts[question_id] = turns[0]
        domains[question_id] = str(row.get("category") or "")
    return texts, domains


def _read_grades(
    path: Path, texts: Mapping[str, str], questions: Path
) -> dict[_Graded, list[float]]:
    """What is graded → its scores, 0–1.

    Raises:
        OutcomesError: The file cannot be read, holds no grade, or a line lacks something.
    """
    grades: defaultdict[_Graded, list[float]] = defaultdict(list)
    for number, row in enumerate(read_lines(path), start=1):
        place = f"{path}: line {number}"
        question_id = _question_id(row, place)
        if question_id not in texts:
            raise OutcomesError(f"{place}: question_id {question_id!r} is not in {questions}")
        score = _read_score(row, place)
        if score is not None:
            grades[_Graded(question_id, _read_model(row, place))].append(score)
    if not grades:
        raise OutcomesError(f"{path}: holds no grade")
    return grades


def _question_id(row: Mapping[str, Any], place: str) -> str:
    question_id = row.get("question_id")
    if not isinstance(question_id, int | str) or question_id == "":
        raise OutcomesError(f"{place}: question_id: {question_id!r} is none")
    return str(question_id)


def _read_model(row: Mapping[str, Any], place: str) -> str:
    model = row.get("model")
    if not isinstance(model, str) or not model:
        raise OutcomesError(f"{place}: model: {model!r} is no name; give single-answer grades")
    return model


def _read_score(row: Mapping[str, Any], place: str) -> float | None:
    """A grade as a score from 0 to 1; ``None`` for -1."""
    grade = row.get("score")
    if grade == -1:
        return None
    if not isinstance(grade, int | float) or not LOWEST_GRADE <= grade <= HIGHEST_GRADE:
        raise OutcomesError(f"{place}: score: {grade!r} is not a number from 1 to 10")
    return (grade - LOWEST_GRADE) / (HIGHEST_GRADE - LOWEST_GRADE)
