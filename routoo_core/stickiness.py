"""What speaks for whoever answered a conversation's last turn: an open tool call, or a margin of quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isinf

from routoo_core.candidates import Candidate
from routoo_core.request import RoutedRequest


@dataclass(frozen=True, slots=True)
class Stickiness:
    """What speaks for the expert, or the plan, that answered the conversation's last turn.

    Attributes:
        expert: Its name.
        margin: The predicted quality by which another candidate must be better, 0–1; infinite while
            its tool call is open.
    """

    expert: str
    margin: float

    @property
    def open_tool_call(self) -> bool:
        """Whether its tool call is open, so that it comes first whatever the qualities are."""
        return isinf(self.margin)


def stickiness_of(
    request: RoutedRequest, switch_margin: float, candidates: Sequence[Candidate]
) -> Stickiness | None:
    """What speaks for whoever gave the last turn's reply: the switch margin, or infinity while its tool call is open.

    Args:
        request: The call.
        switch_margin: Predicted quality, 0–1.
        candidates: Of the call; a plan that is not among them leaves the margin to the expert whose reply it took.
    """
    turn = request.previous
    if turn is None:
        return None
    if turn.open_tool_call:
        return Stickiness(turn.expert, inf)
    for candidate in candidates:
        if candidate.name == turn.plan:
            return Stickiness(candidate.name, switch_margin)
    return Stickiness(turn.expert, switch_margin)


def is_pinned(candidate: Candidate, stickiness: Stickiness | None) -> bool:
    """Whether a candidate comes first because its tool call is open."""
    if stickiness is None or stickiness.expert != candidate.name:
        return False
    return stickiness.open_tool_call


def margin_of(candidate: Candidate, stickiness: Stickiness | None) -> float:
    """Quality added to a candidate for having answered the last turn."""
    if stickiness is None or stickiness.expert != candidate.name:
        return 0.0
    return 0.0 if stickiness.open_tool_call else stickiness.margin
