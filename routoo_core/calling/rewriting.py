"""Decides whether a cheap expert rewrites an earlier answer before the ranked experts are called."""

from __future__ import annotations

from routoo_core.calling.follow_up import FollowUp
from routoo_core.calling.trials import Trial
from routoo_core.candidates import Candidate, call_cost, make_candidate, missing_abilities
from routoo_core.money import NANO_PER_USD, NanoUsd
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.tokens import count_tokens


def rewriting_trials(decision: Decision, request: RoutedRequest) -> list[Trial]:
    """The trial of the expert that rewrites an earlier answer; empty where there is none, or it is not worth it.

    It is worth it where the rewriting is expected to cost less than a reply of the same length by the first candidate,
    and is at least as preferable under λ. It counts as good as the expert of the earlier answer is predicted to be.
    """
    earlier = request.earlier
    if earlier is None:
        return []
    rewriter = _find(decision, earlier.rewriter)
    author = _find(decision, earlier.expert)
    if rewriter is None or author is None:
        return []
    reply_tokens = float(count_tokens(earlier.text))
    rewriting = _priced(
        rewriter, author.quality, FollowUp.rewriting(request, earlier), reply_tokens
    )
    if rewriting is None:
        return []
    first = decision.candidates[0]
    first_cost = _expected_cost(first, request, reply_tokens)
    if not _is_worth_it(rewriting.candidate, first, first_cost, decision.lambda_ or 0.0):
        return []
    return [rewriting]


def _find(decision: Decision, name: str) -> Candidate | None:
    for candidate in decision.candidates:
        if candidate.name == name:
            return candidate
    return None


def _priced(
    rewriter: Candidate, quality: float, follow_up: FollowUp, reply_tokens: float
) -> Trial | None:
    """The rewriting at what its longer prompt costs; ``None`` where the window has no room for that."""
    expert = rewriter.expert
    if missing_abilities(expert, follow_up.request):
        return None
    cost = call_cost(expert, follow_up.request, reply_tokens)
    candidate = make_candidate(expert, follow_up.request, quality, rewriter.latency, cost)
    return Trial(candidate, candidate.ample_cost, follow_up=follow_up)


def _expected_cost(first: Candidate, request: RoutedRequest, reply_tokens: float) -> NanoUsd:
    """Of a first candidate whose reply is as long as the earlier answer; a plan costs what it is expected to."""
    if first.plan is not None:
        return first.expected_cost
    cost = call_cost(first.expert, request, reply_tokens)
    candidate = make_candidate(first.expert, request, first.quality, first.latency, cost)
    return candidate.expected_cost


def _is_worth_it(
    rewriting: Candidate, first: Candidate, first_cost: NanoUsd, lambda_: float
) -> bool:
    if rewriting.expected_cost >= first_cost:
        return False
    saved_usd = (first_cost - rewriting.expected_cost) / NANO_PER_USD
    return rewriting.quality + lambda_ * saved_usd >= first.quality
