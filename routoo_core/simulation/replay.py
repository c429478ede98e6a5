"""``routoo replay``: a stream of prompts through the router and a ledger, answered by what was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import cycle
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.assignment.solver import assign
from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.pacing import Paced
from routoo_core.budget.period import ROLLING_SPAN_S
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import BudgetExceeded, ConfigurationError
from routoo_core.evaluation.evaluation import predict
from routoo_core.experts import Expert, Pool
from routoo_core.measures.curve import Array
from routoo_core.money import NANO_PER_USD, decimal_usd
from routoo_core.outcomes import Outcomes
from routoo_core.progress import Progress
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.router import Router
from routoo_core.selector import Policy
from routoo_core.testing import ManualClock
from routoo_core.usage import Usage

DAY = ROLLING_SPAN_S["day"]
MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC).timestamp()  # a Monday
OFFICE = np.array([1] * 7 + [4, 20, 40, 40, 35, 20, 35, 40, 40, 35, 20, 8, 4, 3, 2, 1, 1])
"""Calls by the hour of a working day."""
KINDS = ("even", "poisson", "bursts", "office")


@dataclass(frozen=True)
class Call:
    """One call of a replay.

    Attributes:
        time: Seconds since the epoch.
        account: Whose money.
        expert: Who answered; ``None`` when it was refused.
        cost: Nano-USD.
        quality: Predicted for who answered, 0–1; 0 when it was refused.
        score: Observed, 0–1; 0 when it was refused; NaN where nothing was observed.
        price: λ; ``None`` under a policy without one.
    """

    time: float
    account: str
    expert: str | None
    cost: int
    quality: float
    score: float
    price: float | None


@dataclass(frozen=True)
class Stream:
    """What is replayed.

    Attributes:
        texts: The prompts, in the order they come, each once.
        times: When each comes, seconds since the epoch, rising.
        quality: Predicted, prompts × experts.
        typical: Predicted for prompts that are not in the stream; what pacing starts from.
        scores: Observed, prompts × experts, no NaN; ``None`` where only what is predicted is known.
        before: When calls came that are not replayed, from which pacing learns when calls usually come; seconds since
            the epoch, rising. They cost nothing.
    """

    texts: tuple[str, ...] = field(repr=False)
    times: Array = field(repr=False)
    quality: Array = field(repr=False)
    typical: Array = field(repr=False)
    scores: Array | None = field(repr=False, default=None)
    before: Array = field(repr=False, default_factory=lambda: np.empty(0))

    @classmethod
    def of_arrays(cls, quality: Array, typical: Array, times: Array, before: Array) -> Stream:
        """A stream of prompts of which only the predicted quality is known."""
        return cls(
            tuple(f"prompt {row}" for row in range(len(quality))),
            times,
            quality,
            typical,
            before=before,
        )


class Recorded:
    """A predictor that says again what was predicted.

    Args:
        quality: Text → quality of each expert.
        experts: The experts, in that order.
    """

    fingerprint = "recorded"

    def __init__(self, quality: Mapping[str, Array], experts: tuple[str, ...]) -> None:
        self._quality, self.experts = quality, experts

    def predict(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (prompts, experts)."""
        return np.array([self._quality[prompt] for prompt in prompts], dtype=np.float32)


