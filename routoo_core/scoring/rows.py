"""A row of a table of prompts, as graders read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routoo_core.stated_answers import LETTERS
from routoo_core.text import parse_choices

GraderRow = Mapping[str, Any]
"""One prompt: ``prompt_id``, ``prompt``, and whatever columns its grader needs."""


def read_choices(row: GraderRow) -> list[str]:
    """The texts of a row's ``choices``, a list or its JSON form.

    Raises:
        ValueError: They are not a list of 2 to 26 texts.
    """
    choices = parse_choices(row["choices"])
    if not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"choices: give a list of 2 to {len(LETTERS)} texts")
    return choices


def right_choice(row: GraderRow) -> int:
    """Index of the right choice; ``answer`` is an index from 0, a letter or the text.

    Raises:
        ValueError: It is none of the choices.
    """
    choices = read_choices(row)
    answer = row["answer"]

    index = None
    if isinstance(answer, str):
        index = _choice_index(answer, choices)
    elif isinstance(answer, int) and not isinstance(answer, bool):
        index = answer

    if index is None or not 0 <= index < len(choices):
        raise ValueError(
            f"answer: {answer!r} is none of the {len(choices)} choices "
            "(index from 0, letter or text)"
        )
    return index


def _choice_index(answer: str, choices: Sequence[str]) -> int | None:
    """The choice that a text names: by its index, else by its letter, else by its words."""
    if answer.isdecimal() and int(answer) < len(choices):
        index = int(answer)
        if answer in choices and choices[index] != answer:
            raise ValueError(
                f"answer: {answer!r} is an index and another choice's text; write the letter"
            )
        return index

    letters = LETTERS[: len(choices)]
    if len(answer) == 1 and answer.upper() in letters:
        return letters.index(answer.upper())
    if answer in choices:
        return choices.index(answer)
    return None
