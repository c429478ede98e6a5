"""What the gateway's page shows: accounts, experts, the last decisions, and what routing saves."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from routoo_core.budget.account import Budget
from routoo_core.budget.overview import AccountOverview, account_overview
from routoo_core.money import format_usd, plain_usd
from routoo_core.monitoring.savings import SavingsEstimator
from routoo_core.record import AttemptRecord, CandidateRecord
from routoo_core.router import Router
from routoo_integrations.gateway.access import Access, Caller
from routoo_integrations.gateway.activity import ActivityLog, RefusedCall, RememberedCall

SHOWN_CALLS = 30
LAMBDA_SPAN_S = 24 * 3600.0
SHOWN_DRAWINGS = 4
"""Further drawings are folded away."""
DRAWING_WIDTH, DRAWING_HEIGHT = 600, 100
_UNKNOWN = "–"
_FEWEST_POINTS = 2
_Moment = tuple[float, float]
"""Seconds since the epoch, and λ then."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account, as it is shown.

    Attributes:
        name: The account.
        depth: How many of the shown accounts it is part of.
        limit: Its limit and period in words.
        limit_usd: The limit as a number to be changed; ``none`` for no limit.
        spent: USD.
        held: USD.
        left: USD.
        pace: What the period will probably come to, as a share of the limit.
        resets: When the period ends.
        spent_percent: Share of the limit that is spent, 0–100; ``None`` without a limit.
        held_percent: Share that is held beside it.
    """

    name: str
    depth: int
    limit: str
    limit_usd: str
    spent: str
    held: str
    left: str
    pace: str
    resets: str
    spent_percent: float | None
    held_percent: float | None


@dataclass(frozen=True, slots=True)
class ExpertRow:
    """An expert, as it is shown; ``–`` where nothing is known.

    Attributes:
        name: The expert.
        calls: Calls that it answered.
        share: Of all calls.
        wait: Median and 95th percentile of the seconds until its callers had a reply.
        errors: How many of its attempts failed.
        last_error: The latest of them, without its text.
        cooldown: How long it is asked last, and why.
        predicted: Mean quality predicted of the replies that were rated, else of all.
        observed: Mean of what their callers said, and of how many replies.
    """

    name: str
    calls: int
    share: str
    wait: str
    errors: str
    last_error: str
    cooldown: str
    predicted: str
    observed: str


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A call and why it was decided so."""

    id: str
    time: str
    expert: str
    account: str
    why: str
    settled: str
    wait: str
    has_answer: bool
    candidates: tuple[CandidateRecord, ...]
    attempts: tuple[AttemptRecord, ...]


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """A call that no expert answered, and why."""

    time: str
    account: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class LambdaDrawing:
    """λ of an account over the last day.

    Attributes:
        account: Whose.
        points: Of a polyline in a box of :data:`DRAWING_WIDTH` × :data:`DRAWING_HEIGHT`.
        sentence: The same in words.
    """

    account: str
    points: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Everything that one caller may see.

    Attributes:
        as_of: When, in words.
        account: The only account that is shown; ``None`` for all.
        accounts: Each followed by those that are part of it.
        experts: In the order of the pool.
        decisions: The latest first.
        refusals: Calls that no expert answered, the latest first.
        calls: How many calls the figures of experts and savings rest on.
        baseline: The expert that savings are against; empty where the caller may call none.
        baselines: Those that may be chosen.
        savings: What routing saves, in sentences; empty without calls.
        lambdas: λ over the day of each account that has one, that with the most calls first.
    """

    as_of: str
    account: str | None
    accounts: tuple[AccountRow, ...]
    experts: tuple[ExpertRow, ...]
    decisions: tuple[DecisionRow, ...]
    refusals: tuple[RefusalRow, ...]
    calls: int
    baseline: str
    baselines: tuple[str, ...]
    savings: str
    lambdas: tuple[LambdaDrawing, ...]


def make_dashboard(
    router: Router, access: Access, activity: ActivityLog, caller: Caller, baseline: str | None
) -> Dashboard:
    """The page's content for a caller.

    Args:
        router: The router.
        access: Knows the accounts of keys.
        activity: The last calls.
        caller: Who looks.
        baseline: The expert that savings are against; ``None`` or a name that nobody has for the best one.

    Raises:
        LedgerError: The ledger, or the file of the last calls, cannot be read.
    """
    calls = activity.recent(caller.account)
    refusals = activity.refusals(caller.account)
    refused_ids = {refusal.id for refusal in refusals}
    decisions = [call for call in calls if call.end.id not in refused_ids]
    experts = [
        expert.name
        for expert in router.pool
        if caller.experts is None or caller.account is None or expert.name in caller.experts
    ]
    reference = baseline if baseline in experts else _best_expert(calls, experts)
    return Dashboard(
        as_of=_moment(time.time()),
        account=caller.account,
        accounts=tuple(_account_rows(router, access, caller)),
        experts=tuple(_expert_rows(router, calls, experts)),
        decisions=tuple(_decision_row(call) for call in decisions[:SHOWN_CALLS]),
        refusals=tuple(_refusal_row(refusal) for refusal in refusals[:SHOWN_CALLS]),
        calls=len(calls),
        baseline=reference,
        baselines=tuple(experts),
        savings=_savings(calls, reference),
        lambdas=tuple(_lambda_drawings(calls)),
    )


# Accounts


def _account_rows(router: Router, access: Access, caller: Caller) -> list[AccountRow]:
    others = [*access.budgets_of_keys(), *_used_within(router, access, caller)]
    overviews = account_overview(router.budget, router.ledger, others)
    if caller.account is not None:
        overviews = [
            overview for overview in overviews if _is_within(overview.budget, caller.account)
        ]
    if not overviews:
        return []
    least_depth = min(overview.depth for overview in overviews)
    return [_account_row(overview, least_depth) for overview in overviews]


def _used_within(router: Router, access: Access, caller: Caller) -> list[Budget]:
    """The accounts that calls of the caller's key have let pay."""
    budgets = []
    for state in router.ledger.accounts():
        budget = access.budget_within(caller, state.account)
        if budget is not None:
            budgets.append(budget)
    return budgets


