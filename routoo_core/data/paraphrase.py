"""``routoo data paraphrase``: an expert says prompts in other words, to see whether a router keeps its mind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from routoo_core.asking.asker import Asker
from routoo_core.asking.calls import Chat, NoAnswer
from routoo_core.data.steps import Row, drawn, read_prompt_rows
from routoo_core.data.writing import Written, ask_all, missing
from routoo_core.errors import OutcomesError
from routoo_core.experts import Expert
from routoo_core.progress import Progress
from routoo_core.prompts import split_of
from routoo_core.scoring.reading import find_numbers, without_thoughts
from routoo_core.text import choices_listed, without_choices, words_of

TEMPERATURE = 0.7
DROPPED = (
    "cut_off",
    "empty",
    "same_words",
    "changed_numbers",
    "changed_choices",
    "added_paragraphs",
)
"""Why a reply is not used, the first that holds; an added paragraph is a preamble, a comment or an answer."""
KEPT = ("domain", "split", "licence")  # columns that hold for the paraphrase as well
_SPARE_TOKENS = (
    512  # beside one for each character: models that think aloud do so before they write
)
_WANTED = """
Below is a text that somebody wrote to an assistant. Write it in other words, as somebody else might have put it: in the
same language and with the same meaning, with every number, name, formula, quotation and piece of code as it is. Add
nothing, leave nothing out, and do not answer it.{choices} Write just the new wording.
"""
_CHOICES_STAY = " The choices that follow it are not shown and stay as they are."


def read_drawn(path: Path, count: int, seed: int) -> list[Row]:
    """At most ``count`` of the ``dev`` prompts, those that ``routoo evaluate`` measures on, at random.

    Without a column split they are those that a hash of the question deals out, as everywhere. Fewer drawn with the
    same seed are part of more.

    Raises:
        OutcomesError: The table cannot be read, or no prompt of it is ``dev``.
    """
    rows = [
        row
        for row in read_prompt_rows(path)
        if (row.get("split") or split_of(row["prompt"])) == "dev"
    ]
    if not rows:
        raise OutcomesError(
            f"{path}: split: no prompt is 'dev'; write the column anew with routoo data split"
        )
    kept = drawn(rows, count, seed)
    return [row for row in rows if row["prompt_id"] in kept]


def paraphrase(
    rows: Sequence[Row], expert: Expert, asker: Asker, progress: Progress, concurrency: int = 4
) -> Written:
    """Ask ``expert`` for each prompt in other words; what it answered before is not asked again.

    It is shown the question alone: lettered choices are put back under its words as they are.

    Args:
        rows: The prompts; a paraphrase has the ``prompt_id`` of its prompt.
        expert: Who writes.
        asker: Holds, settles and keeps.
        progress: Where the bar and the cost so far are shown.
        concurrency: Requests at once.
    """
    calls = [request_of(row["prompt"], expert.max_output_tokens) for row in rows]
    answers = ask_all(expert, calls, asker, progress, concurrency)
    new, dropped = list[Row](), dict.fromkeys(DROPPED, 0)
    for row, call, answer in zip(rows, calls, answers, strict=True):
        if isinstance(answer, NoAnswer):
            continue
        said, ended = (
            without_thoughts(answer.text).strip(),
            (answer.completion_tokens or 0) < call.max_tokens,
        )
        if why := fault(row["prompt"], said) if ended else "cut_off":
            dropped[why] += 1
        else:
            labels = {name: row[name] for name in KEPT if name in row}
            new.append(
                {"prompt_id": row["prompt_id"], "prompt": said + _below(row["prompt"]), **labels}
            )
    return Written(new, dropped, missing(answers), asker.spent)


def request_of(prompt: str, max_tokens: int) -> Chat:
    """What is asked about a prompt, always the same; the reply has at most ``max_tokens``."""
    stem = without_choices(prompt)
    wanted = (
        _WANTED.strip().replace("\n", " ").format(choices=_CHOICES_STAY if _below(prompt) else "")
    )
    return Chat(
        (("user", f"{wanted}\n\n{stem}"),), min(max_tokens, len(stem) + _SPARE_TOKENS), TEMPERATURE
    )


def fault(prompt: str, said: str) -> str | None:
    """Why ``said`` is no paraphrase of a prompt's question, one of ``DROPPED``; ``None`` where it may be one.

    Args:
        prompt: With its choices.
        said: Without them.
    """
    stem = without_choices(prompt)
    found = {
        "empty": not said,
        "same_words": words_of(said) == words_of(stem),
        "changed_numbers": _numbers(said) != _numbers(stem),
        "changed_choices": choices_listed(said + _below(prompt)) != choices_listed(prompt),
        "added_paragraphs": _paragraphs(said) > _paragraphs(stem),
    }
    return next((reason for reason, holds in found.items() if holds), None)


def _below(prompt: str) -> str:
    """The lettered choices of a prompt, with the space before them."""
    return prompt[len(without_choices(prompt)) :]


def _numbers(text: str) -> Counter[str]:
    return Counter(re.sub(r"[,\s]", "", number) for number in find_numbers(text))


def _paragraphs(text: str) -> int:
    return len(re.split(r"\n\s*\n", text.strip()))
