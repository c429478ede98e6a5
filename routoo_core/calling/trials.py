"""Whom a call tries, one after the other, and how much must at least be held for each."""

from __future__ import annotations

from typing import NamedTuple

from routoo_core.candidates import Candidate
from routoo_core.money import NanoUsd
from routoo_core.selector import Decision


class Trial(NamedTuple):
    """A candidate to try.

    Attributes:
        candidate: Whom.
        minimum: The least that must be held for it, nano-USD.
        is_second: Whether it is for a candidate that had no room for an ample reply.
    """

    candidate: Candidate
    minimum: NanoUsd
    is_second: bool = False


def trials_of(decision: Decision) -> list[Trial]:
    """The candidates with room for an ample reply, then the others: a cheaper one rather than a reply cut short.

    One that a conversation stays with is tried once, and so is one that cools down, after those that do not.
    """
    cooling = {skip.expert for skip in decision.skipped}
    pinned = decision.pinned
    first_round = []
    second_round = []
    for candidate in decision.candidates:
        least = Trial(candidate, candidate.minimum_cost)
        if candidate is pinned:
            first_round.append(least)
        elif candidate.expert.name in cooling:
            second_round.append(least)
        else:
            first_round.append(Trial(candidate, candidate.ample_cost))
            if candidate.minimum_cost < candidate.ample_cost:
                second_round.append(least._replace(is_second=True))
    return first_round + second_round
