"""A call before it is made: which experts are affordable, what is held, how long the reply may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.calling.trials import amount_held, trials_of
from routoo_core.candidates import Candidate
from routoo_core.limits import ReplyLimit
from routoo_core.money import NanoUsd, decimal_usd, format_usd, plain_usd
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision


@dataclass(frozen=True, slots=True)
class CandidatePreview:
    """One candidate of a call that is not made yet.

    Attributes:
        candidate: The candidate.
        hold: Nano-USD that would be held; ``None`` where it is not affordable.
        reply_limit: The limit on its reply; ``None`` where it is not affordable.
    """

    candidate: Candidate
    hold: NanoUsd | None
    reply_limit: ReplyLimit | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        limit = self.reply_limit
        return {
            "expert": self.candidate.name,
            "affordable": self.hold is not None,
            "would_hold_usd": None if self.hold is None else decimal_usd(self.hold),
            "reply_limit": None if limit is None else limit.tokens,
            "limited_by": None if limit is None else limit.limited_by,
        }


@dataclass(frozen=True, slots=True)
class Preview:
    """A decision, and what the budget allows of it now.

    Attributes:
        decision: The ranked candidates.
        candidates: The same candidates, each with the amount that would be held.
        first: The candidate that would get the call; ``None`` where none is affordable.
        accounts: The state of each account that pays, innermost first.
    """

    decision: Decision
    candidates: tuple[CandidatePreview, ...]
    first: CandidatePreview | None
    accounts: tuple[AccountState, ...]

    def describe(self) -> list[str]:
        """The outcome of the call, in sentences: the expert, its reply limit and the accounts."""
        sentences = []
        first = self.first
        if first is None:
            sentences.append(
                "No expert is affordable: the call would be refused, unless on_exhausted says otherwise."
            )
        elif first.reply_limit is not None:
            tokens = f"{first.reply_limit.tokens:,} tokens"
            sentences.append(
                f"{first.candidate.name} would be asked. Its reply may have {tokens}, "
                f"{_REASONS[first.reply_limit.limited_by]}."
            )
        for state in self.accounts:
            sentences.append(_describe_account(state))
        return sentences

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        first = self.first
        accounts = []
        for state in self.accounts:
            remainder = state.available
            accounts.append(
                {
                    "account": state.account,
                    "left_usd": None if remainder is None else decimal_usd(remainder),
                    "held_usd": decimal_usd(state.held),
                    "resets": state.window.resets,
                }
            )
        return {
            "would_ask": None if first is None else first.candidate.name,
            "affordable": [candidate.to_dict() for candidate in self.candidates],
            "accounts": accounts,
        }


_REASONS = {
    "caller": "the limit that the call sets",
    "expert": "its own limit",
    "window": "the room that the prompt leaves in its context window",
    "budget": "as many as the budget pays for",
}
"""What limits a reply → the same in a sentence."""


def preview_call(
    decision: Decision, request: RoutedRequest, budget: Budget, ledger: Ledger
) -> Preview:
    """Preview a call that was decided. This only reads: it holds nothing.

    Args:
        decision: The ranked candidates.
        request: The call.
        budget: The account that would pay.
        ledger: Keeps the accounts.

    Raises:
        LedgerError: The ledger failed.
    """
    chain = budget.chain
    states = [ledger.state(payer) for payer in chain]
    holds: dict[str, NanoUsd] = {}
    for trial in trials_of(decision):
        hold = amount_held(trial, chain, states)
        if hold is not None:
            holds.setdefault(trial.candidate.name, hold)

    previews: dict[str, CandidatePreview] = {}
    for candidate in decision.candidates:
        name = candidate.name
        hold = holds.get(name)
        limit = None if hold is None else _reply_limit(candidate, hold, request)
        previews[name] = CandidatePreview(candidate, hold, limit)
    first = next(iter(holds), None)
    return Preview(
        decision=decision,
        candidates=tuple(previews.values()),
        first=None if first is None else previews[first],
        accounts=tuple(states),
    )


def _reply_limit(candidate: Candidate, hold: NanoUsd, request: RoutedRequest) -> ReplyLimit:
    """The limit on the reply; of a plan, on that of its last step."""
    if not candidate.steps:
        return candidate.expert.reply_within(hold, request)
    last = candidate.steps[-1]
    share = last.maximum_cost * hold // max(candidate.maximum_cost, 1)
    return last.expert.reply_within(share, request)


def _describe_account(state: AccountState) -> str:
    """What is left in an account, what is held, and until when."""
    if state.limit is None or state.available is None:
        return f"Account {state.account} has no limit."
    amounts = f"{format_usd(state.available, 4)} of {plain_usd(state.limit)}"
    holds = f" beside {format_usd(state.held, 4)} held for open calls" if state.held else ""
    until = "" if state.window.resets is None else f"; it resets at {state.window.resets}"
    return f"Account {state.account} has {amounts} left{holds}{until}."
