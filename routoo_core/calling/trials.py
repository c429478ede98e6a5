"""The experts that a call tries, one after the other, and the least amount to hold for each."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from routoo_core.budget.account import AccountState, Budget, binding_account, tightest_share
from routoo_core.budget.ledger import amount_to_hold
from routoo_core.calling.follow_up import FollowUp
from routoo_core.candidates import Candidate, call_cost, make_candidate, missing_abilities
from routoo_core.money import NanoUsd
from routoo_core.selector import Decision

FIRST_RETRY_PAUSE_S = 0.25
LONGEST_RETRY_PAUSE_S = 8.0


class Trial(NamedTuple):
    """A candidate to try.

    Attributes:
        candidate: Whom.
        minimum: The least that must be held for it, nano-USD.
        is_second: Whether it is for a candidate that had no room for an ample reply.
        follow_up: What its expert is told of its last reply; ``None`` for a first try.
    """

    candidate: Candidate
    minimum: NanoUsd
    is_second: bool = False
    follow_up: FollowUp | None = None


def trials_of(decision: Decision) -> list[Trial]:
    """The candidates with room for an ample reply, then the others: a cheaper one rather than a reply cut short.

    One that a conversation stays with is tried once, and so is one that cools down, after those that do not.
    """
    cooling = {skip.expert for skip in decision.skipped}
    pin = decision.pinned
    first_round = []
    second_round = []
    for candidate in decision.candidates:
        least = Trial(candidate, candidate.minimum_cost)
        if candidate is pin:
            first_round.append(least)
        elif candidate.name in cooling:
            second_round.append(least)
        else:
            first_round.append(Trial(candidate, candidate.ample_cost))
            if candidate.minimum_cost < candidate.ample_cost:
                second_round.append(least._replace(is_second=True))
    return first_round + second_round


def put_last(trials: Iterable[Trial], experts: Collection[str]) -> list[Trial]:
    """Trials in their order, those of some experts behind all others."""
    others: list[Trial] = []
    last: list[Trial] = []
    for trial in trials:
        (last if trial.candidate.expert.name in experts else others).append(trial)
    return others + last


def repair_trials(candidate: Candidate, repair: FollowUp | None) -> list[Trial]:
    """The trial of a candidate that is told what was wrong with its reply, at what the longer prompt costs.

    Returns:
        Empty where there is no repair, or its window has no room for that.
    """
    if repair is None:
        return []
    expert = candidate.expert
    request = repair.request
    if missing_abilities(expert, request):
        return []
    cost = call_cost(expert, request)
    retry = make_candidate(expert, request, candidate.quality, candidate.latency, cost)
    retry = replace(retry, deviation=candidate.deviation)
    # The repaired reply is allowed at least what the first one was.
    minimum = min(max(retry.minimum_cost, candidate.minimum_cost), retry.maximum_cost)
    return [Trial(retry, minimum, follow_up=repair)]


def amount_held(
    trial: Trial, chain: Sequence[Budget], states: Sequence[AccountState]
) -> NanoUsd | None:
    """What would be held for a trial; ``None`` where it is not affordable.

    Args:
        trial: Whom.
        chain: The accounts that pay, innermost first.
        states: Where each of them stands.
    """
    available = binding_account(states).available
    amount = amount_to_hold(available, trial.minimum, trial.candidate.maximum_cost)
    share = tightest_share(chain, states)
    if amount is None or share is None:
        return amount
    return min(amount, share.room) if share.room >= trial.minimum else None


def retry_pause_s(tries: int, retry_after_s: float | None) -> float:
    """Seconds before an expert is asked again."""
    pause = min(LONGEST_RETRY_PAUSE_S, FIRST_RETRY_PAUSE_S * 2.0 ** (tries - 1))
    pause *= 1 - random.random() / 4  # noqa: S311 (callers that failed together do not come back together)
    if retry_after_s is None:
        return pause
    return min(LONGEST_RETRY_PAUSE_S, max(pause, retry_after_s))


def within_limit(trial: Trial, limit: NanoUsd | None, commitment: NanoUsd) -> Trial | None:
    """A trial that keeps to what its call may cost; ``None`` where none does.

    Args:
        trial: Whom it is to ask.
        limit: The most the call may cost; ``None`` for no limit.
        commitment: Booked for its tries so far, and held for the other steps of a plan.
    """
    if limit is None or not commitment:
        return trial
    remainder = limit - commitment
    if trial.minimum > remainder:
        return None
    candidate = trial.candidate
    maximum = min(candidate.maximum_cost, remainder)
    return trial._replace(candidate=replace(candidate, maximum_cost=maximum))
