"""``routoo data synthesise``: an expert writes more prompts like the ones there are (paper §4.2, Appendix B).

Seeds with choices make multiple-choice questions as in the paper; seeds without make prompts of one's own domain, from
as few as a handful (in-domain augmentation, as RouteLLM's).
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Chat, NoAnswer
from routoo_core.data.writing import Written, ask_all, missing
from routoo_core.errors import OutcomesError
from routoo_core.experts import Expert
from routoo_core.progress import Progress
from routoo_core.prompts import read_prompts
from routoo_core.scoring.reading import LETTERS
from routoo_core.scoring.rows import GraderRow, read_choices, right_choice
from routoo_core.settings import Settings
from routoo_core.tables import read_columns
from routoo_core.text import words_of

_TOKENS_EACH = 160  # that a written question may take, with its choices
_QUESTION = re.compile(
    r"\s*Question:\s*(?P<prompt>\S.*?)\s*##\s*Choices:\s*(?P<choices>\S.*?)\s*##\s*Answer:\s*\(?(?P<answer>[A-Z])\b[^\n]*\s*",
    re.S,
)
_CHOICE = re.compile(r"^(?P<letter>[A-Z])[.)]\s+(?P<text>\S.*?)\s*$", re.M)
_PROMPT = re.compile(r"\s*Prompt:\s*(?P<prompt>\S.*?)\s*", re.S)


class Synthesis(Settings):
    """How much is asked for, and how.

    Attributes:
        requests: How often an expert is asked.
        each: Prompts asked for at once.
        seeds: Examples shown each time, drawn anew.
        temperature: 0–2.
        seed: Another one draws other examples.
    """

    requests: Annotated[int, Field(ge=1)] = 20
    each: Annotated[int, Field(ge=1)] = 10
    seeds: Annotated[int, Field(ge=1)] = 5
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    seed: int = 0


DROPPED = ("malformed", "repeated")
"""Pieces that have not just the form asked for; those with the same words as a seed or as an earlier one."""
PRESETS = {"default": Synthesis(), "paper": Synthesis(requests=200, each=100)}


def read_seeds(path: Path) -> list[GraderRow]:
    """Prompts with their ``choices``, ``answer`` and ``domain``, where the table has those columns.

    Raises:
        OutcomesError: A choice or an answer that cannot be used; the message names file and row.
    """
    prompts = read_prompts(path)
    optional = read_columns(path, (), optional=("choices", "answer"))
    rows: list[GraderRow] = [
        {
            "prompt_id": prompt_id,
            "prompt": text,
            "domain": domain,
            **dict(zip(optional, values, strict=True)),
        }
        for prompt_id, text, domain, *values in zip(
            prompts.ids, prompts.texts, prompts.domains, *optional.values(), strict=True
        )
    ]
    for number, row in enumerate(rows, start=1):
        if set(optional) != {"choices", "answer"}:
            continue
        try:
            right_choice(row)
        except ValueError as error:
            raise OutcomesError(f"{path}: row {number}: {error}") from error
    return rows


def request_of(
    rows: Sequence[GraderRow], number: int, settings: Synthesis, max_tokens: int
) -> tuple[Chat, str]:
    """The prompt of request ``number``, always the same for the same settings, and the subject it is about.

    Seeds are of one subject, where they have one and it has enough of them.
    """
    draw = random.Random(f"{settings.seed}-{number}")  # noqa: S311
    subject = draw.choice(rows)["domain"]
    same = [row for row in rows if row["domain"] == subject]
    if len(same) < settings.seeds:
        subject, same = "", list(rows)
    seeds = draw.sample(same, min(settings.seeds, len(same)))
    wanted = _wanted(seeds[0], settings.each, subject)
    shown = "\n\n".join(_shown(row) for row in seeds)
    which = f"This is set {number + 1} of {settings.requests}; make it unlike the others."
    text = f"{wanted} {which}\n\nSamples:\n\n{shown}\n\nWrite just the {settings.each}, in the form of the samples."
    return Chat(
        (("user", text),), min(max_tokens, _TOKENS_EACH * settings.each + 100), settings.temperature
    ), subject


def _wanted(row: GraderRow, each: int, subject: str) -> str:
    about = f" on {subject.replace('_', ' ')}" if subject else ""
    if _has_choices(row):
        return (
            f"Make up {each} difficult multiple-choice questions{about} of the kind shown in the samples. Each has "
            f"{len(read_choices(row))} choices, one of them right, and does not repeat a sample."
        )
    return (
        f"Below are prompts{about} that people send to an application. Make up {each} more that they might send: as "
        "various in topic, length and difficulty as the samples, and repeating none."
    )


def _shown(row: GraderRow) -> str:
    if not _has_choices(row):
        return f"##Prompt:\n{row['prompt']}"
    listed = "\n".join(
        f"{letter}. {text}" for letter, text in zip(LETTERS, read_choices(row), strict=False)
    )
    return f"##Question:\n{row['prompt']}\n##Choices:\n{listed}\n##Answer: {LETTERS[right_choice(row)]}"


def _has_choices(row: GraderRow) -> bool:
    return "choices" in row and "answer" in row


def parsed(text: str, like: GraderRow) -> Iterator[dict[str, Any] | None]:
    """The prompts of a reply, in the form of ``like``; ``None`` for each piece of another form."""
    head = "Question" if _has_choices(like) else "Prompt"
    for piece in re.split(rf"##\s*(?={head}:)", text)[1:]:
        yield _question(piece, len(read_choices(like))) if _has_choices(like) else _prompt(piece)


def _question(piece: str, choices: int) -> dict[str, Any] | None:
    found = _QUESTION.fullmatch(piece)
    if found is None:
        return None
    listed = _CHOICE.findall(found["choices"])
    letters, texts = "".join(letter for letter, _ in listed), [text for _, text in listed]
    lines = [line for line in found["choices"].splitlines() if line.strip()]
    whole = letters == LETTERS[:choices] and len(lines) == choices and len(set(texts)) == choices
    if not whole or found["answer"] not in letters or "##" in found["prompt"]:
        return None
    return {
        "prompt": found["prompt"],
        "choices": json.dumps(texts, ensure_ascii=False),
        "answer": found["answer"],
    }


def _prompt(piece: str) -> dict[str, Any] | None:
    found = _PROMPT.fullmatch(piece)
    return {"prompt": found["prompt"]} if found and "##" not in found["prompt"] else None


def synthesise(
    rows: Sequence[GraderRow],
    expert: Expert,
    settings: Synthesis,
    asker: Asker,
    progress: Progress,
    concurrency: int = 4,
) -> Written:
    """Ask ``expert`` for all sets; what it answered before is not asked again.

    The new prompts have ``prompt_id, prompt, benchmark, domain``, and ``choices, answer`` where the seeds have them.

    Args:
        rows: The seeds.
        expert: Who writes.
        settings: How much, and how.
        asker: Holds, settles and keeps.
        progress: Where the bar and the cost so far are shown.
        concurrency: Requests at once.
    """
    asked = [
        request_of(rows, number, settings, expert.max_output_tokens)
        for number in range(settings.requests)
    ]
    answers = ask_all(expert, [call for call, _ in asked], asker, progress, concurrency)
    new, dropped, seen = (
        list[dict[str, Any]](),
        dict.fromkeys(DROPPED, 0),
        {_words(row) for row in rows},
    )
    for (_, subject), answer in zip(asked, answers, strict=True):
        for item in () if isinstance(answer, NoAnswer) else parsed(answer.text, rows[0]):
            if item is None:
                dropped["malformed"] += 1
            elif (words := _words(item)) in seen:
                dropped["repeated"] += 1
            else:
                seen.add(words)
                name = hashlib.sha256(words.encode()).hexdigest()[:12]
                labels = {
                    "prompt_id": f"synthetic-{name}",
                    "benchmark": "synthetic",
                    "domain": subject,
                }
                new.append({**labels, **item})
    return Written(new, dropped, missing(answers), asker.spent)


def _words(row: GraderRow) -> str:
    return " ".join(words_of(str(row["prompt"]))) or str(row["prompt"])
