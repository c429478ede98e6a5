"""The form of seeds and of what an expert writes: ``##Question:``, ``##Choices:``, ``##Answer:``.

Seeds without choices have the form ``##Prompt:`` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from routoo_core.errors import OutcomesError
from routoo_core.prompts import read_prompts
from routoo_core.scoring.rows import GraderRow, read_choices, right_choice
from routoo_core.stated_answers import LETTERS
from routoo_core.tables import read_columns

_QUESTION = re.compile(
    r"\s*Question:\s*(?P<prompt>\S.*?)\s*##\s*Choices:\s*(?P<choices>\S.*?)\s*##\s*Answer:\s*\(?(?P<answer>[A-Z])\b[^\n]*\s*",
    re.S,
)
_CHOICE = re.compile(r"^(?P<letter>[A-Z])[.)]\s+(?P<text>\S.*?)\s*$", re.M)
_PROMPT = re.compile(r"\s*Prompt:\s*(?P<prompt>\S.*?)\s*", re.S)


@dataclass(frozen=True)
class Seed:
    """A prompt that more prompts are to be like.

    Attributes:
        prompt: Its text, without choices.
        domain: Its subject; empty where unknown.
        choices: Texts; empty for a prompt that is no multiple choice.
        answer: Index of the right choice.
    """

    prompt: str
    domain: str = ""
    choices: tuple[str, ...] = ()
    answer: int = 0

    def format(self) -> str:
        """The seed as it is shown."""
        if not self.choices:
            return f"##Prompt:\n{self.prompt}"
        lines = ["##Question:", self.prompt, "##Choices:"]
        for letter, text in zip(LETTERS, self.choices, strict=False):
            lines.append(f"{letter}. {text}")
        lines.append(f"##Answer: {LETTERS[self.answer]}")
        return "\n".join(lines)


@dataclass(frozen=True)
class SyntheticPrompt:
    """A prompt that an expert wrote.

    Attributes:
        prompt: Its text, without choices.
        choices: Texts; empty for a prompt that is no multiple choice.
        answer: Letter of the right choice.
    """

    prompt: str
    choices: tuple[str, ...] = ()
    answer: str = ""

    def to_dict(self) -> dict[str, object]:
        """Column → value, the choices as JSON."""
        if not self.choices:
            return {"prompt": self.prompt}
        choices = json.dumps(self.choices, ensure_ascii=False)
        return {"prompt": self.prompt, "choices": choices, "answer": self.answer}


def read_seeds(path: Path) -> list[Seed]:
    """Read prompts, with their choices where the table has the columns ``choices`` and ``answer``.

    Raises:
        OutcomesError: A choice or an answer that cannot be used; the message names file and row.
    """
    prompts = read_prompts(path)
    columns = read_columns(path, (), optional=("choices", "answer"))
    has_choices = set(columns) == {"choices", "answer"}

    seeds = []
    for row, text in enumerate(prompts.texts):
        seed = Seed(text, prompts.domains[row])
        if has_choices:
            values = {name: column[row] for name, column in columns.items()}
            seed = _with_choices(seed, values, f"{path}: row {row + 1}")
        seeds.append(seed)
    return seeds


def _with_choices(seed: Seed, values: GraderRow, position: str) -> Seed:
    """A seed with the choices and the answer of its row."""
    try:
        answer = right_choice(values)
        choices = read_choices(values)
    except ValueError as error:
        raise OutcomesError(f"{position}: {error}") from error
    return replace(seed, choices=tuple(choices), answer=answer)


def parse_reply(text: str, choices: int) -> Iterator[SyntheticPrompt | None]:
    """The prompts of a reply; ``None`` for each piece of another form.

    Args:
        text: The reply.
        choices: How many choices a question has; 0 for prompts that are no multiple choice.
    """
    heading = "Question" if choices else "Prompt"
    pieces = re.split(rf"##\s*(?={heading}:)", text)
    for piece in pieces[1:]:  # what comes before the first is talk
        if choices:
            yield _parse_question(piece, choices)
        else:
            yield _parse_prompt(piece)


def _parse_question(piece: str, choices: int) -> SyntheticPrompt | None:
    question = _QUESTION.fullmatch(piece)
    if question is None or "##" in question["prompt"]:
        return None

    letters = ""
    texts: list[str] = []
    for letter, text in _CHOICE.findall(question["choices"]):
        letters += letter
        texts.append(text)
    lines = [line for line in question["choices"].splitlines() if line.strip()]

    is_complete = letters == LETTERS[:choices] and len(lines) == choices
    are_different = len(set(texts)) == len(texts)
    answer = question["answer"]
    if not is_complete or not are_different or answer not in letters:
        return None
    return SyntheticPrompt(question["prompt"], tuple(texts), answer)


def _parse_prompt(piece: str) -> SyntheticPrompt | None:
    prompt = _PROMPT.fullmatch(piece)
    if prompt is None or "##" in prompt["prompt"]:
        return None
    return SyntheticPrompt(prompt["prompt"])
