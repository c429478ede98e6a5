"""A replay: traffic through the serving router and a ledger, answered by what was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import cycle
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.solver import assign
from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import NO_ALERTS
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.driver import run
from routoo_core.calling.readings import Reading
from routoo_core.errors import BudgetExceeded, ConfigurationError
from routoo_core.evaluation.predictions import predict
from routoo_core.experts import Expert, Pool
from routoo_core.measures.call_costs import answer_tokens, prompt_tokens
from routoo_core.measures.curve import Array
from routoo_core.money import NANO_PER_USD, decimal_usd
from routoo_core.outcomes import Outcomes
from routoo_core.prices import TOKENS_PER_MILLION
from routoo_core.progress import Progress
from routoo_core.record import DecisionRecord
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.router import Router
from routoo_core.selector import Policy, PreferenceRule
from routoo_core.simulation.traffic import CallTokens, ReplayTraffic
from routoo_core.testing import ManualClock
from routoo_core.usage import Usage

TOKENS_PER_CALL = 1000
SHARED_ACCOUNT = "everybody"
_ANY_WINDOW = 10_000_000
"""Tokens of a window that fits every observed call."""


@dataclass(frozen=True)
class ReplaySettings:
    """How traffic is replayed.

    Attributes:
        prices: USD per million tokens of each expert, in the order of the traffic's columns; of prompts alone where
            ``reply_prices`` are given.
        budget: What may be spent.
        policy: Ranks the experts; one that learns starts from the traffic's typical prompts.
        tokens: Tokens of every call, where the traffic does not say how long its calls are. Half of them are the
            reply, whose length the router expects.
        accounts: Number of users who take turns. With several, each has the budget for itself, within an account
            that has it once for all of them.
        reply_prices: USD per million tokens of replies; by default ``prices``.
    """

    prices: Mapping[str, float]
    budget: Budget
    policy: Policy | PreferenceRule
    tokens: int = TOKENS_PER_CALL
    accounts: int = 1
    reply_prices: Mapping[str, float] | None = None

    def usd(self, traffic: ReplayTraffic) -> Array:
        """USD of each call, prompts × experts."""
        prompt_usd = np.array(list(self.prices.values())) / TOKENS_PER_MILLION
        reply_usd = np.array(list((self.reply_prices or self.prices).values())) / TOKENS_PER_MILLION
        if traffic.tokens is None:
            usd = (prompt_usd + reply_usd) * self.half_tokens
            return np.broadcast_to(usd, traffic.quality.shape)
        usd_of_calls: Array = (
            traffic.tokens.prompts[:, None] * prompt_usd + traffic.tokens.replies * reply_usd
        )
        return usd_of_calls

    @property
    def half_tokens(self) -> int:
        """Tokens of each prompt, and of each reply."""
        return self.tokens // 2


@dataclass(frozen=True)
class ReplayedCall:
    """One call of a replay.

    Attributes:
        time: Seconds since the epoch.
        account: The account that paid.
        expert: The expert that answered; ``None`` when the budget refused the call.
        cost: Nano-USD.
        quality: Predicted for that expert, 0–1; 0 when the call was refused.
        score: Observed, 0–1; 0 when the call was refused, NaN where nothing was observed.
        lambda_: λ, quality per USD; ``None`` under a policy without one.
    """

    time: float
    account: str
    expert: str | None
    cost: int
    quality: float
    score: float
    lambda_: float | None


@dataclass(frozen=True)
class ReplaySummary:
    """The result of a replay, with the optimum of a router that knows every prompt in advance.

    Attributes:
        calls: Number of calls.
        refused: Number of calls that the budget refused.
        spent: Nano-USD.
        mean_score: Mean observed score, 0–1; NaN where nothing was observed.
        shares: Share of the calls that each expert answered, 0–1.
        limit: Nano-USD of all periods together; ``None`` without a limit.
        share_of_optimum: Predicted quality as a share of the LP's bound; ``None`` without a limit.
        share_of_best_score: Observed score as a share of what always asking the best predicted expert scores; ``None``
            where nothing was observed.
        share_of_best_cost: What was spent as a share of what that would cost; ``None`` where it costs nothing.
    """

    calls: int
    refused: int
    spent: int
    mean_score: float
    shares: Mapping[str, float]
    limit: int | None = None
    share_of_optimum: float | None = None
    share_of_best_score: float | None = None
    share_of_best_cost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, amounts as decimal USD."""
        values: dict[str, Any] = {
            "calls": self.calls,
            "refused": self.refused,
            "spent_usd": decimal_usd(self.spent),
            "mean_score": self.mean_score,
            "share_of_best_score": self.share_of_best_score,
            "share_of_best_cost": self.share_of_best_cost,
            "experts": dict(self.shares),
        }
        if self.limit is not None:
            values["limit_usd"] = decimal_usd(self.limit)
            values["share_of_optimum"] = self.share_of_optimum
        return values