def _is_within(budget: Budget, account: str) -> bool:
    return any(payer.account == account for payer in budget.chain)


def _account_row(overview: AccountOverview, least_depth: int) -> AccountRow:
    state = overview.state
    limit = state.limit
    pace = overview.pace
    every = f"{'in any' if overview.budget.rolling else 'each'} {overview.budget.period}"
    spent_percent = None if not limit else min(100.0, 100 * state.spent / limit)
    held_percent = None
    if limit and spent_percent is not None:
        held_percent = min(100.0 - spent_percent, 100 * state.held / limit)
    own_limit = overview.budget.limit_nano
    return AccountRow(
        name=state.account,
        depth=overview.depth - least_depth,
        limit="no limit" if limit is None else f"{plain_usd(limit)} {every}",
        limit_usd="none" if own_limit is None else plain_usd(own_limit).removeprefix("$"),
        spent=format_usd(state.spent),
        held=format_usd(state.held),
        left=_UNKNOWN if state.available is None else format_usd(state.available),
        pace=_UNKNOWN if pace is None else f"{pace:.0%}",
        resets=state.window.resets or _UNKNOWN,
        spent_percent=spent_percent,
        held_percent=held_percent,
    )


# Experts


def _expert_rows(
    router: Router, calls: Sequence[RememberedCall], experts: Sequence[str]
) -> list[ExpertRow]:
    answered_calls = [call for call in calls if call.has_answer and not call.end.record.cached]
    cooling = router.cooldowns.current()
    now = router.cooldowns.clock()
    rows = []
    for name in experts:
        own = [call for call in answered_calls if call.end.record.expert == name]
        tries = [
            attempt
            for call in calls
            for attempt in call.end.record.attempts
            if attempt.expert == name
        ]
        errors = [attempt for attempt in tries if attempt.outcome in {"failed", "rejected"}]
        cooldown = cooling.get(name)
        scored_calls = [call for call in own if call.score is not None]
        rows.append(
            ExpertRow(
                name=name,
                calls=len(own),
                share=f"{len(own) / len(answered_calls):.0%}" if answered_calls else _UNKNOWN,
                wait=_wait(own),
                errors=f"{len(errors)} of {len(tries)}" if tries else _UNKNOWN,
                last_error=(errors[0].error or errors[0].outcome) if errors else "",
                cooldown=_UNKNOWN
                if cooldown is None
                else f"{max(0.0, cooldown.until - now):.0f} s ({cooldown.reason})",
                predicted=_mean_quality(scored_calls or own),
                observed=_mean_score(scored_calls),
            )
        )
    return rows


