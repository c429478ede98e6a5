"""Words, fingerprints and lettered choices in a text, and texts that can be encoded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import OutcomesError

_FINGERPRINT_BYTES = 8
_LETTER = re.compile(r"^\(?[A-Z][.):] ", re.M)
"""Opens a choice: ``A. ``, ``B) ``, ``(C) ``."""
_CHOICES = re.compile(r"\n\(?A[.):] .+\n\(?B[.):] .+(\n.*)*$")
"""Lettered choices, and everything after them."""
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that set the direction of writing."""


# Words


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def first_duplicate(names: Iterable[str]) -> str | None:
    """The first name that is there a second time; ``None`` where all differ."""
    before: set[str] = set()
    for name in names:
        if name in before:
            return name
        before.add(name)
    return None


# Texts that can be encoded


def well_formed(text: str) -> str:
    r"""The text, its lone surrogates (``"\ud83d"``) as U+FFFD: no encoding of Unicode has them, and no provider.

    Two surrogates that belong together become the character they stand for.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def shown_text(text: str) -> str:
    r"""A text as people are shown it: what would steer a terminal or turn its letters round is written as an escape.

    >>> shown_text("alice\x1b[2J")
    'alice\\x1b[2J'
    """
    if text.isascii() and text.isprintable():
        return text
    return _STEERING.sub(_escape, well_formed(text))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def well_formed_value(value: Any) -> Any:
    """A value of JSON with every text in it well formed; the same object where every text is already."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return _well_formed_object(value)
    if isinstance(value, list):
        items = [well_formed_value(item) for item in value]
        is_same = all(map(is_, items, value))
        return value if is_same else items
    return value


def _well_formed_object(value: dict[Any, Any]) -> dict[Any, Any]:
    new_object = {}
    is_same = True
    for name, item in value.items():
        new_name = well_formed_value(name)
        new_item = well_formed_value(item)
        is_same = is_same and new_name is name and new_item is item
        new_object[new_name] = new_item
    return value if is_same else new_object


# Fingerprints


def question_fingerprint(text: str) -> int:
    """64 bits of a SHA-256 of the words, whatever their case and the signs between them."""
    words = " ".join(words_of(text))
    digest = hashlib.sha256(words.encode()).digest()
    return int.from_bytes(digest[:_FINGERPRINT_BYTES])


def question_fingerprints(texts: Sequence[str]) -> NDArray[np.uint64]:
    """:func:`question_fingerprint` of each, (texts,)."""
    fingerprints = [question_fingerprint(text) for text in texts]
    return np.array(fingerprints, dtype=np.uint64)


# JSON


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is no JSON, or nested too deeply to be read.
    """
    return _parse_json(text, None)


def parse_standard_json(text: str | bytes) -> Any:
    """:func:`parse_json` without what Python alone reads: ``NaN`` and infinities.

    Raises:
        ValueError: As there, or one of these.
    """
    return _parse_json(text, _refuse_constant)


def _parse_json(text: str | bytes, parse_constant: Callable[[str], Any] | None) -> Any:
    try:
        return json.loads(text, parse_constant=parse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of JSON")


# Lettered choices


def without_choices(text: str) -> str:
    """The question alone, when lettered choices (``A. …``) stand on its last lines; else the text as it is."""
    choices = _CHOICES.search(text)
    if choices is None:
        return text
    stem = text[: choices.start()]
    return stem.rstrip() if stem.strip() else text


def without_letters(text: str) -> str:
    """The text with its lettered choices (``A. …``) as plain lines."""
    choices = _CHOICES.search(text)
    if choices is None:
        return text
    return text[: choices.start()] + _LETTER.sub("", choices.group())


def choices_listed(text: str) -> int:
    """How many lettered choices stand on the last lines; 0 for an open question."""
    choices = _CHOICES.search(text)
    if choices is None:
        return 0
    return len(_LETTER.findall(choices.group()))


def parse_choices(choices: Any) -> list[str]:
    """The texts of a column ``choices``: a list, JSON's form of one, or nothing.

    Raises:
        OutcomesError: It is something else.
    """
    if not choices:
        return []

    names = choices
    if isinstance(choices, str) and choices.strip():
        try:
            names = parse_json(choices)
        except ValueError as error:
            raise _no_list_of_choices(choices) from error
    if not isinstance(names, list):
        raise _no_list_of_choices(choices)
    return [str(choice) for choice in names]


def _no_list_of_choices(choices: Any) -> OutcomesError:
    return OutcomesError(f'choices: {choices!r} is no list; write it as JSON, ["one", "two"]')