class RecordedPredictor:
    """A predictor that repeats known predictions.

    Args:
        quality: Quality of each expert, 0–1, by text.
        experts: The experts in that order.
    """

    fingerprint = "recorded"

    def __init__(self, quality: Mapping[str, Array], experts: tuple[str, ...]) -> None:
        self._quality = quality
        self.experts = experts

    def predict(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (prompts, experts)."""
        rows = [self._quality[prompt] for prompt in prompts]
        return np.array(rows, dtype=np.float32)


def replayable_prompts(
    folder: Path, outcomes: Outcomes, experts: Sequence[str], count: int | None, progress: Progress
) -> tuple[Outcomes, Array]:
    """The ``dev`` prompts that were observed with all experts, and what a checkpoint predicts for them.

    Args:
        folder: The checkpoint.
        outcomes: What was observed.
        experts: The experts to replay.
        count: How many prompts are needed; ``None`` for any number.
        progress: Where progress goes.

    Raises:
        ConfigurationError: The checkpoint learnt from some of the prompts, or there are fewer than ``count``.
    """
    table = outcomes.select(experts)
    dev_rows = table.rows("dev")
    is_complete = ~np.isnan(table.scores[dev_rows]).any(axis=1)
    complete = table.take(dev_rows[is_complete])
    available = len(complete.prompts)
    if count is not None and count > available:
        raise ConfigurationError(
            f"calls: there are {available} 'dev' prompts with every expert observed; "
            "replay at most so many"
        )
    return complete, predict(folder, complete, progress).quality


def sample_traffic(
    outcomes: Outcomes, quality: Array, times: Array, seed: int, has_lengths: bool = False
) -> ReplayTraffic:
    """Draw as many prompts as there are times, in random order; the others are the typical prompts.

    Args:
        outcomes: Prompts that were observed with every expert.
        quality: Predicted for them, prompts × experts.
        times: When calls arrive, seconds since the epoch, rising.
        seed: Another seed gives another order.
        has_lengths: Whether calls are as long as they were, rather than all alike.
    """
    order = np.random.default_rng(seed).permutation(len(outcomes.prompts))
    rows = order[: len(times)]
    remaining = order[len(times) :]
    return ReplayTraffic(
        prompts=tuple(outcomes.prompts[row] for row in rows),
        times=times,
        quality=quality[rows],
        typical_quality=quality[remaining],
        scores=outcomes.scores[rows].astype(np.float64),
        tokens=_call_tokens(outcomes, rows) if has_lengths else None,
    )


def _call_tokens(outcomes: Outcomes, rows: NDArray[np.int64]) -> CallTokens:
    """How long the replayed calls are; the router expects each expert's mean over all prompts."""
    replies = np.maximum(1.0, np.ceil(answer_tokens(outcomes)))
    prompts = np.maximum(1.0, prompt_tokens(outcomes))
    return CallTokens(prompts[rows], replies[rows], replies.mean(axis=0))


def replay_traffic(
    traffic: ReplayTraffic, settings: ReplaySettings, progress: Progress
) -> list[ReplayedCall]:
    """Serve every prompt by the serving router, with a simulated clock and a ledger in memory."""
    clock = ManualClock(float(traffic.times[0]))
    accounts = _account_names(settings)
    router = _replay_router(traffic, settings, clock)
    _book_earlier_calls(router, clock, traffic.earlier_times, accounts)

    calls = []
    arrivals = zip(traffic.prompts, traffic.times.tolist(), cycle(accounts), strict=False)
    with progress.bar("Replaying", len(traffic.prompts)) as advance:
        for row, (prompt, time, account) in enumerate(arrivals):
            clock.now = time
            replies = _reply_tokens(traffic, row, settings)
            request = _replayed_request(
                prompt, account, _prompt_tokens(traffic, row, settings), replies
            )
            call = _ObservedCall(request, time, _score_of(traffic, row, settings), replies)
            try:
                outcome = run(router, request, call)
            except BudgetExceeded:
                outcome = call.refused()
            calls.append(outcome)
            advance(1)
    return calls


def summarise_replay(
    calls: Sequence[ReplayedCall],
    traffic: ReplayTraffic,
    settings: ReplaySettings,
    limit: int | None,
) -> ReplaySummary:
    """Sum a replay up.

    Args:
        calls: The calls of the replay.
        traffic: What was replayed.
        settings: How.
        limit: Nano-USD of all periods together; ``None`` without a limit.
    """
    refusals = sum(call.expert is None for call in calls)
    shares = {}
    for name in settings.prices:
        count = sum(call.expert == name for call in calls)
        shares[name] = count / len(calls)

    share_of_optimum = None
    if limit is not None:
        quality = sum(call.quality for call in calls)
        bound = _optimum_bound(traffic, settings, limit, serve_all=not refusals)
        share_of_optimum = quality / bound if bound else 1.0
    spending = sum(call.cost for call in calls)
    mean_score = float(np.mean([call.score for call in calls]))
    best_score, best_cost = _always_the_best(traffic, settings)
    return ReplaySummary(
        calls=len(calls),
        refused=refusals,
        spent=spending,
        mean_score=mean_score,
        share_of_best_score=mean_score / best_score if best_score else None,
        share_of_best_cost=spending / best_cost if best_cost else None,
        shares=shares,
        limit=limit,
        share_of_optimum=share_of_optimum,
    )


def _always_the_best(
    traffic: ReplayTraffic, settings: ReplaySettings
) -> tuple[float | None, float]:
    """Mean observed score, ``None`` without observations, and nano-USD of asking the best predicted expert always."""
    best = traffic.quality.argmax(axis=1)
    rows = np.arange(len(best))
    cost = float(settings.usd(traffic)[rows, best].sum()) * NANO_PER_USD
    if traffic.scores is None:
        return None, cost
    return float(traffic.scores[rows, best].mean()), cost


def _optimum_bound(
    traffic: ReplayTraffic, settings: ReplaySettings, limit: int, serve_all: bool
) -> float:
    """Predicted quality that no assignment within the limit exceeds."""
    cost = settings.usd(traffic)
    budget_usd = limit / NANO_PER_USD
    optimum = assign(traffic.quality, cost, budget_usd, serve_all=serve_all)
    return optimum.bound


def _account_names(settings: ReplaySettings) -> list[str]:
    """The accounts that take turns."""
    if settings.accounts == 1:
        return [settings.budget.account]
    return [f"user {number}" for number in range(1, settings.accounts + 1)]


def _replay_budget(settings: ReplaySettings) -> Budget:
    """The budget of each account; with several accounts, within a shared one of the same limit."""
    budget = settings.budget
    if settings.accounts == 1:
        return budget
    common_budget = budget.model_copy(update={"account": SHARED_ACCOUNT})
    return budget.model_copy(update={"within": common_budget})


def _replay_router(traffic: ReplayTraffic, settings: ReplaySettings, clock: ManualClock) -> Router:
    """A router of the same parts as a serving one; only its predictor and its clock are known in advance."""
    pool = _replay_pool(traffic, settings)
    names = tuple(settings.prices)
    policy = settings.policy
    if isinstance(policy, Policy) and policy.learns:
        policy = policy.with_reference(traffic.typical_quality.astype(np.float32), names)
    quality_by_prompt = dict(zip(traffic.prompts, traffic.quality, strict=True))
    predictor = RecordedPredictor(quality_by_prompt, names)
    return Router(
        pool,
        predictor,
        policy,
        _replay_budget(settings),
        SqliteLedger(clock=clock),
        alerts=NO_ALERTS,  # nobody's money is spent
    )


def _replay_pool(traffic: ReplayTraffic, settings: ReplaySettings) -> Pool:
    """Experts with the prices of the replay, and the length of reply that is expected of each."""
    experts = []
    for column, name in enumerate(settings.prices):
        usual_reply = settings.half_tokens
        if traffic.tokens is not None:
            usual_reply = round(float(traffic.tokens.usual_replies[column]))
        expert = Expert(
            name=name,
            model=name,
            input_usd_per_1m=_exact_usd(settings.prices[name]),
            output_usd_per_1m=_exact_usd((settings.reply_prices or settings.prices)[name]),
            expected_output_tokens=usual_reply,
            context_window=_ANY_WINDOW,
            max_output_tokens=_ANY_WINDOW,
        )
        experts.append(expert)
    return Pool(experts)


def _exact_usd(usd: float) -> Decimal:
    return Decimal(decimal_usd(round(usd * NANO_PER_USD)))


def _book_earlier_calls(
    router: Router, clock: ManualClock, times: Array, accounts: Sequence[str]
) -> None:
    """Book calls that cost nothing, so that the ledger knows when calls usually arrive."""
    for time, account in zip(times.tolist(), cycle(accounts), strict=False):
        clock.now = time
        budget = router.budget.model_copy(update={"account": account})
        reservation = router.ledger.reserve(budget, minimum=0, maximum=0)
        router.ledger.settle(reservation, 0)


def _prompt_tokens(traffic: ReplayTraffic, row: int, settings: ReplaySettings) -> int:
    if traffic.tokens is None:
        return settings.half_tokens
    return int(traffic.tokens.prompts[row])


def _reply_tokens(traffic: ReplayTraffic, row: int, settings: ReplaySettings) -> dict[str, int]:
    """Expert → tokens of its reply to a prompt."""
    if traffic.tokens is None:
        return dict.fromkeys(settings.prices, settings.half_tokens)
    replies = traffic.tokens.replies[row].astype(int).tolist()
    return dict(zip(settings.prices, replies, strict=True))


def _replayed_request(
    prompt: str, account: str, prompt_tokens: int, replies: Mapping[str, int]
) -> RoutedRequest:
    """A call with a limit that leaves room for each expert's reply."""
    return RoutedRequest(
        prompt,
        prompt_tokens,
        prompt_tokens,
        max_tokens=max(replies.values()),
        overrides=Overrides(account=account),
    )


def _score_of(traffic: ReplayTraffic, row: int, settings: ReplaySettings) -> dict[str, float]:
    """Observed score of each expert on a prompt; empty where nothing was observed."""
    if traffic.scores is None:
        return {}
    return dict(zip(settings.prices, traffic.scores[row].tolist(), strict=True))


class _ObservedCall:
    """A call that is answered by what was observed; the expert is never called.

    Args:
        request: The call.
        time: When it arrives, seconds since the epoch.
        score_of: Observed score of each expert, 0–1; empty where nothing was observed.
        replies: Expert → tokens of its reply.
    """

    def __init__(
        self,
        request: RoutedRequest,
        time: float,
        score_of: Mapping[str, float],
        replies: Mapping[str, int],
    ) -> None:
        self._account = str(request.overrides.account)
        self._prompt_tokens = request.prompt_tokens
        self._replies = replies
        self._usage = Usage(request.prompt_tokens, 0)
        self._time = time
        self._score_of = score_of

    def send(self, attempt: Attempt) -> ReplayedCall:
        """The outcome of the attempt's expert."""
        expert = attempt.expert
        self._usage = Usage(self._prompt_tokens, self._replies[expert.name])
        return ReplayedCall(
            time=self._time,
            account=self._account,
            expert=expert.name,
            cost=expert.cost(self._usage),
            quality=attempt.candidate.quality,
            score=self._score_of.get(expert.name, nan),
            lambda_=None,
        )

    def read(self, reply: ReplayedCall) -> Reading:
        """The tokens of the call."""
        return Reading(usage=self._usage)

    def stamp(self, reply: ReplayedCall, record: DecisionRecord) -> ReplayedCall:
        """The outcome with the λ it was decided by."""
        return replace(reply, lambda_=record.lambda_)

    def refused(self) -> ReplayedCall:
        """The outcome where the budget refused the call."""
        return ReplayedCall(
            time=self._time,
            account=self._account,
            expert=None,
            cost=0,
            quality=0.0,
            score=0.0,
            lambda_=None,
        )
