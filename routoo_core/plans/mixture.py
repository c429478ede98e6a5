"""Mixture: experts propose, and one of them writes the final answer, knowing what was proposed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from routoo_core.answer import QUOTED_BYTES, Answer, quote
from routoo_core.plans.plan import (
    FEWEST_TO_COMPARE,
    AddedTurn,
    Ask,
    Contribution,
    GiveUp,
    Plan,
    Role,
    Step,
    Take,
    Verdict,
    has_room_for_words,
    last_line,
    turns_behind,
)
from routoo_core.request import RoutedRequest

_NUMBER = re.compile(r"\d{1,3}")


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
            steps.append(Step(self.ranker, Role.RANKING))
        return [*steps, Step(self.aggregator, Role.AGGREGATION)]

    def suits(self, request: RoutedRequest) -> bool:
        """Whether the plan fits a request; a ranker also needs room in the reply to list its ranking."""
        return super().suits(request) and (self.ranker is None or has_room_for_words(request))

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
        steps = self._steps()
        role = steps[last.step].role
        aggregation = len(steps) - 1
        if role is Role.AGGREGATION:
            has_answered = last.answer is not None
            return Take(len(contributions) - 1) if has_answered else self._best(contributions)
        if len(proposals) < FEWEST_TO_COMPARE:
            return Ask((aggregation,), _aggregation_turns(proposals))
        if self.ranker and role is Role.ANSWER:
            ranking = aggregation - 1
            return Ask((ranking,), _ranking_turns(proposals))
        if role is Role.RANKING and last.answer is not None:
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
        best = max(answered, key=lambda position: contributions[position].quality)
        return Take(best, is_accepted=False)


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
    for text in _NUMBER.findall(last_line(ranking)):
        number = int(text)
        if 1 <= number <= len(proposals) and proposals[number - 1] not in best:
            best.append(proposals[number - 1])
    return best[:keep] if best else list(proposals)
