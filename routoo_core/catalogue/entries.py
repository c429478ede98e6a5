"""What the catalogue holds: models, published scores and abilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routoo_core.catalogue.names import Effort
from routoo_core.catalogue.skills import SKILL_NUMBER, SKILLS

AbilityValues = NDArray[np.float32]
"""One value for each of :data:`~routoo_core.catalogue.skills.SKILLS`."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model other than its scores. ``None`` means unknown.

    Attributes:
        key: Its name in plain letters; see :func:`~routoo_core.catalogue.names.read_model_name`.
        title: Its name as its provider writes it.
        provider: Who makes it, such as "openai".
        release: Month of its release, "2026-04".
        context_window: Tokens of prompt and reply.
        max_output_tokens: The most tokens of a reply.
        input_usd_per_1m: List price of a million prompt tokens.
        output_usd_per_1m: List price of a million reply tokens.
        price_from: Whose price that is.
        billions_of_parameters: Its size.
        is_open: Whether its weights can be downloaded.
        reasons: Whether it reasons before it answers.
        calls_tools: Whether it calls tools.
        reply_tokens: Tokens of a typical reply to a hard question, reasoning included.
        source: Where these facts are from.
    """

    key: str
    title: str
    provider: str | None = None
    release: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    input_usd_per_1m: float | None = None
    output_usd_per_1m: float | None = None
    price_from: str | None = None
    billions_of_parameters: float | None = None
    is_open: bool | None = None
    reasons: bool | None = None
    calls_tools: bool | None = None
    reply_tokens: float | None = None
    source: str | None = None


class BenchmarkColumn(NamedTuple):
    """What scores have in common that can be compared.

    Attributes:
        benchmark: Its name.
        category: The part of it that was scored; empty for all of it.
        kind: How it was measured.
    """

    benchmark: str
    category: str
    kind: str


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """One published score.

    Attributes:
        key: The model's, see :class:`ModelFacts`.
        effort: How much it reasoned.
        benchmark: What it was measured on.
        category: The part of the benchmark; empty for all of it.
        kind: Who measured: a third party, the vendor, or somebody from tables of outcomes.
        score: 0–1, or a rating in Elo points.
        unit: ``0..1`` or ``elo``.
        collection: What the benchmark belongs to; scores of one collection are not independent.
        date: When it was published; empty where that is not known.
        source: Where it is from.
    """

    key: str
    effort: Effort
    benchmark: str
    category: str
    kind: str
    score: float
    unit: str
    collection: str
    date: str
    source: str

    @property
    def column(self) -> BenchmarkColumn:
        """Scores of the same column can be compared."""
        return BenchmarkColumn(self.benchmark, self.category, self.kind)


@dataclass(frozen=True, eq=False)
class Ability:
    """How able a model is, skill by skill.

    Attributes:
        mean: float32, (skills,); 0 is the mean of all models of the catalogue and 1 their spread.
        deviation: Standard deviation of what is not known, float32, (skills,).
        scores: How many published scores it rests on.
        latest: Date of the newest of them; empty where no date is known.
        origin: Where it is from, in words.
    """

    mean: AbilityValues = field(repr=False)
    deviation: AbilityValues = field(repr=False)
    scores: int = 0
    latest: str = ""
    origin: str = ""

    def of(self, skill: str) -> float:
        """The ability in one skill."""
        return float(self.mean[SKILL_NUMBER[skill]])

    def best_skills(self, count: int) -> tuple[str, ...]:
        """The skills in which it stands highest, best first."""
        order = np.argsort(-self.mean, kind="stable")[:count]
        return tuple(SKILLS[number] for number in order)