def arrivals(kind: str, count: int, random: np.random.Generator, days: int = 1) -> Array:
    """When calls come, seconds since the epoch, rising.

    ``even`` at equal distances · ``poisson`` at any time · ``bursts`` half of a day's calls within two hours of its
    afternoon · ``office`` mostly in office hours.
    """
    if kind == "even":
        return MIDNIGHT + np.linspace(0, days * DAY, count, endpoint=False)
    times, day = random.uniform(0, DAY, count), random.integers(0, days, count)
    if kind == "bursts":
        times[: count // 2] = random.uniform(15 * 3600, 17 * 3600, count // 2)
    if kind == "office":
        times = 3600 * (random.choice(24, count, p=OFFICE / OFFICE.sum()) + random.random(count))
    return MIDNIGHT + np.sort(times + day * DAY)


def stream_of(
    folder: Path, outcomes: Outcomes, experts: list[str], calls: int | None, progress: Progress
) -> tuple[Outcomes, Array]:
    """The ``dev`` prompts observed with all experts, and what a router predicts for them.

    Raises:
        ConfigurationError: The router learnt from some of them, or there are fewer than ``calls``.
    """
    table = outcomes.select(experts)
    dev = table.rows("dev")
    complete = table.take(dev[~np.isnan(table.scores[dev]).any(axis=1)])
    if calls is not None and calls > len(complete.prompts):
        raise ConfigurationError(
            f"--calls: there are {len(complete.prompts)} 'dev' prompts with every expert observed"
        )
    return complete, predict(folder, complete, progress).quality


def drawn(asked: Outcomes, quality: Array, times: Array, seed: int) -> Stream:
    """As many prompts as there are times, in any order; the others are the typical ones."""
    order = np.random.default_rng(seed).permutation(len(asked.prompts))
    coming, others = order[: len(times)], order[len(times) :]
    scores = asked.scores[coming].astype(np.float64)
    return Stream(
        tuple(asked.prompts[row] for row in coming), times, quality[coming], quality[others], scores
    )


def replay_stream(
    stream: Stream,
    prices: Mapping[str, float],
    budget: Budget,
    policy: Policy | Paced,
    *,
    tokens: int = 1000,
    accounts: int = 1,
    progress: Progress,
) -> list[Call]:
    """Serve every prompt by the router that serves, on a clock that is moved and a ledger in memory.

    Args:
        stream: The prompts.
        prices: USD per million tokens of each expert, in the stream's order.
        budget: What may be spent.
        policy: Ranks the experts; ``Paced()`` starts from the stream's typical prompts.
        tokens: Of every call, half of them in the reply, which the router expects.
        accounts: Users who take turns, each with the budget as its own, within an account that has it once.
        progress: Where progress goes.
    """
    clock = ManualClock(float(stream.times[0]))
    users = (
        [f"user {number + 1}" for number in range(accounts)] if accounts > 1 else [budget.account]
    )
    if accounts > 1:
        budget = budget.model_copy(
            update={"within": budget.model_copy(update={"account": "everybody"})}
        )
    router = _router(stream, _pool(prices, tokens // 2), policy, budget, SqliteLedger(clock=clock))
    _remember(router, clock, stream.before, users)
    half, calls = tokens // 2, []
    with progress.bar("Replaying", len(stream.texts)) as advance:
        for place, (text, now, account) in enumerate(
            zip(stream.texts, stream.times.tolist(), cycle(users), strict=False)
        ):
            clock.now = now
            request = RoutedRequest(
                text, half, half, max_tokens=half, overrides=Overrides(account=account)
            )
            scores = None if stream.scores is None else stream.scores[place]
            calls.append(_call(router, request, Usage(half, half), scores, now))
            advance(1)
    return calls


def summary(
    calls: list[Call],
    stream: Stream,
    prices: Mapping[str, float],
    limit: int | None,
    tokens: int = 1000,
) -> dict[str, Any]:
    """What a replay comes to, beside the optimum that knew every prompt.

    Args:
        calls: Of the replay.
        stream: What was replayed.
        prices: See :func:`replay_stream`.
        limit: Nano-USD of all periods together.
        tokens: See :func:`replay_stream`.
    """
    cost = np.array(list(prices.values())) * tokens / 1e6
    quality, spent = sum(call.quality for call in calls), sum(call.cost for call in calls)
    found: dict[str, Any] = {
        "calls": len(calls),
        "refused": sum(call.expert is None for call in calls),
        "spent_usd": decimal_usd(spent),
        "mean_score": float(np.mean([call.score for call in calls])),
        "experts": {
            name: sum(call.expert == name for call in calls) / len(calls) for name in prices
        },
    }
    if limit is None:
        return found
    bound = assign(stream.quality, cost, limit / NANO_PER_USD, serve_all=not found["refused"]).bound
    return {
        **found,
        "limit_usd": decimal_usd(limit),
        "share_of_optimum": quality / bound if bound else 1.0,
    }


def _pool(prices: Mapping[str, float], reply: int) -> Pool:
    exact = {name: Decimal(decimal_usd(round(usd * NANO_PER_USD))) for name, usd in prices.items()}
    return Pool(
        Expert(
            name=name,
            model=name,
            input_usd_per_1m=usd,
            output_usd_per_1m=usd,
            expected_output_tokens=reply,
        )
        for name, usd in exact.items()
    )


def _router(
    stream: Stream, pool: Pool, policy: Policy | Paced, budget: Budget, ledger: Ledger
) -> Router:
    names = tuple(expert.name for expert in pool)
    if isinstance(policy, Paced):
        policy = Paced(stream.typical.astype(np.float32), names)
    return Router(
        pool,
        Recorded(dict(zip(stream.texts, stream.quality, strict=True)), names),
        policy,
        budget,
        ledger,
    )


def _remember(router: Router, clock: ManualClock, before: Array, users: Sequence[str]) -> None:
    """Let the ledger see calls that cost nothing."""
    for now, account in zip(before.tolist(), cycle(users), strict=False):
        clock.now = now
        budget = router.budget.model_copy(update={"account": account})
        router.ledger.settle(router.ledger.reserve(budget, minimum=0, maximum=0, estimate=0), 0)


def _call(
    router: Router, request: RoutedRequest, usage: Usage, scores: Array | None, now: float
) -> Call:
    account, names = str(request.overrides.account), [expert.name for expert in router.pool]
    try:
        for attempt in router.attempts(request):
            with attempt:
                attempt.settle(usage)
            column = names.index(attempt.expert.name)
            return Call(
                now,
                account,
                attempt.expert.name,
                attempt.expert.cost(usage),
                attempt.candidate.quality,
                nan if scores is None else float(scores[column]),
                attempt.decision.policy.get("price"),
            )
    except BudgetExceeded:
        pass
    return Call(now, account, None, 0, 0.0, 0.0, None)
