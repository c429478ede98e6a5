"""The earlier question that asks for the same as another in other words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routoo_core.answer_cache.answers import StoredQuestion
from routoo_core.answer_cache.similarity import Vector, unpack
from routoo_core.answer_cache.wording import Wording, difference

_MOST_READ = 20
"""Of the questions that are alike, so many are compared word by word."""


def find_same(
    text: str, vector: Vector, questions: Sequence[StoredQuestion], min_similarity: float
) -> StoredQuestion | None:
    """The most similar question that nothing in its words tells apart; ``None`` where there is none.

    Args:
        text: The question that is asked.
        vector: Of it.
        questions: Earlier ones.
        min_similarity: Cosine of the vectors, at least.
    """
    if not questions:
        return None
    vectors = np.stack([unpack(question.vector) for question in questions])
    similarities = vectors @ vector
    wording = Wording.of(text)
    order: list[int] = np.argsort(-similarities)[:_MOST_READ].tolist()
    for place in order:
        if similarities[place] < min_similarity:
            return None
        if difference(wording, Wording.of(questions[place].text)) is None:
            return questions[place]
    return None
