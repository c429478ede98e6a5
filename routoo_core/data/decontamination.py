"""``routoo data decontaminate``: no prompt to train on may be one that a router is judged by (paper §4.2).

The n-gram rule is datatrove's: a prompt that shares n words in a row with an evaluation prompt is out, whatever the
case, punctuation, accents and numbers. Its own pipeline is not used: its index is built only through lighteval and that
one's registry of tasks, and its English words need spaCy. Beyond it, evaluation prompts below n words count whole, and
MinHash finds what was lightly edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routoo_core.data.resemblance import SHORTEST_WORDS, PromptShape, SimilarTexts
from routoo_core.data.rows import PromptRow
from routoo_core.errors import ConfigurationError
from routoo_core.progress import SILENT, Progress

REASONS = ("exact", "ngram", "near", "repeated")
"""Why a prompt is out: the same words; words in a row; most of the text; like an earlier prompt of its own table."""


@dataclass(frozen=True)
class LeakRule:
    """What counts as a leak.

    Attributes:
        ngram: Words in a row that no evaluation prompt may share, at least 6.
        similarity: Jaccard similarity of 4-byte shingles at or above which two texts are near-duplicates, 0.3–1.
        repeats: Whether near-duplicates among the prompts themselves are out too; the first stays.
    """

    ngram: int = 12
    similarity: float = 0.5
    repeats: bool = False

    def __post_init__(self) -> None:
        if self.ngram < SHORTEST_WORDS:
            raise ConfigurationError(
                f"ngram: {self.ngram} is below {SHORTEST_WORDS}; everybody shares so few words"
            )
        if not 0.3 <= self.similarity <= 1:
            raise ConfigurationError(f"similarity: {self.similarity} is not between 0.3 and 1")


@dataclass(frozen=True)
class Leak:
    """Why a prompt is out.

    Attributes:
        prompt_id: Of the prompt.
        reason: One of ``REASONS``.
        matched: The prompt it is too like.
        detail: The words shared, or the similarity.
    """

    prompt_id: str
    reason: str
    matched: str
    detail: str = ""


@dataclass(frozen=True)
class Decontamination:
    """Prompts without leaks, and the leaks.

    Attributes:
        clean: Prompts that are not out, in the order they had.
        leaks: One for each prompt that is out.
    """

    clean: list[PromptRow]
    leaks: list[Leak]

    def counts(self) -> dict[str, int]:
        """Reason → prompts that are out."""
        counts = dict.fromkeys(REASONS, 0)
        for leak in self.leaks:
            counts[leak.reason] += 1
        return counts


def decontaminate(
    rows: Sequence[PromptRow],
    evaluation: Sequence[PromptRow],
    rule: LeakRule = LeakRule(),
    progress: Progress = SILENT,
) -> Decontamination:
    """Split prompts into those that are clean and those that leak.

    Args:
        rows: Prompts to train on; choices in the text or in a column ``choices`` are read too.
        evaluation: Prompts to evaluate on.
        rule: What counts as a leak.
        progress: Where the bar is shown, a step for each prompt of both tables.

    Raises:
        MissingDependency: ``datasketch`` is not installed.
    """
    detector = _LeakDetector(rule)
    earlier = SimilarTexts(rule.similarity)
    clean: list[PromptRow] = []
    leaks: list[Leak] = []

    with progress.bar("Comparing", len(rows) + len(evaluation)) as advance:
        for row in evaluation:
            detector.add(PromptShape.of(row))
            advance(1)

        for row in rows:
            shape = PromptShape.of(row)
            leak = detector.find(shape)
            if leak is None and rule.repeats:
                leak = _find_near(shape, earlier, "repeated")
            if leak is not None:
                leaks.append(leak)
            else:
                clean.append(row)
                if rule.repeats:
                    earlier.add(shape)
            advance(1)
    return Decontamination(clean, leaks)


class _LeakDetector:
    """Evaluation prompts, by all that a leak could be seen by."""

    def __init__(self, rule: LeakRule) -> None:
        self.rule = rule
        self.id_by_words: dict[str, str] = {}
        self.id_by_ngram: dict[int, dict[str, str]] = {}  # for each length of an n-gram
        self.near = SimilarTexts(rule.similarity)

    def add(self, shape: PromptShape) -> None:
        for words in shape.exact_words:
            self.id_by_words.setdefault(words, shape.prompt_id)

        length = min(self.rule.ngram, len(shape.words))
        if length >= SHORTEST_WORDS:
            ids = self.id_by_ngram.setdefault(length, {})
            for ngram in shape.ngrams(length):
                ids.setdefault(ngram, shape.prompt_id)
        self.near.add(shape)

    def find(self, shape: PromptShape) -> Leak | None:
        for words in shape.exact_words:
            if words in self.id_by_words:
                return Leak(shape.prompt_id, "exact", self.id_by_words[words])

        for length, ids in self.id_by_ngram.items():
            for ngram in shape.ngrams(length):
                if ngram in ids:
                    return Leak(shape.prompt_id, "ngram", ids[ngram], ngram)
        return _find_near(shape, self.near, "near")


def _find_near(shape: PromptShape, texts: SimilarTexts, reason: str) -> Leak | None:
    nearest = texts.nearest(shape)
    if nearest is None:
        return None
    return Leak(shape.prompt_id, reason, nearest.prompt_id, f"{nearest.similarity:.2f}")
