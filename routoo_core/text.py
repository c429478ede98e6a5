"""Words, fingerprints and choices in a text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import OutcomesError

_LETTERED = re.compile(r"^\(?[A-Z][.):] ", re.M)


_CHOICES = re.compile(r"\n\(?A[.):] .+\n\(?B[.):] .+(\n.*)*$")


def question_fingerprint(text: str) -> int:
    """64 bits of a SHA-256 of the words, whatever their case and the signs between them."""
    return int.from_bytes(hashlib.sha256(" ".join(words_of(text)).encode()).digest()[:8])


def question_fingerprints(texts: Sequence[str]) -> NDArray[np.uint64]:
    """:func:`question_fingerprint` of each."""
    return np.array([question_fingerprint(text) for text in texts], dtype=np.uint64)


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def without_choices(text: str) -> str:
    """The question alone, when lettered choices (``A. …``) stand on its last lines; else the text as it is."""
    found = _CHOICES.search(text)
    return text[: found.start()].rstrip() if found and text[: found.start()].strip() else text


def without_letters(text: str) -> str:
    """The text with its lettered choices (``A. …``) as plain lines."""
    found = _CHOICES.search(text)
    return text[: found.start()] + _LETTERED.sub("", found.group()) if found else text


def parse_choices(choices: Any) -> list[str]:
    """The texts of a column ``choices``: a list, JSON's form of one, or nothing.

    Raises:
        OutcomesError: It is something else.
    """
    try:
        parsed = (
            json.loads(choices) if isinstance(choices, str) and choices.strip() else choices or []
        )
    except ValueError as error:
        raise OutcomesError(
            f'choices: {choices!r} is no list; write it as JSON, ["one", "two"]'
        ) from error
    if not isinstance(parsed, list):
        raise OutcomesError(f'choices: {choices!r} is no list; write it as JSON, ["one", "two"]')
    return [str(choice) for choice in parsed]


def choices_listed(text: str) -> int:
    """How many lettered choices stand on the last lines; 0 for an open question."""
    found = _CHOICES.search(text)
    return len(_LETTERED.findall(found.group())) if found else 0


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that is there a second time; ``None`` where all differ."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
