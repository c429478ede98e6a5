"""What an answer says: the letter it chooses, the number it ends in, the code it holds."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

LETTERS = string.ascii_uppercase
_THOUGHTS = re.compile(r"<think>.*?(</think>|$)", re.S)
_MARKS = r"[\s*_`\"'(\[{$\\]*"  # Markdown, brackets and LaTeX around a letter
_SAID = re.compile(
    r"(?:\b(?:answer|choice|option)\b(?:\s+(?:is|would be|must be|should be))?|\\boxed|\bchoose|\bpick)"
    rf"{_MARKS}[:=]?{_MARKS}(?:(?:text|option|choice|letter)\b{_MARKS})?"
    r"(?P<letter>[A-Z])(?![\w'’])(?P<more>\s*(?:,|/|&|\bor\b|\band\b)\s*\(?[A-Z](?![\w'’]))?",
    re.I,
)
_OPENS = re.compile(rf"^{_MARKS}(?P<letter>[A-Z])(?:[).:\]*`\"']|\s*$)", re.M | re.I)
_ALONE = re.compile(r"(?<![\w'’])(?<!not )[A-Z](?![\w'’])")
_NUMBER = re.compile(
    r"(?:(?<![\w.])-)?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?(?<=[\d])(?:\s*/\s*\d+)?"
)
_FINAL_NUMBER = re.compile(
    r"(?:####|\\boxed\s*\{|\banswer\b(?:\s+is)?\s*[:=]?)(?P<rest>[^\n]*)", re.I
)
_CODE = re.compile(r"```(?:python|py)?\s*\n(.*?)(?:```|$)", re.S)


def without_thoughts(text: str) -> str:
    """An answer without what a model thought aloud before it."""
    return _THOUGHTS.sub("", text)


def extract_code(text: str) -> str:
    """The code blocks of an answer; all of it where it has none."""
    blocks = _CODE.findall(text)
    return "\n\n".join(blocks) if blocks else text


def find_letter(text: str, choices: Sequence[str]) -> str | None:
    """The letter an answer chooses; ``None`` where it chooses none, or two.

    What is said to be the answer counts first, then a line that opens with a letter, then a choice's own words, then
    the only letter that stands alone.
    """
    allowed = LETTERS[: len(choices)]
    said = [found for found in _SAID.finditer(text) if _is_letter(found, allowed)]
    if said:
        return None if said[-1]["more"] else said[-1]["letter"].upper()
    opening = {found["letter"].upper() for found in _OPENS.finditer(text)} & set(allowed)
    if opening and (first := _OPENS.match(text)) and first["letter"].upper() in allowed:
        return first["letter"].upper() if len(opening) == 1 or not _lists(text, allowed) else None
    if len(opening) == 1:
        return opening.pop()
    named = [
        i for i, choice in enumerate(choices) if normalise_answer(choice) == normalise_answer(text)
    ]
    named = named or [i for i, choice in enumerate(choices) if _mentions(text, choice)]
    if len(named) == 1:
        return allowed[named[0]]
    alone = set(_ALONE.findall(text)) & set(allowed)
    return alone.pop() if len(alone) == 1 and alone != {"A"} else None


def _is_letter(found: re.Match[str], allowed: str) -> bool:
    """Whether what follows "the answer is" is a choice's letter and not the article."""
    letter, rest = found["letter"], found.string[found.end("letter") :]
    article = letter in "aA" and re.match(r"\s+[a-z]", rest) is not None and found["more"] is None
    small = (
        letter.islower()
        and re.match(r"\s*([).:\]}*`\"',]|$)", rest) is None
        and found["more"] is None
    )
    return letter.upper() in allowed and not article and not small


def _lists(text: str, allowed: str) -> bool:
    """Whether the answer repeats the choices instead of choosing."""
    return len({found["letter"].upper() for found in _OPENS.finditer(text)} & set(allowed)) > 1


def _mentions(text: str, choice: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(choice.lower())}(?!\w)", text.lower()) is not None


def find_number(text: str) -> float | None:
    """The number that is said to be the answer, else the last one: ``find_number("so $1,250.50") == 1250.5``."""
    said = [found["rest"] for found in _FINAL_NUMBER.finditer(text)]
    for part in (*reversed(said), text):
        if numbers := find_numbers(part):
            return _number(numbers[0 if part is not text else -1])
    return None


def find_numbers(text: str) -> list[str]:
    """The numbers of a text as they are written: ``find_numbers("1/2 of $1,250.50") == ["1/2", "1,250.50"]``."""
    return [found for found in _NUMBER.findall(text) if found]


def _number(written: str) -> float:
    top, _, bottom = written.replace(",", "").partition("/")
    value = float(top)
    return value / float(bottom) if bottom and float(bottom) else value


def normalise_answer(text: str) -> str:
    """A text in small letters, without outer punctuation and needless spaces: to compare texts by."""
    return " ".join(text.casefold().split()).strip(string.punctuation + " ")
