"""``routoo data paraphrase``: an expert rewords prompts, to see whether a router's choice hangs on the wording."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from routoo_core.asking.calls import Answer, Chat, NoAnswer
from routoo_core.data.rows import PromptRow, draw_rows, read_prompt_rows
from routoo_core.data.writing import Writer, WrittenPrompts, count_missing
from routoo_core.errors import OutcomesError
from routoo_core.prompts import split_of
from routoo_core.stated_answers import find_numbers, without_thoughts
from routoo_core.text import choices_listed, without_choices, words_of

TEMPERATURE = 0.7
FAULTS = (
    "cut_off",
    "empty",
    "same_words",
    "changed_numbers",
    "changed_choices",
    "added_paragraphs",
)
"""Why a reply is not used, the first that holds; an added paragraph is a preamble, a comment or an answer."""

_COPIED_COLUMNS = ("domain", "split", "licence")  # that hold for the paraphrase as well

# Beside one token for each character: models that think aloud do so before they write.
_SPARE_TOKENS = 512

_INSTRUCTIONS = (
    "Below is a text that somebody wrote to an assistant. Write it in other words, as somebody else might have put it: "
    "in the same language and with the same meaning, with every number, name, formula, quotation and piece of code as "
    "it is. Add nothing, leave nothing out, and do not answer it."
)
_CHOICES_STAY = " The choices that follow it are not shown and stay as they are."
_END = " Write just the new wording."

_SEPARATORS = re.compile(r"[,\s]")
_BLANK_LINES = re.compile(r"\n\s*\n")


def read_dev_prompts(path: Path, count: int, seed: int) -> list[PromptRow]:
    """Draw at most ``count`` of the ``dev`` prompts, those that ``routoo evaluate`` measures on.

    Without a column split they are those that a hash of the question deals out, as everywhere. Fewer drawn with the
    same seed are part of more.

    Raises:
        OutcomesError: The table cannot be read, or no prompt of it is ``dev``.
    """
    rows = []
    for row in read_prompt_rows(path):
        side = row.get("split") or split_of(row.prompt)
        if side == "dev":
            rows.append(row)
    if not rows:
        raise OutcomesError(
            f"{path}: split: no prompt is 'dev'; write the column anew with routoo data split"
        )
    return draw_rows(rows, count, seed)


def paraphrase_prompts(rows: Sequence[PromptRow], writer: Writer) -> WrittenPrompts:
    """Ask an expert for each prompt in other words; what it answered before is not asked again.

    It is shown the question alone: lettered choices are put back under its words as they are.

    Args:
        rows: The prompts; a paraphrase has the ``prompt_id`` of its prompt.
        writer: Who writes.
    """
    calls = [paraphrase_request(row.prompt, writer.expert.max_output_tokens) for row in rows]
    answers = writer.ask_all(calls)

    paraphrases = []
    fault_counts = dict.fromkeys(FAULTS, 0)
    for row, call, answer in zip(rows, calls, answers, strict=True):
        if isinstance(answer, NoAnswer):
            continue
        wording = without_thoughts(answer.text).strip()
        fault = "cut_off" if _is_cut_off(answer, call) else find_fault(row.prompt, wording)
        if fault:
            fault_counts[fault] += 1
        else:
            paraphrases.append(_paraphrase_row(row, wording))
    return WrittenPrompts(paraphrases, fault_counts, count_missing(answers), writer.asker.spent)


def paraphrase_request(prompt: str, max_tokens: int) -> Chat:
    """The request for a paraphrase of a prompt, always in the same words; the reply has at most ``max_tokens``."""
    question = without_choices(prompt)
    instructions = _INSTRUCTIONS
    if _choices_below(prompt):
        instructions += _CHOICES_STAY
    instructions += _END

    message = ("user", f"{instructions}\n\n{question}")
    limit = min(max_tokens, len(question) + _SPARE_TOKENS)
    return Chat((message,), limit, TEMPERATURE)


def find_fault(prompt: str, wording: str) -> str | None:
    """Why a wording is no paraphrase of a prompt's question, one of ``FAULTS``; ``None`` where it may be one.

    Args:
        prompt: With its choices.
        wording: Without them.
    """
    question = without_choices(prompt)
    if not wording:
        return "empty"
    if words_of(wording) == words_of(question):
        return "same_words"
    if _count_numbers(wording) != _count_numbers(question):
        return "changed_numbers"
    if choices_listed(wording + _choices_below(prompt)) != choices_listed(prompt):
        return "changed_choices"
    if _count_paragraphs(wording) > _count_paragraphs(question):
        return "added_paragraphs"
    return None


def _is_cut_off(answer: Answer, call: Chat) -> bool:
    """Whether a reply is as long as it may be; not known where the endpoint reports no usage."""
    if answer.completion_tokens is None:
        return False
    return answer.completion_tokens >= call.max_tokens


def _paraphrase_row(row: PromptRow, wording: str) -> dict[str, object]:
    values: dict[str, object] = {
        "prompt_id": row.prompt_id,
        "prompt": wording + _choices_below(row.prompt),
    }
    for column in _COPIED_COLUMNS:
        if column in row.values:
            values[column] = row.values[column]
    return values


def _choices_below(prompt: str) -> str:
    """The lettered choices of a prompt, with the space before them."""
    question = without_choices(prompt)
    return prompt[len(question) :]


def _count_numbers(text: str) -> Counter[str]:
    """Number, without the signs between its digits → how often."""
    counts: Counter[str] = Counter()
    for number in find_numbers(text):
        digits = _SEPARATORS.sub("", number)
        counts[digits] += 1
    return counts


def _count_paragraphs(text: str) -> int:
    paragraphs = _BLANK_LINES.split(text.strip())
    return len(paragraphs)
