"""Plans: several experts in one call, ranked beside the experts as one more candidate.

A plan says whom it may ask and, from what they answered so far, what comes next. That rule is a pure function: a call
follows it step by step, and ``routoo plans fit`` replays it over stored answers to learn what the plan is worth.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from routoo_core.answer import QUOTED_BYTES, Answer, quote
from routoo_core.comparison import Comparison, Form, comparison_of
from routoo_core.errors import ConfigurationError
from routoo_core.request import RoutedRequest
from routoo_core.settings import Settings

_FEWEST_TO_COMPARE = 2
_FEWEST_TOKENS = 32
"""A call with a lower limit on its replies leaves a judge no room to think."""
_SURE = 0.01
"""A quality this near 0 or 1 weighs no more in a vote than one just as near."""

_NUMBER = re.compile(r"\d{1,3}")

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


@dataclass(frozen=True, slots=True)
class Step:
    """One expert that a plan may ask.

    Attributes:
        expert: Its name.
        share: How often the plan comes to it, 0–1.
        sees_answers: Whether it is shown what others answered.
        is_checked: Whether its reply has to meet the call's checks; a judge's is about another one.
    """

    expert: str
    share: float = 1.0
    sees_answers: bool = False
    is_checked: bool = True


@dataclass(frozen=True, slots=True)
class Contribution:
    """What came of one step.

    Attributes:
        step: Its place among the plan's steps.
        expert: Who was asked.
        quality: Predicted for it, 0–1.
        answer: What it said; ``None`` where it failed, or where its reply does not meet a check.
    """

    step: int
    expert: str
    quality: float
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these next, together.

    Attributes:
        steps: Their places among the plan's steps.
        turns: What they are told beyond the call.
    """

    steps: tuple[int, ...]
    turns: tuple[AddedTurn, ...] = ()


@dataclass(frozen=True, slots=True)
class Take:
    """The plan's reply is this contribution's.

    Attributes:
        position: Of the contribution, in the order given.
    """

    position: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The plan has no acceptable answer, so the next candidate is called."""


Verdict = Ask | Take | GiveUp
"""What comes next in a plan."""


class Plan(Settings):
    """``[plans.NAME]`` in routoo.toml; subclass it and list it in :data:`PLANS`.

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

    def _steps(self) -> list[Step]:
        """Everyone it may ask, in order, without their shares."""
        raise NotImplementedError

    def suits(self, request: RoutedRequest) -> bool:
        """Whether it can serve a call: one reply, which calls no tools and is not begun already."""
        has_tools = "tools" in request.needs
        return request.completions == 1 and not has_tools and not request.is_prefilled

    def verdict(self, request: RoutedRequest, contributions: Sequence[Contribution]) -> Verdict:
        """What comes next; changes nothing.

        Args:
            request: The call.
            contributions: What came of the steps so far, in the order in which they ended.
        """
        raise NotImplementedError


class Consensus(Plan):
    """Some experts are asked; where they do not agree, one more is, and a weighted vote decides.

    Attributes:
        then: Who is asked where they do not agree; ``None`` to vote at once.
        compare: What the replies state: ``choice``, ``number``, ``label`` or ``json``; by default it is read off each
            call, and calls whose replies cannot be compared are not offered the plan.
    """

    kind: ClassVar[str] = "consensus"

    then: str | None = None
    compare: Form | None = None

    @field_validator("experts")
    @classmethod
    def _can_agree(cls, experts: tuple[str, ...]) -> tuple[str, ...]:
        if len(experts) < _FEWEST_TO_COMPARE:
            raise ValueError("needs two experts or more, whose answers are compared")
        return experts

    def _steps(self) -> list[Step]:
        names = [*self.experts, self.then] if self.then else self.experts
        return [Step(name) for name in names]

    def suits(self, request: RoutedRequest) -> bool:
        """Whether the replies can be compared, too."""
        return super().suits(request) and comparison_of(request, self.compare) is not None

    def verdict(self, request: RoutedRequest, contributions: Sequence[Contribution]) -> Verdict:
        """Ask, compare, ask one more, vote."""
        if not contributions:
            return Ask(tuple(range(len(self.experts))))
        comparison = comparison_of(request, self.compare)
        statements = [_statement(comparison, each.answer) for each in contributions]
        has_asked_all = len(contributions) > len(self.experts)
        is_agreed = len(set(statements)) == 1 and statements[0] is not None
        if self.then and not has_asked_all and not is_agreed:
            return Ask((len(self.experts),))
        last = contributions[-1].answer
        is_unreadable = last is not None and last.is_whole and statements[-1] is None
        if has_asked_all and is_unreadable:
            return Take(len(contributions) - 1)
        return _winner(contributions, statements)


