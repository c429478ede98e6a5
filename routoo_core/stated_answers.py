"""What an answer says: the letter it chooses, the number it ends in, the code it contains."""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Sequence

LETTERS = string.ascii_uppercase

_THOUGHTS = re.compile(r"<think>.*?(</think>|$)", re.S)
# Fences in pairs, so that the end of one block never begins another. One in the middle of a line begins a block only
# where the line ends with it; a block that is not closed goes on to the end.
_FENCED = re.compile(
    r"(?:`{3,}+[^`\n]++`{3,}+)"
    r"|(?P<before>^[ \t>*+\d.)-]*+)?(?P<fence>`{3,}+|~{3,}+)[ \t]*+(?P<tag>[\w+#.-]*+)(?(before)[^\n`]*+|[ \t]*+)\n"
    r"(?P<body>.*?)(?:(?P=fence)[`~]*+[ \t]*+$|\Z)",
    re.M | re.S,
)
_PYTHON_TAGS = frozenset({"python", "py", "python3"})

# Possessive quantifiers keep the search linear in the answer's length.
_MARKS = r"[\s*_`\"'(\[{$\\]*+"  # Markdown, brackets and LaTeX around a letter
_MARKS_IN_LINE = r"(?:[^\S\n]|[*_`\"'(\[{$\\])*+"
_STATED_LETTER = re.compile(
    r"(?:\b(?:answer|choice|option)\b(?:\s++(?:is|would be|must be|should be))?"
    r"|\\boxed|\bchoose|\bpick)"
    rf"{_MARKS}[:=]?{_MARKS}(?:(?:text|option|choice|letter)\b{_MARKS})?"
    r"(?P<letter>[A-Z])(?![\w'’])(?P<more>\s*+(?:,|/|&|\bor\b|\band\b)\s*\(?[A-Z](?![\w'’]))?",
    re.I,
)
_LEADING_LETTER = re.compile(
    rf"^{_MARKS_IN_LINE}(?P<letter>[A-Z])(?:[).:\]*`\"']|[^\S\n]*+$)", re.M | re.I
)
_LONE_LETTER = re.compile(r"(?<![\w'’])(?<!not )[A-Z](?![\w'’])")
_AFTER_ARTICLE = re.compile(r"\s+[a-z]")
_AFTER_SMALL_LETTER = re.compile(r"\s*([).:\]}*`\"',]|$)")

_NUMBER = re.compile(
    r"(?:(?<![\w.])-)?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?"
    r"(?:[eE][-+]?\d+)?(?:\s*+/\s*+\d+)?"
)
_STATED_NUMBER = re.compile(
    r"(?:####|\\boxed\s*\{|\banswer\b(?:\s++is)?\s*+[:=]?)(?P<rest>[^\n]*)", re.I
)


def without_thoughts(text: str) -> str:
    """An answer without what a model thought aloud (``<think>``) before it."""
    return _THOUGHTS.sub("", text)


def extract_code(text: str) -> str:
    """The blocks of an answer tagged as Python, else those without a tag; the whole answer where it has neither."""
    tagged = []
    untagged = []
    for match in _FENCED.finditer(text):
        if match["fence"] is None:
            continue  # a fence and its end in one line
        body = textwrap.dedent(match["body"]) if match["before"] else match["body"]
        if match["tag"].casefold() in _PYTHON_TAGS:
            tagged.append(body)
        elif not match["tag"]:
            untagged.append(body)
    blocks = tagged or untagged
    return "\n\n".join(blocks) if blocks else text


def normalise_answer(text: str) -> str:
    """A text to compare by: lower case, single spaces, no outer punctuation."""
    words = text.casefold().split()
    return " ".join(words).strip(string.punctuation + " ")


# Letters


def find_letter(text: str, choices: Sequence[str]) -> str | None:
    """The letter that an answer chooses; ``None`` where it chooses none, or two.

    What is stated to be the answer counts first. Next are a line that starts with a letter, a
    choice's own words, and the only letter that stands alone.
    """
    letters = LETTERS[: len(choices)]
    statements = [match for match in _STATED_LETTER.finditer(text) if _is_choice(match, letters)]
    if statements:
        last = statements[-1]
        return None if last["more"] else _letter_of(last)

    leading = _leading_letters(text, letters)
    if len(leading) == 1:
        return leading.pop()
    if leading and _starts_with_letter(text, letters):
        return None  # the answer repeats the choices instead of choosing one

    index = _only_choice_in_words(text, choices)
    if index is not None:
        return letters[index]

    lone: set[str] = set(_LONE_LETTER.findall(text)) & set(letters)
    if len(lone) == 1 and not lone <= {"A", "I"}:  # they may be words
        return lone.pop()
    return None


def _letter_of(match: re.Match[str]) -> str:
    letter: str = match["letter"]
    return letter.upper()


def _is_choice(match: re.Match[str], letters: str) -> bool:
    """Whether a stated letter is a choice, and neither the article nor part of a sentence."""
    letter: str = match["letter"]
    if letter.upper() not in letters:
        return False
    if match["more"] is not None:
        return True

    end = match.end("letter")
    if letter in "aA" and _AFTER_ARTICLE.match(match.string, end):
        return False
    return letter.isupper() or _AFTER_SMALL_LETTER.match(match.string, end) is not None


def _leading_letters(text: str, letters: str) -> set[str]:
    """The choices' letters that lines start with."""
    leading = {_letter_of(match) for match in _LEADING_LETTER.finditer(text)}
    return leading & set(letters)


def _starts_with_letter(text: str, letters: str) -> bool:
    match = _LEADING_LETTER.match(text.lstrip())
    return match is not None and _letter_of(match) in letters


def _only_choice_in_words(text: str, choices: Sequence[str]) -> int | None:
    """The index of the only choice that is the answer, else of the only one that it mentions."""
    answer = normalise_answer(text)
    equal = []
    mentions = []
    for index, choice in enumerate(choices):
        if normalise_answer(choice) == answer:
            equal.append(index)
        if _mentions(text, choice):
            mentions.append(index)

    candidates = equal or mentions
    return candidates[0] if len(candidates) == 1 else None


def _mentions(text: str, choice: str) -> bool:
    words = re.escape(choice.lower())
    match = re.search(rf"(?<!\w){words}(?!\w)", text.lower())
    return match is not None


# Numbers


def find_number(text: str) -> float | None:
    """The number stated to be the answer, else the last: ``find_number("so 1,250.50") == 1250.5``."""
    for match in reversed(list(_STATED_NUMBER.finditer(text))):
        statement = find_numbers(match["rest"])
        if statement:
            return _parse_number(statement[0])

    numbers = find_numbers(text)
    return _parse_number(numbers[-1]) if numbers else None


def find_numbers(text: str) -> list[str]:
    """The numbers of a text as written: ``find_numbers("1/2 of 1,250") == ["1/2", "1,250"]``."""
    return _NUMBER.findall(text)


def _parse_number(number: str) -> float:
    """The value of a number or a fraction; a fraction of zero counts as its numerator."""
    numerator, _, denominator = number.replace(",", "").partition("/")
    value = float(numerator)
    if denominator and float(denominator):
        value /= float(denominator)
    return value
