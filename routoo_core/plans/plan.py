"""What every plan is: the experts that it may ask, and a pure rule for what comes next.

A call follows the rule step by step, and ``routoo plans fit`` replays it over stored answers to learn what the plan is
worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from routoo_core.answer import Answer
from routoo_core.errors import ConfigurationError
from routoo_core.request import RoutedRequest
from routoo_core.settings import Settings

FEWEST_TO_COMPARE = 2
_FEWEST_TOKENS = 32
"""A call with a lower limit on its replies leaves a judge no room to think."""

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class AddedTurn:
    """A turn that is put behind those of the call.

    Attributes:
        role: Whose.
        text: What it says.
    """

    role: Literal["assistant", "user"]
    text: str = field(repr=False)

    def message(self) -> dict[str, str]:
        """The turn as OpenAI's and Anthropic's protocols write it."""
        return {"role": self.role, "content": self.text}


def turns_behind(reply: str, advice: str) -> tuple[AddedTurn, ...]:
    """A reply, and what the user says of it."""
    return AddedTurn("assistant", reply), AddedTurn("user", advice)


class Role(StrEnum):
    """What a step is for."""

    ANSWER = "answer"
    """Answers the call by itself."""
    JUDGEMENT = "judgement"
    """Says whether another's answer is right."""
    RANKING = "ranking"
    """Says which of others' answers are best."""
    AGGREGATION = "aggregation"
    """Answers the call, knowing what others answered."""


