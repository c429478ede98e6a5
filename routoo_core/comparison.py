"""Whether two replies say the same: the choice, number, label or JSON that each one states, or what its code gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from routoo_core.answer import Answer
from routoo_core.request import RoutedRequest
from routoo_core.sandbox.probes import results_digest
from routoo_core.stated_answers import (
    LETTERS,
    extract_code,
    find_letter,
    find_number,
    normalise_answer,
    without_thoughts,
)
from routoo_core.text import parse_standard_json

Form = Literal["choice", "number", "label", "json", "code"]
"""What replies are compared by."""

_CHOICE = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]+(\S.*?)[ \t]*$", re.M)
_SEVERAL_MAY_BE_CHOSEN = re.compile(
    r"\b(all that apply|all (the )?correct|which of these are)\b", re.I
)
_OUTLINE = re.compile(r"\b(write|outline|draft|summari[sz]e|translate|rewrite)\b", re.I)
_ABOUT_LETTER = re.compile(r"\b(answer|letter|choice|choose|option|select|reply|respond)\b", re.I)
_ASKS_FOR_NUMBER = re.compile(
    r"\bhow (many|much)\b|\b(what is|find|determine|calculate|compute|evaluate) the (\w+ ){0,3}"
    r"(number|value|sum|product|difference|total|average|probability|distance|area|volume|length|remainder)\b",
    re.I,
)
_ASKS_FOR_WORDS = re.compile(
    r"\b(write|explain|describe|discuss|recommend|design|implement|function|code|program|script|essay|story|poem|"
    r"in detail|why)\b",
    re.I,
)
_STATES_NUMBER = re.compile(
    r"\d|\b(two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|half|twice|double)\b",
    re.I,
)
_PLAIN_NUMBER = r"(?P<number>\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?)"
_MINUS_SIGNS = ("-", "−", "–")
_BOXED = re.compile(r"\\boxed\s*\{(.*)\}")
_STATEMENT = re.compile(
    r"(?:\b(?:is|are|was|equals|gives|makes|total of|answer)\b|[=:≈]|####)\s*[*_$\\({\[]*"
    rf"(?P<sign>[-−–+]\s*)?(?P<currency>[$€£])?{_PLAIN_NUMBER}"
    r"(?P<rest>[*_$\\)}\]]*\s*(?:%|[A-Za-z°]+)?)",
    re.I,
)
_LONE_NUMBER = re.compile(rf"[-−–]?\s*[$€£]?{_PLAIN_NUMBER}\s*(?P<rest>%|[A-Za-z°]+)?[.!]?")
_SCALES_AND_UNITS = frozenset(
    {
        "%", "percent", "hundred", "thousand", "million", "billion", "trillion", "dozen", "k", "m", "bn",
        "km", "kilometers", "kilometres", "miles", "mi", "meters", "metres", "cm", "mm", "feet", "ft", "inches",
        "kg", "g", "grams", "pounds", "lb", "lbs", "hours", "hour", "h", "minutes", "min", "seconds", "s", "days",
        "weeks", "months", "years", "cents", "pi", "x", "sqrt",
    }
)  # fmt: skip
"""Words behind a number that change it: two numbers with different ones are not equal."""
_NUMBER = re.compile(rf"{_PLAIN_NUMBER}(?P<rest>[*_$]*\s*(?:%|[A-Za-z°]+)?)")
_LONGEST_LABEL = 80
"""Characters; a longer answer is a text, and no two texts are alike."""
_DIGITS = 9
"""Numbers that agree in so many significant digits are equal."""
_FEWEST_CHOICES = 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the replies to one prompt are compared.

    Attributes:
        form: What they state.
        choices: The prompt's choices in order, for the form ``choice``.
        probes: Python expressions that are evaluated after the code of each reply, for the form ``code``.
    """

    form: Form
    choices: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()

    def statement(self, answer: Answer) -> str | None:
        """What a reply states, in a form that can be compared; ``None`` where it states nothing of the kind.

        A reply that was cut or refused states nothing. Code is run in the sandbox, which may take seconds.

        Raises:
            ConfigurationError: The form is ``code``, and no sandbox can be made here.
        """
        if not answer.is_whole:
            return None
        text = without_thoughts(answer.text)
        if self.form == "choice":
            return find_letter(text, self.choices)
        if self.form == "code":
            return results_digest(extract_code(text), self.probes)
        return _READERS[self.form](text)


