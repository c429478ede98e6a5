"""Messages added to a call for an expert: the fault of its last reply, or the answers of other experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from routoo_core.answer import Answer, quote
from routoo_core.calling.checks import Fault
from routoo_core.plans.plan import AddedTurn, turns_behind
from routoo_core.request import EarlierAnswer, RoutedRequest


@dataclass(frozen=True, slots=True)
class FollowUp:
    """Turns behind those of the call.

    Attributes:
        turns: In order; the first one is an expert's reply, the last one the user's.
        request: The call with them, which cost.
        is_repair: Whether they say what was wrong with the expert's last reply.
        is_rewriting: Whether they give the answer to an earlier question, to be rewritten.
    """

    turns: tuple[AddedTurn, ...] = field(repr=False)
    request: RoutedRequest = field(repr=False)
    is_repair: bool = False
    is_rewriting: bool = False

    @classmethod
    def of(
        cls,
        request: RoutedRequest,
        turns: Sequence[AddedTurn],
        *,
        is_repair: bool = False,
        is_rewriting: bool = False,
    ) -> Self:
        """A call that goes on with turns."""
        messages = [turn.message() for turn in turns]
        return cls(tuple(turns), request.followed_by(messages), is_repair, is_rewriting)

    @classmethod
    def repair(cls, request: RoutedRequest, answer: Answer, fault: Fault) -> Self:
        """A call that asks for its reply once more."""
        advice = (
            f"Your reply cannot be used: {fault.advice or fault.reason}\n"
            "Reply again to the request above, with this corrected. Do not mention the correction."
        )
        return cls.of(request, turns_behind(quote(answer), advice), is_repair=True)

    @classmethod
    def rewriting(cls, request: RoutedRequest, earlier: EarlierAnswer) -> Self:
        """A call that asks for an earlier answer in words that fit its own question."""
        advice = (
            f"The reply above was given to an earlier question: {earlier.question!r}\n"
            "Now answer the question before it. Keep what answers it, and change only what does not fit. "
            "Do not mention the earlier question."
        )
        return cls.of(request, turns_behind(earlier.text, advice), is_rewriting=True)

    def messages(self) -> list[dict[str, str]]:
        """The turns, which OpenAI's and Anthropic's protocols write in the same way."""
        return [turn.message() for turn in self.turns]

    def text(self) -> str:
        """The turns as a text, for experts that complete one."""
        return "\n\n".join(turn.text for turn in self.turns)
