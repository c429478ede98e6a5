"""What an expert's table may say of how able it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from routoo_core.catalogue.names import Effort
from routoo_core.catalogue.skills import SKILL_NUMBER, SKILLS
from routoo_core.settings import Settings


class DescribedAbility(Settings):
    """How able an expert is, where the catalogue does not know it or knows it wrongly.

    Attributes:
        like: The name of a model of the catalogue that it is about as able as.
        scores: Scores of its own, 0–1, by benchmark: ``{ "MMLU-Pro" = 0.71 }``, or ``"LiveBench-2026-06-25/Coding"``.
        ability: On the catalogue's scale, where 0 is a middling model and 1 the spread of all: one number, or one for
            some skills, the others staying as they are.
        skills: How well it answers prompts of the kinds that it is made for: the share of good answers to prompts of
            usual difficulty, 0–1, by skill. General routers read it; the other skills stay as they are.
        effort: How much it reasons. It is passed on in the provider's own parameter, and counts for ability and length.
    """

    like: Annotated[str, Field(min_length=1)] | None = None
    scores: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    ability: float | dict[str, float] | None = None
    skills: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    effort: Effort | None = None

    @property
    def sent_effort(self) -> Effort | None:
        """The effort to pass on; ``None`` for what the provider does unasked."""
        return None if self.effort == "default" else self.effort

    @field_validator("ability", "skills")
    @classmethod
    def _check_skills(
        cls, value: float | dict[str, float] | None
    ) -> float | dict[str, float] | None:
        for skill in value if isinstance(value, dict) else ():
            if skill not in SKILL_NUMBER:
                raise ValueError(f"{skill!r} is no skill; choose of {', '.join(SKILLS)}")
        return value
