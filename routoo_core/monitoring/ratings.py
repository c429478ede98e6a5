"""Feedback as it is logged: one value, or several by kind; and how it becomes a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from routoo_core.errors import ConfigurationError

SCORE_OF_WORD = {
    "up": 1.0,
    "thumbs_up": 1.0,
    "good": 1.0,
    "down": 0.0,
    "thumbs_down": 0.0,
    "bad": 0.0,
}
"""Feedback in words, in any case."""

SCORE_KEY = "score"
"""The key under which an object holds its value: ``{"score": 1, "comment": "Thanks!"}``."""


@dataclass(frozen=True)
class FeedbackScale:
    """How feedback becomes a score.

    Attributes:
        key: Which kind of feedback counts, where there are several; ``None`` for the only one.
        worst: The number that becomes score 0.
        best: The number that becomes score 1.
        first_of_several: Whether the first kind counts where there are several and ``key`` is ``None``. By default
            that is an error.

    Raises:
        ConfigurationError: ``worst`` is not below ``best``.
    """

    key: str | None = None
    worst: float = 0.0
    best: float = 1.0
    first_of_several: bool = False

    def __post_init__(self) -> None:
        if self.worst >= self.best:
            raise ConfigurationError(f"worst: {self.worst:g} is not below best {self.best:g}")

    def score(self, value: object) -> float:
        """A value as a score, 0–1.

        Args:
            value: A number on the scale, ``True`` or ``False``, or one of :data:`SCORE_OF_WORD`.

        Raises:
            ValueError: It is something else, or off the scale.
        """
        if isinstance(value, str) and value.lower() in SCORE_OF_WORD:
            return SCORE_OF_WORD[value.lower()]
        if isinstance(value, bool):
            return float(value)
        if isinstance(value, int | float) and self.worst <= value <= self.best:
            return (value - self.worst) / (self.best - self.worst)
        raise ValueError(
            f"{value!r} is not a number from {self.worst:g} to {self.best:g}, and neither 'up' nor 'down'; scale it"
        )


ZERO_TO_ONE = FeedbackScale()
"""Feedback from 0 to 1, of one kind."""


@dataclass(frozen=True)
class LoggedFeedback:
    """The feedback on one call, as it is logged.

    Attributes:
        value: Feedback of no particular kind; ``None`` where there is none.
        by_kind: Feedback of a kind, such as ``correctness``, in the order logged.
    """

    value: object = None
    by_kind: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> LoggedFeedback:
        """The feedback at the top of a logged line.

        It is in ``feedback`` or ``score``: a value, an object with a ``score``, or an object of such by kind; or in
        LangSmith's ``feedback_stats``, where each kind has a mean, ``avg``.
        """
        value = line.get("feedback")
        if value is None or value == {}:
            value = line.get("score")

        by_kind: dict[str, object] = {}
        if isinstance(value, Mapping):
            for kind, rating in value.items():
                by_kind[kind] = _unwrap(rating, SCORE_KEY)
            value = by_kind.pop(SCORE_KEY, None)
        stats = line.get("feedback_stats")
        if isinstance(stats, Mapping):
            for kind, summary in stats.items():
                if isinstance(summary, Mapping):
                    by_kind.setdefault(kind, summary.get("avg"))

        present = {kind: rating for kind, rating in by_kind.items() if rating is not None}
        return cls(value, present)

    def select(self, scale: FeedbackScale) -> object:
        """The value that counts; ``None`` where there is none.

        Raises:
            ValueError: There are several kinds, and the scale names none of them.
        """
        if scale.key is not None and scale.key in self.by_kind:
            return self.by_kind[scale.key]
        if self.value is not None:
            return self.value
        if scale.key is not None or not self.by_kind:
            return None
        kinds = list(self.by_kind)
        if len(kinds) > 1 and not scale.first_of_several:
            raise ValueError(f"there are several kinds, {', '.join(kinds)}; name one of them")
        return self.by_kind[kinds[0]]


def _unwrap(rating: object, key: str) -> object:
    """The value of an object that holds one under a key; any other value as it is."""
    if isinstance(rating, Mapping):
        return rating.get(key, rating)
    return rating