def _statement(comparison: Comparison | None, answer: Answer | None) -> str | None:
    """What an answer states; ``None`` where there is none, or nothing to compare by."""
    if comparison is None or answer is None:
        return None
    return comparison.statement(answer)


def _winner(contributions: Sequence[Contribution], statements: Sequence[str | None]) -> Verdict:
    """The best contribution to the statement that has the most weight; without statements, the last answer."""
    weight_of: defaultdict[str, float] = defaultdict(float)
    for contribution, statement in zip(contributions, statements, strict=True):
        if statement is not None:
            weight_of[statement] += _weight(contribution.quality)
    if not weight_of:
        return _last_answer(contributions)
    elected = max(weight_of, key=weight_of.__getitem__)
    voters = [place for place, statement in enumerate(statements) if statement == elected]
    return Take(max(voters, key=lambda place: contributions[place].quality))


def _weight(quality: float) -> float:
    """The weight of a vote that is right with this probability: its log-odds; one as good as chance counts a little."""
    bounded = min(max(quality, _SURE), 1 - _SURE)
    return max(log(bounded / (1 - bounded)), 0.0) + _SURE


def _last_answer(
    contributions: Sequence[Contribution], counts: Callable[[int], bool] = lambda step: True
) -> Verdict:
    """The last answer; of those steps alone that count."""
    for position in reversed(range(len(contributions))):
        contribution = contributions[position]
        if contribution.answer is not None and counts(contribution.step):
            return Take(position)
    return GiveUp()


class Cascade(Plan):
    """Experts are asked one after the other, until a judge accepts an answer; the last one's stands.

    An answer that does not have the form or does not meet the check of its call goes on to the next expert, too.

    Attributes:
        judge: The expert that says whether an answer is right; ``None`` to rely on the call's form and check.
    """

    kind: ClassVar[str] = "cascade"

    judge: str | None = None

    def _steps(self) -> list[Step]:
        steps = []
        for name in self.experts[:-1]:
            steps.append(Step(name))
            if self.judge:
                steps.append(Step(self.judge, sees_answers=True, is_checked=False))
        steps.append(Step(self.experts[-1]))
        return steps

    def suits(self, request: RoutedRequest) -> bool:
        """Whether something can be checked, too; a judge's verdict is no JSON."""
        if self.judge:
            return super().suits(request) and _has_room_for_words(request)
        has_check = request.form.is_json or request.overrides.check is not None
        return super().suits(request) and has_check

    def verdict(self, request: RoutedRequest, contributions: Sequence[Contribution]) -> Verdict:
        """Ask, have it judged, ask the next one."""
        if not contributions:
            return Ask((0,))
        last = contributions[-1]
        is_last_step = last.step == len(self._steps()) - 1
        if is_last_step:
            return _last_answer(contributions, lambda step: not self._is_judgement(step))
        if self._is_judgement(last.step):
            if _accepts(last.answer):
                return Take(len(contributions) - 2)
            return Ask((last.step + 1,))
        if last.answer is None or not last.answer.is_whole:
            skipped = 2 if self.judge else 1
            return Ask((last.step + skipped,))
        if self.judge is None:
            return Take(len(contributions) - 1)
        return Ask((last.step + 1,), _judgement_turns(last.answer))

    def _is_judgement(self, step: int) -> bool:
        return self.judge is not None and step % 2 == 1


