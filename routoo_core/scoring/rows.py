"""A row of a table of prompts: what a grader needs to know of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routoo_core.scoring.reading import LETTERS
from routoo_core.text import parse_choices

GraderRow = Mapping[str, Any]
"""One prompt: ``prompt_id``, ``prompt`` and the columns its grader needs."""


def read_choices(row: GraderRow) -> list[str]:
    """The texts of a row's ``choices``, a list or JSON's form of one.

    Raises:
        ValueError: They are no list of 2 to 26 texts.
    """
    choices = parse_choices(row["choices"])
    if not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"choices: give a list of 2 to {len(LETTERS)} texts")
    return choices


def right_choice(row: GraderRow) -> int:
    """Index of the right choice, from ``answer`` as an index, a letter or the text.

    Raises:
        ValueError: It is none of the choices.
    """
    choices, answer = read_choices(row), row["answer"]
    if isinstance(answer, str):
        index = int(answer) if answer.isdecimal() and int(answer) < len(choices) else None
        if index is not None and answer in choices and choices[index] != answer:
            raise ValueError(
                f"answer: {answer!r} is an index and another choice's text; write the letter"
            )
        letter = LETTERS[: len(choices)].find(answer.upper()) if len(answer) == 1 else -1
        answer = index if index is not None else letter if letter >= 0 else answer
    if answer in choices:
        answer = choices.index(answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise ValueError(
            f"answer: {row['answer']!r} is none of the {len(choices)} choices (index from 0, letter or text)"
        )
    return answer
