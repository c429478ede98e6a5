"""What speaks for whoever answered a conversation's last turn: an open tool call, or a margin of quality."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf

from routoo_core.candidates import Candidate
from routoo_core.request import RoutedRequest


@dataclass(frozen=True, slots=True)
class Stickiness:
    """What speaks for the expert that answered the conversation's last turn.

    Attributes:
        expert: Its name.
        margin: The predicted quality by which another expert must be better, 0–1; infinite while
            its tool call is open.
    """

    expert: str
    margin: float

    @property
    def open_tool_call(self) -> bool:
        """Whether its tool call is open, so that it comes first whatever the qualities are."""
        return isinf(self.margin)


def stickiness_of(request: RoutedRequest, switch_margin: float) -> Stickiness | None:
    """The stickiness of the expert of the last turn: the switch margin, or infinity while its tool call is open."""
    if request.previous is None:
        return None
    margin = inf if request.previous.open_tool_call else switch_margin
    return Stickiness(request.previous.expert, margin)


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
