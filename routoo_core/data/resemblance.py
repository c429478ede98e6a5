"""How alike two prompts are: their words, their n-grams, and the shingles that MinHash finds near-duplicates by."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from routoo_core.data.rows import PromptRow
from routoo_core.errors import MissingDependency
from routoo_core.text import parse_choices, without_choices, without_letters, words_of

if TYPE_CHECKING:
    from datasketch import MinHash

SHORTEST_WORDS = 6
"""Words from which an evaluation prompt counts as a whole; an n-gram has at least as many."""

BANDS = 42
ROWS_PER_BAND = 3
"""Of the MinHash index: of texts half of whose shingles agree it finds 99.6 %."""

_QUESTION_WORDS = 8  # from which a question counts without its choices
_SHINGLE_BYTES = 4
_ACCENTS = re.compile(r"[\u0300-\u036f]")

Shingles = NDArray[np.uint32]
"""The different 4-byte pieces of a text, sorted."""


@dataclass(frozen=True)
class PromptShape:
    """What a prompt is compared by.

    Attributes:
        prompt_id: Of the prompt.
        words: Of question and choices, in lower case and without accents.
        exact_words: All words in one text; where the question is long enough, its own without the choices too.
        shingles: Of the words.
    """

    prompt_id: str
    words: list[str] = field(repr=False)
    exact_words: set[str] = field(repr=False)
    shingles: Shingles = field(repr=False)

    @classmethod
    def of(cls, row: PromptRow) -> PromptShape:
        """The shape of a prompt; choices in a column ``choices`` count as those in the text."""
        choices = parse_choices(row.get("choices"))
        lines = [without_letters(row.prompt), *choices]
        words = _plain_words("\n".join(lines))
        whole_text = " ".join(words)
        exact_words = {whole_text}

        question = without_choices(row.prompt)
        question_words = _plain_words(question)
        if len(question_words) >= _QUESTION_WORDS:
            exact_words.add(" ".join(question_words))
        return cls(row.prompt_id, words, exact_words, _shingles_of(whole_text))

    @cached_property
    def numberless(self) -> list[str]:
        """The words, with every number as 0."""
        return ["0" if word.isdecimal() else word for word in self.words]

    @cached_property
    def telling_before(self) -> list[int]:
        """For each position, how many words before it are longer than a letter and no numbers."""
        counts = [0]
        for word in self.numberless:
            is_telling = word != "0" and len(word) > 1
            counts.append(counts[-1] + is_telling)
        return counts

    @cached_property
    def sketch(self) -> MinHash:
        """The shingles' MinHash."""
        from datasketch import MinHash

        sketch = MinHash(num_perm=BANDS * ROWS_PER_BAND, hashfunc=_same_hash)
        if len(self.shingles):
            sketch.update_batch(self.shingles)
        return sketch

    def ngrams(self, length: int) -> list[str]:
        """Words in a row, with every number as 0.

        At least half of an n-gram's words are longer than a letter and no numbers: formulas are alike everywhere.
        """
        words = self.numberless
        telling_before = self.telling_before
        ngrams = []
        for start in range(len(words) - length + 1):
            end = start + length
            telling = telling_before[end] - telling_before[start]
            if telling >= length / 2:
                ngrams.append(" ".join(words[start:end]))
        return ngrams


@dataclass(frozen=True)
class Neighbour:
    """A text that is like another.

    Attributes:
        prompt_id: Of the text.
        similarity: Jaccard similarity of the shingles, 0–1.
    """

    prompt_id: str
    similarity: float


class SimilarTexts:
    """Texts found again by the similarity of their shingles: MinHash proposes, counting decides.

    Args:
        similarity: The least that counts, 0–1.

    Raises:
        MissingDependency: ``datasketch`` is not installed.
    """

    def __init__(self, similarity: float) -> None:
        try:
            from datasketch import MinHashLSH
        except ImportError as error:
            raise MissingDependency("datasketch", "data", "find near-duplicates") from error
        self.similarity = similarity
        self.index = MinHashLSH(num_perm=BANDS * ROWS_PER_BAND, params=(BANDS, ROWS_PER_BAND))
        self.shingles: dict[str, Shingles] = {}

    def add(self, shape: PromptShape) -> None:
        """Remember a text."""
        prompt_id = shape.prompt_id
        if prompt_id in self.shingles or not len(shape.shingles):
            return
        self.shingles[prompt_id] = shape.shingles
        self.index.insert(prompt_id, shape.sketch)

    def nearest(self, shape: PromptShape) -> Neighbour | None:
        """The text most like this one, the first by id among equals; ``None`` where none is similar enough."""
        if not len(shape.shingles):
            return None
        best = Neighbour("", 0.0)
        for prompt_id in sorted(self.index.query(shape.sketch)):
            similarity = _jaccard(shape.shingles, self.shingles[prompt_id])
            if similarity > best.similarity:
                best = Neighbour(prompt_id, similarity)
        if best.similarity < self.similarity:
            return None
        return best


def _plain_words(text: str) -> list[str]:
    """Words in lower case, without accents and punctuation."""
    return words_of(_without_accents(text))


def _without_accents(text: str) -> str:
    decomposition = unicodedata.normalize("NFKD", text)
    return _ACCENTS.sub("", decomposition)


def _shingles_of(text: str) -> Shingles:
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    if len(data) < _SHINGLE_BYTES:
        return np.zeros(0, dtype=np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(data, _SHINGLE_BYTES)
    pieces = np.ascontiguousarray(windows).view(np.uint32)  # the four bytes of each as one number
    return np.unique(pieces.ravel())


def _same_hash(shingle: int) -> int:
    """A shingle is hashed enough as it is."""
    return shingle


def _jaccard(first: Shingles, second: Shingles) -> float:
    intersection = np.intersect1d(first, second, assume_unique=True)
    union_size = len(first) + len(second) - len(intersection)
    return len(intersection) / union_size
