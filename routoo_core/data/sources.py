"""Public question sets on the Hugging Face hub. A new one is a function that reads its rows, and a line in SOURCES."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

HubRow = Mapping[str, Any]
"""A row of a question set, in the form that the set has."""


@dataclass(frozen=True)
class Question:
    """One question of a set.

    Attributes:
        text: With the passage it is about, without the choices.
        choices: Texts; empty for an open question.
        answer: Index of the right choice.
        domain: Its subject, where the set has one.
    """

    text: str
    choices: Sequence[str]
    answer: int
    domain: str = ""


@dataclass(frozen=True)
class Source:
    """A question set on the Hugging Face hub.

    Attributes:
        hub_id: Repository.
        licence: As its card says.
        read: A row of it → the question.
        subset: Configuration, or folder where the repository has none.
        splits: Which to take.
        revision: The hub's own conversion where the repository holds a script, which ``datasets`` no longer runs.
    """

    hub_id: str
    licence: str
    read: Callable[[HubRow], Question]
    subset: str | None = None
    splits: tuple[str, ...] = ("train", "validation", "test")
    revision: str | None = None


def read_arc(row: HubRow) -> Question:
    """``question, choices {text, label}, answerKey``; labels are letters or numbers."""
    choices = row["choices"]
    labels = list(choices["label"])
    answer = labels.index(row["answerKey"])
    return Question(row["question"], choices["text"], answer)


def read_openbookqa(row: HubRow) -> Question:
    """As ARC, with ``question_stem``."""
    return read_arc({**row, "question": row["question_stem"]})


def read_mctest(row: HubRow) -> Question:
    """``story, question, answer_options {A, B, C, D}, answer``."""
    options = row["answer_options"]
    letters = sorted(options)
    choices = [options[letter] for letter in letters]
    text = f"{row['story']}\n\n{row['question']}"
    answer = letters.index(row["answer"])
    return Question(text, choices, answer)


def read_race(row: HubRow) -> Question:
    """``article, question, options, answer``."""
    text = f"{row['article']}\n\n{row['question']}"
    answer = ascii_uppercase.index(row["answer"])
    return Question(text, row["options"], answer)


def read_truthfulqa(row: HubRow) -> Question:
    """``question, mc1_targets {choices, labels}``.

    The right choice always comes first; the choices are rotated by a hash of the question, so that it does not here.
    """
    question = row["question"]
    targets = row["mc1_targets"]
    digest = hashlib.sha256(question.encode()).digest()
    offset = digest[0] % len(targets["choices"])

    choices = _rotate(targets["choices"], offset)
    labels = _rotate(targets["labels"], offset)
    return Question(question, choices, labels.index(1))


def _rotate(values: Sequence[Any], offset: int) -> list[Any]:
    """The values from an offset on, then those before it."""
    return [*values[offset:], *values[:offset]]


def read_mmlu(row: HubRow) -> Question:
    """``question, subject, choices, answer``, an index."""
    answer = int(row["answer"])
    subject = row.get("subject") or ""
    return Question(row["question"], row["choices"], answer, str(subject))


_CONVERTED = "refs/convert/parquet"
_MCTEST_LICENCE = "Microsoft Research, see its card"

SOURCES = {
    "arc-challenge": Source("allenai/ai2_arc", "CC-BY-SA-4.0", read_arc, "ARC-Challenge"),
    "arc-easy": Source("allenai/ai2_arc", "CC-BY-SA-4.0", read_arc, "ARC-Easy"),
    "mctest-160": Source(
        "sagnikrayc/mctest", _MCTEST_LICENCE, read_mctest, "mc160", revision=_CONVERTED
    ),
    "mctest-500": Source(
        "sagnikrayc/mctest", _MCTEST_LICENCE, read_mctest, "mc500", revision=_CONVERTED
    ),
    "openbookqa": Source("allenai/openbookqa", "see its card", read_openbookqa, "main"),
    "race": Source("ehovy/race", "non-commercial research, see its card", read_race, "all"),
    "truthfulqa": Source(
        "truthfulqa/truthful_qa", "Apache-2.0", read_truthfulqa, "multiple_choice", ("validation",)
    ),
    "mmlu-dev": Source("cais/mmlu", "MIT", read_mmlu, "all", ("dev",)),
    "mmlu-test": Source("cais/mmlu", "MIT", read_mmlu, "all", ("test",)),
}
"""Name → question set."""

PAPER = tuple(name for name in SOURCES if not name.startswith("mmlu"))
"""Those that the paper collects (§4.2)."""