def _has_room_for_words(request: RoutedRequest) -> bool:
    """Whether a judge can say what it thinks: in no other form, and not in a few tokens."""
    has_room = request.max_tokens is None or request.max_tokens >= _FEWEST_TOKENS
    return has_room and not request.form.is_json


def _judgement_turns(answer: Answer) -> tuple[AddedTurn, ...]:
    question = (
        "Is the reply above correct and complete? Work it out for yourself first if that helps. "
        "End with one word on a line of its own: yes or no."
    )
    return turns_behind(quote(answer), question)


def _accepts(judgement: Answer | None) -> bool:
    """Whether a judge's last line is yes; one that failed or says anything else does not accept."""
    last_line = _last_line(judgement)
    return last_line.casefold().strip(" .!*\"'`") == "yes"


def _last_line(answer: Answer | None) -> str:
    """The last line that is not empty; empty where there is none."""
    lines = [] if answer is None else answer.text.strip().splitlines()
    return lines[-1] if lines else ""


class Mixture(Plan):
    """Proposers answer; one expert is shown their answers and writes the final one.

    Attributes:
        aggregator: Who writes the final answer.
        ranker: Who is asked which proposals are the best ones, before; ``None`` to show all.
        keep: How many of the best ones are shown then.
    """

    kind: ClassVar[str] = "mixture"

    aggregator: str
    ranker: str | None = None
    keep: Annotated[int, Field(ge=1)] = 2

    def _steps(self) -> list[Step]:
        steps = [Step(name) for name in self.experts]
        if self.ranker:
            steps.append(Step(self.ranker, sees_answers=True, is_checked=False))
        return [*steps, Step(self.aggregator, sees_answers=True)]

    def suits(self, request: RoutedRequest) -> bool:
        """Whether the plan fits a request; a ranker also needs room in the reply to list its ranking."""
        return super().suits(request) and (self.ranker is None or _has_room_for_words(request))

    def verdict(self, request: RoutedRequest, contributions: Sequence[Contribution]) -> Verdict:
        """Ask the proposers, the ranker, the aggregator."""
        count = len(self.experts)
        if not contributions:
            return Ask(tuple(range(count)))
        proposals = []
        for contribution in contributions[:count]:
            if contribution.answer is not None:
                proposals.append(contribution.answer)
        last = contributions[-1]
        aggregation = len(self._steps()) - 1
        if last.step == aggregation:
            has_answered = last.answer is not None
            return Take(len(contributions) - 1) if has_answered else self._best(contributions)
        if len(proposals) < _FEWEST_TO_COMPARE:
            return Ask((aggregation,), _aggregation_turns(proposals))
        is_ranked = last.step == count
        if self.ranker and not is_ranked:
            return Ask((count,), _ranking_turns(proposals))
        if is_ranked and last.answer is not None:
            proposals = _best_proposals(proposals, last.answer, self.keep)
        return Ask((aggregation,), _aggregation_turns(proposals))

    def _best(self, contributions: Sequence[Contribution]) -> Verdict:
        """The proposal of the expert that is predicted best, where the aggregator failed."""
        answered = []
        for position, contribution in enumerate(contributions[: len(self.experts)]):
            if contribution.answer is not None:
                answered.append(position)
        if not answered:
            return GiveUp()
        return Take(max(answered, key=lambda position: contributions[position].quality))


def _aggregation_turns(proposals: Sequence[Answer]) -> tuple[AddedTurn, ...]:
    """The first proposal as a reply, the others and the task as the user's answer to it."""
    if not proposals:
        return ()
    task = (
        "Replies may be wrong. Weigh them, and write the best reply to the request yourself, in the form that it asks "
        "for. Do not mention that there were others."
    )
    others = _other_proposals(proposals, "Another reply to the same request ({number}):")
    return turns_behind(_first_proposal(proposals), "\n\n".join([*others, task]))