@dataclass(frozen=True, slots=True)
class Step:
    """One expert that a plan may ask.

    Attributes:
        expert: Its name.
        role: What it is asked for.
        share: How often the plan comes to it, 0–1.
    """

    expert: str
    role: Role = Role.ANSWER
    share: float = 1.0

    @property
    def sees_answers(self) -> bool:
        """Whether it is shown what others answered."""
        return self.role is not Role.ANSWER

    @property
    def is_checked(self) -> bool:
        """Whether its reply has to meet the call's checks; a judge's is about another one."""
        return self.role in {Role.ANSWER, Role.AGGREGATION}


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What a plan reads of an answer, once, when it has come.

    Attributes:
        statement: What it states, in a form that can be compared; ``None`` where the plan compares nothing, or where
            it states nothing of the kind.
        probability: How probably it is right, 0–1; ``None`` where no scorer was asked.
        threshold: The probability from which the plan accepts it, 0–1; ``None`` where no scorer was asked.
    """

    statement: str | None = field(default=None, repr=False)
    probability: float | None = None
    threshold: float | None = None


NO_APPRAISAL = Appraisal()
"""Of an answer that failed, or that a plan neither compares nor scores."""

Appraiser = Callable[[int, Answer], Appraisal]
"""Reads the answers to one call: takes a step's place among the plan's steps, and its answer. It may take its time."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What came of one step.

    Attributes:
        step: Its place among the plan's steps.
        expert: Who was asked.
        quality: Predicted for it, 0–1.
        answer: What it said; ``None`` where it failed, or where its reply does not meet a check.
        appraisal: What the plan's appraiser read of it.
    """

    step: int
    expert: str
    quality: float
    answer: Answer | None
    appraisal: Appraisal = NO_APPRAISAL


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these next, together.

    Attributes:
        steps: Their places among the plan's steps, each once; at least one.
        turns: What they are told beyond the call.
    """

    steps: tuple[int, ...]
    turns: tuple[AddedTurn, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a round that asks nobody, or a step twice.

        Raises:
            ValueError: It does.
        """
        if not self.steps:
            raise ValueError("Ask: it names no step; name at least one, or give up")
        if len(set(self.steps)) < len(self.steps):
            raise ValueError(f"Ask: {self.steps} names a step twice; a plan asks each step once")


@dataclass(frozen=True, slots=True)
class Take:
    """The plan's reply is this contribution's.

    Attributes:
        position: Of the contribution, in the order given.
        is_accepted: Whether it is what the plan was after; else it is only better than none, and is not stored to be
            given again.
    """

    position: int
    is_accepted: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The plan has no acceptable answer, so the next candidate is called."""


Verdict = Ask | Take | GiveUp
"""What comes next in a plan."""


class Plan(Settings):
    """``[plans.NAME]`` in routoo.toml; subclass it and list it in :data:`routoo_core.plans.tables.PLANS`.

    Attributes:
        name: Its own, which the router's predictor knows.
        experts: Whom it asks first.
        shares: How often it comes to each of its steps, 0–1, as ``routoo plans fit`` measures it; by default always.
    """

    kind: ClassVar[str] = ""

    name: str
    experts: tuple[str, ...]
    shares: tuple[Share, ...] = ()

    @field_validator("experts")
    @classmethod
    def _has_experts(cls, experts: tuple[str, ...]) -> tuple[str, ...]:
        if not experts:
            raise ValueError("names nobody; name at least one expert")
        return experts

    def model_post_init(self, context: Any) -> None:
        """Refuse shares for other steps than there are.

        Raises:
            ConfigurationError: Their number is not that of the steps.
        """
        count = len(self._steps())
        if self.shares and len(self.shares) != count:
            raise ConfigurationError(
                f"plans.{self.name}.shares: {len(self.shares)} numbers for {count} steps; give one for each, "
                "as routoo plans fit prints them"
            )

    @property
    def steps(self) -> tuple[Step, ...]:
        """Everyone it may ask, in order."""
        steps = []
        for position, step in enumerate(self._steps()):
            share = self.shares[position] if self.shares else 1.0
            steps.append(replace(step, share=share))
        return tuple(steps)

    @property
    def experts_asked(self) -> frozenset[str]:
        """The names of everyone it may ask."""
        return frozenset(step.expert for step in self._steps())

    def _steps(self) -> list[Step]:
        """Everyone it may ask, in order, without their shares."""
        raise NotImplementedError

    def suits(self, request: RoutedRequest) -> bool:
        """Whether it can serve a call: one reply, which calls no tools and is not begun already."""
        has_tools = "tools" in request.needs
        return request.completions == 1 and not has_tools and not request.is_prefilled

    def unread(self, request: RoutedRequest) -> frozenset[str]:
        """What a prompt holds that the plan would have to read and cannot, so that it is not offered."""
        return frozenset()

    def check_machine(self) -> None:
        """Refuse a plan that this machine cannot carry out; asked when a router is built, before anything is paid.

        Raises:
            ConfigurationError: It lacks something, such as a sandbox.
        """

    def appraiser(self, request: RoutedRequest) -> Appraiser:
        """Reads each answer to a call once, before :meth:`verdict` is asked; by default there is nothing to read.

        Args:
            request: The call.
        """
        return _read_nothing

    def verdict(self, request: RoutedRequest, contributions: Sequence[Contribution]) -> Verdict:
        """What comes next; changes nothing and waits for nothing. Each step is asked at most once in a call.

        Args:
            request: The call.
            contributions: What came of the steps so far, in the order in which they ended.
        """
        raise NotImplementedError


def _read_nothing(step: int, answer: Answer) -> Appraisal:
    """The appraiser of a plan that neither compares nor scores answers."""
    return NO_APPRAISAL


# What the rules of several kinds need


def last_answer(
    contributions: Sequence[Contribution], counts: Callable[[int], bool] = lambda step: True
) -> Verdict:
    """The last answer; of those steps alone that count. One that others should have followed is not accepted."""
    last = len(contributions) - 1
    for position in reversed(range(len(contributions))):
        contribution = contributions[position]
        if contribution.answer is not None and counts(contribution.step):
            return Take(position, is_accepted=position == last)
    return GiveUp()


def has_room_for_words(request: RoutedRequest) -> bool:
    """Whether a judge can say what it thinks: in no other form, and not in a few tokens."""
    has_room = request.max_tokens is None or request.max_tokens >= _FEWEST_TOKENS
    return has_room and not request.form.is_json


def last_line(answer: Answer | None) -> str:
    """The last line that is not empty; empty where there is none."""
    lines = [] if answer is None else answer.text.strip().splitlines()
    return lines[-1] if lines else ""
