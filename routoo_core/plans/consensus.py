"""Consensus: experts whose answers agree are believed; where they do not, one more is asked and a vote decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import log
from typing import ClassVar

from pydantic import field_validator

from routoo_core.answer import Answer
from routoo_core.comparison import Form, comparison_of
from routoo_core.errors import ConfigurationError
from routoo_core.plans.plan import (
    FEWEST_TO_COMPARE,
    NO_APPRAISAL,
    Appraisal,
    Appraiser,
    Ask,
    Contribution,
    Plan,
    Step,
    Take,
    Verdict,
    last_answer,
)
from routoo_core.request import RoutedRequest
from routoo_core.sandbox.namespaces import sandbox_problem

_SURE = 0.01
"""A quality this near 0 or 1 weighs no more in a vote than one just as near."""


class Consensus(Plan):
    """Some experts are asked; where they do not agree, one more is, and a weighted vote decides.

    Attributes:
        then: Who is asked where they do not agree; ``None`` to vote at once.
        compare: What the replies state: ``choice``, ``number``, ``label`` or ``json``, or ``code`` for replies whose
            code gives equal results on the probes of the call. By default it is read off each call. Calls whose
            replies cannot be compared are not offered the plan.
    """

    kind: ClassVar[str] = "consensus"

    then: str | None = None
    compare: Form | None = None

    @field_validator("experts")
    @classmethod
    def _can_agree(cls, experts: tuple[str, ...]) -> tuple[str, ...]:
        if len(experts) < FEWEST_TO_COMPARE:
            raise ValueError("needs two experts or more, whose answers are compared")
        return experts

    def _steps(self) -> list[Step]:
        names = [*self.experts, self.then] if self.then else self.experts
        return [Step(name) for name in names]

    def suits(self, request: RoutedRequest) -> bool:
        """Whether the replies can be compared, too."""
        return super().suits(request) and comparison_of(request, self.compare) is not None

    def check_machine(self) -> None:
        """Refuse to compare code where no sandbox can be made.

        Raises:
            ConfigurationError: The message says why.
        """
        problem = sandbox_problem() if self.compare == "code" else None
        if problem is not None:
            raise ConfigurationError(
                f"plans.{self.name}.compare: code is run in a sandbox, and none can be made here: {problem}. Run this "
                "on Linux with user namespaces, or compare something else"
            )

    def appraiser(self, request: RoutedRequest) -> Appraiser:
        """Reads what each answer states; code is run once for that."""
        comparison = comparison_of(request, self.compare)

        def appraise(step: int, answer: Answer) -> Appraisal:
            return NO_APPRAISAL if comparison is None else Appraisal(comparison.statement(answer))

        return appraise

    def verdict(self, request: RoutedRequest, contributions: Sequence[Contribution]) -> Verdict:
        """Ask, compare, ask one more, vote."""
        if not contributions:
            return Ask(tuple(range(len(self.experts))))
        statements = [contribution.appraisal.statement for contribution in contributions]
        has_asked_then = len(contributions) > len(self.experts)
        is_agreed = len(set(statements)) == 1 and statements[0] is not None
        if self.then and not has_asked_then and not is_agreed:
            return Ask((len(self.experts),))
        last = contributions[-1].answer
        is_unreadable = last is not None and last.is_whole and statements[-1] is None
        # Prose that states nothing plainly may be right; code that cannot be run is not.
        if has_asked_then and is_unreadable and self.compare != "code":
            return Take(len(contributions) - 1)
        return _winner(contributions, statements)


def _winner(contributions: Sequence[Contribution], statements: Sequence[str | None]) -> Verdict:
    """The best contribution to the statement that has the most weight; without statements, the last answer."""
    weight_of: defaultdict[str, float] = defaultdict(float)
    for contribution, statement in zip(contributions, statements, strict=True):
        if statement is not None:
            weight_of[statement] += _weight(contribution.quality)
    if not weight_of:
        return last_answer(contributions)
    elected = max(weight_of, key=weight_of.__getitem__)
    voters = [place for place, statement in enumerate(statements) if statement == elected]
    return Take(max(voters, key=lambda place: contributions[place].quality))


def _weight(quality: float) -> float:
    """The weight of a vote that is right with this probability: its log-odds; one as good as chance counts a little."""
    bounded = min(max(quality, _SURE), 1 - _SURE)
    return max(log(bounded / (1 - bounded)), 0.0) + _SURE