def _ranking_turns(proposals: Sequence[Answer]) -> tuple[AddedTurn, ...]:
    """The first proposal as a reply, the others and the question as the user's answer to it."""
    opening = "Your reply above is number 1. These are other replies to the same request:"
    question = "Which ones are best? Reply with their numbers alone, best first: 2, 1, 3."
    others = _other_proposals(proposals, "Reply {number}:")
    return turns_behind(_first_proposal(proposals), "\n\n".join([opening, *others, question]))


def _first_proposal(proposals: Sequence[Answer]) -> str:
    return quote(proposals[0], QUOTED_BYTES // len(proposals))


def _other_proposals(proposals: Sequence[Answer], heading: str) -> list[str]:
    """The proposals behind the first, each under a heading with its number."""
    limit = QUOTED_BYTES // len(proposals)
    texts = []
    for number, proposal in enumerate(proposals[1:], start=2):
        texts.append(f"{heading.format(number=number)}\n{quote(proposal, limit)}")
    return texts


def _best_proposals(proposals: Sequence[Answer], ranking: Answer, keep: int) -> list[Answer]:
    """The proposals that a ranker names first in its last line; all where it names none."""
    best = []
    for text in _NUMBER.findall(_last_line(ranking)):
        number = int(text)
        if 1 <= number <= len(proposals) and proposals[number - 1] not in best:
            best.append(proposals[number - 1])
    return best[:keep] if best else list(proposals)


PLANS: dict[str, type[Plan]] = {plan.kind: plan for plan in (Consensus, Cascade, Mixture)}
"""Kind in routoo.toml → plan."""


def read_plans(
    origin: str, tables: Mapping[str, Any], experts: Sequence[str], taken: Collection[str] = ()
) -> tuple[Plan, ...]:
    """The plans of ``[plans.NAME]`` tables.

    Args:
        origin: The file they stand in, for errors.
        tables: Name → table.
        experts: The names in the pool.
        taken: Other names that a call may give an expert.

    Raises:
        ConfigurationError: A kind or an expert is unknown, or a field is out of range.
    """
    plans = []
    for name, table in tables.items():
        place = f"{origin}: plans.{name}"
        if not isinstance(table, Mapping):
            raise ConfigurationError(f"{place}: is no table; write [plans.{name}]")
        values = dict(table)
        kind = PLANS.get(str(values.pop("kind", "")))
        if kind is None:
            raise ConfigurationError(f"{place}.kind: choose of {', '.join(PLANS)}")
        plans.append(kind.read(place, {"name": name, **values}))
    check_plans(plans, experts, origin, taken)
    return tuple(plans)


def check_plans(
    plans: Sequence[Plan],
    experts: Sequence[str],
    origin: str = "plans",
    taken: Collection[str] = (),
) -> None:
    """Refuse plans that ask experts which are not in the pool, and names that are taken.

    Args:
        plans: The plans.
        experts: The names in the pool.
        origin: The file they stand in, for errors.
        taken: Other names that a call may give an expert.

    Raises:
        ConfigurationError: The message names the plan and the remedy.
    """
    names = {*experts, *taken}
    for plan in plans:
        if plan.name in names:
            raise ConfigurationError(
                f"{origin}: plans.{plan.name}: an expert, its model or a plan has this name; choose another"
            )
        names.add(plan.name)
        for step in plan.steps:
            if step.expert not in experts:
                raise ConfigurationError(
                    f"{origin}: plans.{plan.name}: {step.expert!r} is not among the experts {', '.join(experts)}"
                )


def describe_plan(plan: Plan) -> dict[str, Any]:
    """A plan's table, as routoo.toml writes it, without its name.

    Raises:
        ConfigurationError: It is of a kind that no file can name.
    """
    if PLANS.get(plan.kind) is not type(plan):
        kind = type(plan).__name__
        raise ConfigurationError(
            f"plans.{plan.name}: a {kind} object cannot be saved to a file; list its class in PLANS under its kind"
        )
    table = plan.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    return {"kind": plan.kind, **table}