def _wait(calls: Sequence[RememberedCall]) -> str:
    """Of calls that nobody else had failed before: else the wait is not the expert's alone."""
    waits = [
        call.end.wait_s
        for call in calls
        if call.end.wait_s is not None and len(call.end.record.attempts) == 1
    ]
    if not waits:
        return _UNKNOWN
    waits.sort()
    late = waits[min(len(waits) - 1, math.ceil(0.95 * len(waits)) - 1)]
    return f"{_seconds(statistics.median(waits))}, {_seconds(late)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"


def _mean_quality(calls: Sequence[RememberedCall]) -> str:
    qualities = [call.routed.predicted for call in calls if call.routed.predicted is not None]
    return f"{statistics.fmean(qualities):.2f}" if qualities else _UNKNOWN


def _mean_score(calls: Sequence[RememberedCall]) -> str:
    scores = [call.score for call in calls if call.score is not None]
    return f"{statistics.fmean(scores):.2f} ({len(scores)} rated)" if scores else _UNKNOWN


# Decisions and savings


def _decision_row(call: RememberedCall) -> DecisionRow:
    end = call.end
    record = end.record
    return DecisionRow(
        id=end.id,
        time=_moment(end.time),
        expert=record.expert,
        account=record.account or "",
        why=end.why,
        settled=f"${record.total_usd or '0'}",
        wait=_UNKNOWN if end.wait_s is None else _seconds(end.wait_s),
        has_answer=call.has_answer,
        candidates=record.candidates,
        attempts=record.attempts,
    )


def _best_expert(calls: Sequence[RememberedCall], experts: Sequence[str]) -> str:
    """The expert that is predicted to be the best most often; the first without calls, "" where there are none."""
    votes: Counter[str] = Counter()
    for call in calls:
        qualities = call.routed.qualities
        best = max(qualities, key=lambda name: qualities[name])
        if best in experts:
            votes[best] += 1
    if votes:
        return votes.most_common(1)[0][0]
    return experts[0] if experts else ""


def _savings(calls: Sequence[RememberedCall], baseline: str) -> str:
    routed_calls = [call.routed for call in calls if call.has_answer]
    if not routed_calls or not baseline:
        return ""
    return SavingsEstimator(baseline, routed_calls).savings(routed_calls).describe()


def _refusal_row(refusal: RefusedCall) -> RefusalRow:
    code = f"{refusal.status} {refusal.code}"
    return RefusalRow(_moment(refusal.time), refusal.caller, code, refusal.reason)


def _lambda_drawings(calls: Sequence[RememberedCall]) -> list[LambdaDrawing]:
    """A drawing for each account, that with the most calls first."""
    since = time.time() - LAMBDA_SPAN_S
    pairs_of: dict[str, list[_Moment]] = {}
    for call in reversed(calls):
        lambda_ = call.end.record.lambda_
        if call.end.time >= since and lambda_ is not None and math.isfinite(lambda_):
            pairs = pairs_of.setdefault(call.end.record.account or "", [])
            pairs.append((call.end.time, lambda_))
    drawings = []
    for account, pairs in sorted(pairs_of.items(), key=lambda entry: -len(entry[1])):
        if len(pairs) >= _FEWEST_POINTS:
            drawings.append(_lambda_drawing(account, pairs))
    return drawings


def _lambda_drawing(account: str, pairs: Sequence[_Moment]) -> LambdaDrawing:
    heights = [math.log1p(max(0.0, lambda_)) for _, lambda_ in pairs]
    highest = max(heights) or 1.0
    begin, end = pairs[0][0], pairs[-1][0]
    points = []
    for (moment, _), height in zip(pairs, heights, strict=True):
        x = DRAWING_WIDTH * (moment - begin) / max(end - begin, 1e-9)
        y = DRAWING_HEIGHT * (1 - height / highest)
        points.append(f"{x:.1f},{y:.1f}")
    values = [lambda_ for _, lambda_ in pairs]
    sentence = (
        f"λ of {account}, what a dollar must add in quality: {values[-1]:.3g} now, "
        f"between {min(values):.3g} and {max(values):.3g} since {_moment(begin)} (logarithmic)."
    )
    return LambdaDrawing(account, " ".join(points), sentence)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
