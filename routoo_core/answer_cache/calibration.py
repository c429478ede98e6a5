"""The least similarity at which two questions count as the same, for a precision, from labelled pairs."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routoo_core.answer_cache.similarity import QuestionVectors
from routoo_core.answer_cache.wording import find_difference
from routoo_core.errors import ConfigurationError, OutcomesError

_COLUMNS = ("first", "second", "same")
_SPLITS = ("calibration", "test")
_Z = 1.96
"""Standard deviations of an interval of 95 %."""


@dataclass(frozen=True, slots=True)
class QuestionPair:
    """Two questions.

    Attributes:
        first: One of them.
        second: The other.
        is_same: Whether an answer to one answers the other.
        split: ``calibration`` or ``test``.
    """

    first: str
    second: str
    is_same: bool
    split: str


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair as the cache sees it.

    Attributes:
        pair: The pair.
        similarity: Cosine of the two vectors.
        difference: What the words differ in; ``None`` where nothing tells them apart.
    """

    pair: QuestionPair
    similarity: float
    difference: str | None


@dataclass(frozen=True, slots=True)
class Share:
    """A share of some cases.

    Attributes:
        hits: How many.
        cases: Of how many.
    """

    hits: int
    cases: int

    @property
    def value(self) -> float:
        """0–1; NaN of no cases."""
        return self.hits / self.cases if self.cases else math.nan

    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95 %."""
        if not self.cases:
            return 0.0, 1.0
        n = self.cases
        centre = self.value + _Z**2 / (2 * n)
        half = _Z * math.sqrt(self.value * (1 - self.value) / n + _Z**2 / (4 * n**2))
        scale = 1 + _Z**2 / n
        return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often the cache is right on some pairs.

    Attributes:
        precision: Of the pairs that count as the same, those that are.
        recall: Of the pairs that are the same, those that count as such.
        alike: Precision by the similarity alone, without a look at the words.
    """

    precision: Share
    recall: Share
    alike: Share


@dataclass(frozen=True, slots=True)
class Calibration:
    """A floor, and how well it does.

    Attributes:
        floor: The least similarity.
        calibration: On the pairs that it was chosen on.
        test: On the others.
    """

    floor: float
    calibration: Accuracy
    test: Accuracy


def read_pairs(path: Path) -> list[QuestionPair]:
    """Read a table with the columns first, second, same (0 or 1) and split (calibration or test).

    Raises:
        OutcomesError: The file cannot be read, a column is missing or a value cannot be used; the message names file
            and row.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OutcomesError(
            f"{path}: cannot be read ({error}); give a CSV file in UTF-8"
        ) from error
    pairs = []
    for number, row in enumerate(rows, start=2):
        for column in (*_COLUMNS, "split"):
            if not str(row.get(column) or "").strip():
                raise OutcomesError(f"{path}:{number}: {column}: missing; add it")
        same = str(row["same"]).strip()
        split = str(row["split"]).strip()
        if same not in {"0", "1"}:
            raise OutcomesError(f"{path}:{number}: same: {same!r} is neither 0 nor 1")
        if split not in _SPLITS:
            raise OutcomesError(
                f"{path}:{number}: split: {split!r} is none of {', '.join(_SPLITS)}"
            )
        pairs.append(QuestionPair(str(row["first"]), str(row["second"]), same == "1", split))
    return pairs


def score_pairs(pairs: Sequence[QuestionPair], vectors: QuestionVectors) -> list[ScoredPair]:
    """The similarity and the difference of each pair."""
    scores = []
    for pair in pairs:
        similarity = float(np.dot(vectors.of(pair.first), vectors.of(pair.second)))
        scores.append(ScoredPair(pair, similarity, find_difference(pair.first, pair.second)))
    return scores


def calibrate(pairs: Sequence[ScoredPair], precision: float) -> Calibration:
    """The lowest floor at which the pairs for calibration that count as the same are so with a precision.

    Args:
        pairs: Pairs of both splits.
        precision: From 0 to 1.

    Raises:
        ConfigurationError: A split has no pair that is the same, or no floor is precise enough.
    """
    sides = {}
    for split in _SPLITS:
        sides[split] = [pair for pair in pairs if pair.pair.split == split]
        if not any(pair.pair.is_same for pair in sides[split]):
            raise ConfigurationError(f"split: no pair of {split} is the same; add some")
    candidates = [pair for pair in sides["calibration"] if pair.difference is None]
    candidates.sort(key=_similarity_of, reverse=True)
    floor = None
    hits = 0
    for place, pair in enumerate(candidates):
        hits += pair.pair.is_same
        is_last_of_its_kind = (
            place + 1 == len(candidates) or candidates[place + 1].similarity < pair.similarity
        )
        if is_last_of_its_kind and hits / (place + 1) >= precision:
            floor = pair.similarity
    if floor is None:
        raise ConfigurationError(
            f"precision: no similarity tells the pairs apart with {precision:g}; ask for less"
        )
    floor = math.floor(floor * 1000) / 1000
    return Calibration(floor, measure(sides["calibration"], floor), measure(sides["test"], floor))


def measure(pairs: Sequence[ScoredPair], floor: float) -> Accuracy:
    """How often a floor is right."""
    alike = [pair for pair in pairs if pair.similarity >= floor]
    positives = [pair for pair in alike if pair.difference is None]
    right = sum(pair.pair.is_same for pair in positives)
    same = sum(pair.pair.is_same for pair in pairs)
    return Accuracy(
        precision=Share(right, len(positives)),
        recall=Share(right, same),
        alike=Share(sum(pair.pair.is_same for pair in alike), len(alike)),
    )


def _similarity_of(pair: ScoredPair) -> float:
    return pair.similarity