def comparison_of(request: RoutedRequest, form: Form | None = None) -> Comparison | None:
    """How replies to a call are compared; ``None`` where they cannot be.

    Args:
        request: The call.
        form: What they state, where that is known; else it is read off the call, and is never ``code``.
    """
    if form == "code":
        probes: tuple[str, ...] = request.overrides.probes
        return Comparison("code", probes=probes) if probes else None
    if form == "choice" or form is None:
        choices = find_choices(request.text)
        if len(choices) >= _FEWEST_CHOICES:
            return Comparison("choice", choices)
    if form is not None:
        return None if form == "choice" else Comparison(form)
    if request.form.is_json:
        return Comparison("json")
    return Comparison("number") if _asks_for_number(request.text) else None


def _asks_for_number(prompt: str) -> bool:
    """Whether a prompt asks for a number that its own numbers lead to, and for no words beside it."""
    if _ASKS_FOR_WORDS.search(prompt) or not _ASKS_FOR_NUMBER.search(prompt):
        return False
    return _STATES_NUMBER.search(prompt) is not None


def find_choices(prompt: str) -> tuple[str, ...]:
    """The choices of a prompt that lists them once, as A, B, C and so on, and asks to choose one; else empty."""
    if _SEVERAL_MAY_BE_CHOSEN.search(prompt):
        return ()
    choices: list[str] = []
    first = 0
    end = 0
    for match in _CHOICE.finditer(prompt):
        if match[1] == "A" and choices:
            return ()  # two lists
        if len(choices) < len(LETTERS) and match[1] == LETTERS[len(choices)]:
            first = first if choices else match.start()
            choices.append(match[2])
            end = match.end()
    if _OUTLINE.search(prompt[:first]):
        return ()
    behind = prompt[end:].strip()
    if behind and not _ABOUT_LETTER.search(behind):
        return ()  # somebody goes on from there
    return tuple(choices)


def _read_number(text: str) -> str | None:
    """The number that a reply states last, with its sign and what changes it; ``None`` where that is not plain."""
    boxed = _BOXED.findall(text)
    if boxed:
        return "".join(boxed[-1].split()) or None
    alone = _LONE_NUMBER.fullmatch(text.strip().strip("*_$ "))
    if alone is not None:
        return _number_statement(text.strip().startswith(_MINUS_SIGNS), alone)
    statements = list(_STATEMENT.finditer(text))
    if not statements:
        return _only_number(text)
    last = statements[-1]
    sign = last["sign"] or ""
    return _number_statement(sign.strip() in _MINUS_SIGNS, last)


def _number_statement(is_negative: bool, match: re.Match[str]) -> str | None:
    number = find_number(match["number"])
    if number is None:
        return None
    word = (match["rest"] or "").strip("*_$\\)}] .").casefold()
    sign = "-" if is_negative and number else ""
    value = f"{sign}{number:.{_DIGITS}g}"
    return f"{value} {word}" if word in _SCALES_AND_UNITS else value


def _only_number(text: str) -> str | None:
    """The only number of a reply; ``None`` where it has several."""
    numbers = list(_NUMBER.finditer(text))
    if len(numbers) != 1:
        return None
    before = text[: numbers[0].start()].rstrip()
    return _number_statement(before.endswith(_MINUS_SIGNS), numbers[0])


def _read_label(text: str) -> str | None:
    label = normalise_answer(text)
    return label if 0 < len(label) <= _LONGEST_LABEL else None


def _read_json(text: str) -> str | None:
    try:
        return json.dumps(parse_standard_json(text.strip()), sort_keys=True)
    except ValueError:
        return None


_READERS: dict[Form, Callable[[str], str | None]] = {
    "number": _read_number,
    "label": _read_label,
    "json": _read_json,
}
