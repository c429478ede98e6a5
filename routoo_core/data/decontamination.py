"""``routoo data decontaminate``: no prompt to train on may be one that a router is judged by (paper §4.2).

The n-gram rule is datatrove's: a prompt that shares n words in a row with an evaluation prompt is out, whatever the
case, punctuation, accents and numbers. Its own pipeline is not used: its index is built only through lighteval and that
one's registry of tasks, and its English words need spaCy. Beyond it, evaluation prompts below n words count whole, and
MinHash finds what was lightly edited.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from routoo_core.data.steps import Row
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.text import parse_choices, without_choices, without_letters, words_of

if TYPE_CHECKING:
    from datasketch import MinHash

BANDS, ROWS = 42, 3  # of the MinHash index: of texts half of whose shingles agree it finds 99.6 %
_SHINGLE = 4  # bytes
_SHORTEST = 6  # words that an evaluation prompt counts whole from
_QUESTION = 8  # words that a question counts without its choices from
Shingles = NDArray[np.uint32]
Report = Callable[[int], None]


@dataclass(frozen=True)
class Rule:
    """What counts as a leak.

    Attributes:
        ngram: Words in a row that no evaluation prompt may share, at least 6.
        similarity: Share of the shingles (4 bytes) of two texts, common of all, from which they are near-duplicates,
            0.3–1.
    """

    ngram: int = 12
    similarity: float = 0.5

    def __post_init__(self) -> None:
        if self.ngram < _SHORTEST:
            raise ConfigurationError(
                f"--ngram: {self.ngram} is below {_SHORTEST}; everybody shares so few words"
            )
        if not 0.3 <= self.similarity <= 1:
            raise ConfigurationError(f"--similarity: {self.similarity} is not between 0.3 and 1")


@dataclass(frozen=True)
class Leak:
    """Why a prompt is out.

    Attributes:
        prompt_id: Of the prompt.
        reason: ``exact`` (the same words), ``ngram`` (words in a row), ``near`` (most of the text) or ``repeated`` (a
            near-duplicate of an earlier prompt of the same table).
        matched: The prompt it is too like.
        detail: The words shared, or the similarity.
    """

    prompt_id: str
    reason: str
    matched: str
    detail: str


def decontaminate(
    rows: Sequence[Row],
    against: Sequence[Row],
    rule: Rule = Rule(),
    repeats: bool = False,
    advance: Report = lambda done: None,
) -> tuple[list[Row], list[Leak]]:
    """Split prompts into those that are clean and those that leak.

    Args:
        rows: Prompts to train on; choices in the text or in a column ``choices`` are read too.
        against: Prompts to evaluate on.
        rule: What counts as a leak.
        repeats: Also leave out near-duplicates among the prompts themselves; the first stays.
        advance: Called with 1 for each prompt read, of both tables.

    Raises:
        MissingDependency: ``datasketch`` is not installed.
    """
    known, own = _Known(rule), _Near(rule.similarity)
    for row in against:
        known.add(row)
        advance(1)
    clean, leaks = [], []
    for row in rows:
        shape = _Shape(row)
        leak = known.leak(shape) or (own.leak(shape, "repeated") if repeats else None)
        if leak:
            leaks.append(leak)
        else:
            clean.append(row)
            if repeats:
                own.add(shape)
        advance(1)
    return clean, leaks


class _Shape:
    """What a prompt is compared by."""

    def __init__(self, row: Row) -> None:
        self.prompt_id = str(row["prompt_id"])
        text = "\n".join([without_letters(str(row["prompt"])), *parse_choices(row.get("choices"))])
        self.words = words_of(_plain(text))
        question = words_of(_plain(without_choices(str(row["prompt"]))))
        self.exact = {
            " ".join(self.words),
            *([" ".join(question)] if len(question) >= _QUESTION else []),
        }
        self.numberless = ["0" if word.isdecimal() else word for word in self.words]
        self.counted = [0, *accumulate(word != "0" and len(word) > 1 for word in self.numberless)]
        self.shingles = _shingles(" ".join(self.words))
        self.sketch: MinHash = _sketch(self.shingles)

    def ngrams(self, length: int) -> list[str]:
        """Words in a row, at least half of them longer than a letter and no numbers: formulas are alike everywhere."""
        words, known = self.numberless, self.counted
        starts = range(len(words) - length + 1)
        return [
            " ".join(words[at : at + length])
            for at in starts
            if known[at + length] - known[at] >= length / 2
        ]


class _Known:
    """Evaluation prompts, by all that a leak could be seen by."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.exact: dict[str, str] = {}
        self.ngrams: dict[int, dict[str, str]] = {}
        self.near = _Near(rule.similarity)

    def add(self, row: Row) -> None:
        shape = _Shape(row)
        for key in shape.exact:
            self.exact.setdefault(key, shape.prompt_id)
        length = min(self.rule.ngram, len(shape.words))
        if length >= _SHORTEST:
            table = self.ngrams.setdefault(length, {})
            for key in shape.ngrams(length):
                table.setdefault(key, shape.prompt_id)
        self.near.add(shape)

    def leak(self, shape: _Shape) -> Leak | None:
        for key in shape.exact:
            if key in self.exact:
                return Leak(shape.prompt_id, "exact", self.exact[key], "")
        for length, table in self.ngrams.items():
            for key in shape.ngrams(length):
                if key in table:
                    return Leak(shape.prompt_id, "ngram", table[key], key)
        return self.near.leak(shape, "near")


class _Near:
    """Texts found again by the similarity of their shingles: MinHash proposes, counting decides."""

    def __init__(self, similarity: float) -> None:
        try:
            from datasketch import MinHashLSH
        except ImportError as error:
            raise MissingDependency("datasketch", "data", "find near-duplicates") from error
        self.similarity = similarity
        self.index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        self.shingles: dict[str, Shingles] = {}

    def add(self, shape: _Shape) -> None:
        if shape.prompt_id not in self.shingles and len(shape.shingles):
            self.shingles[shape.prompt_id] = shape.shingles
            self.index.insert(shape.prompt_id, shape.sketch)

    def leak(self, shape: _Shape, reason: str) -> Leak | None:
        best, matched = 0.0, ""
        for name in sorted(self.index.query(shape.sketch)) if len(shape.shingles) else ():
            common = len(np.intersect1d(shape.shingles, self.shingles[name], assume_unique=True))
            similarity = common / (len(shape.shingles) + len(self.shingles[name]) - common)
            if similarity > best:
                best, matched = similarity, name
        return (
            Leak(shape.prompt_id, reason, matched, f"{best:.2f}")
            if best >= self.similarity
            else None
        )


def _plain(text: str) -> str:
    """Without accents."""
    return re.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFKD", text))


def _shingles(text: str) -> Shingles:
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    if len(data) < _SHINGLE:
        return np.zeros(0, dtype=np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(data, _SHINGLE)
    return np.unique(np.ascontiguousarray(windows).view(np.uint32).ravel())


def _sketch(shingles: Shingles) -> MinHash:
    from datasketch import MinHash

    sketch = MinHash(num_perm=BANDS * ROWS, hashfunc=lambda shingle: shingle)
    if len(shingles):
        sketch.update_batch(shingles)
    return sketch
