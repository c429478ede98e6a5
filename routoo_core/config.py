"""Building what ``routoo.toml`` describes; policies and ledgers by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from routoo_core.answer_cache.rule import CacheRule
from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import DEFAULT_ALERTS, AlertRule
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.opening import open_ledger
from routoo_core.calling.checks import DEFAULT_CHECKS, CheckRule
from routoo_core.experts import Pool
from routoo_core.latency import LatencyRule
from routoo_core.options import (
    OVERRIDES,
    STARTER,
    SWITCH_MARGIN,
    RouterOptions,
    assemble,
    open_account,
    read_config,
    read_pool,
)
from routoo_core.plans.plan import Plan
from routoo_core.policies import make_policy
from routoo_core.predictor.base import Predictor
from routoo_core.router import Router
from routoo_core.selector import Policy, PreferenceRule

__all__ = [
    "STARTER",
    "build_router",
    "make_policy",
    "open_account",
    "open_ledger",
    "read_config",
    "read_pool",
]


def build_router(
    pool: Pool,
    *,
    router: str | Path | Predictor,
    policy: str | Mapping[str, Any] | Policy | PreferenceRule | None = None,
    budget: Budget | None = None,
    ledger: str | Ledger = "memory://",
    on_exhausted: str = "refuse",
    strict: bool = False,
    latency: LatencyRule | None = None,
    switch_margin: float = SWITCH_MARGIN,
    min_reply_tokens: int = 0,
    alerts: AlertRule = DEFAULT_ALERTS,
    checks: CheckRule = DEFAULT_CHECKS,
    cache: CacheRule | None = None,
    plans: Sequence[Plan] | Mapping[str, Any] = (),
    overrides: Iterable[str] = OVERRIDES,
    beside: Path | None = None,
) -> Router:
    """Put the parts together, each given as an object or as routoo.toml would name it.

    Args:
        pool: The experts.
        router: A shipped checkpoint's name, a checkpoint's folder, or any predictor.
        policy: See :class:`~routoo_core.options.RouterOptions`, also for the other keywords.
        budget: What may be spent.
        ledger: Where the accounts are kept.
        on_exhausted: What happens when nothing is affordable.
        strict: Refuse calls without ``max_tokens``.
        latency: What slow experts lose by it.
        switch_margin: Predicted quality by which another expert must be better than that of the turn before.
        min_reply_tokens: Where a call sets no limit on its reply, the budget must pay for at least so many tokens.
        alerts: When to say that an account has spent much of its limit, and to whom.
        checks: What of its replies is checked.
        cache: Which answers are stored and given again; by default none.
        plans: Ways to ask several experts in one call.
        overrides: What a call may set for itself; by default all of :data:`routoo_core.options.OVERRIDES`.
        beside: Folder that relative paths start from.

    Raises:
        ConfigurationError: A part cannot be made, or the parts do not fit together.
    """
    options = RouterOptions(
        policy=policy,
        budget=budget,
        ledger=ledger,
        on_exhausted=on_exhausted,
        strict=strict,
        latency=latency,
        switch_margin=switch_margin,
        min_reply_tokens=min_reply_tokens,
        alerts=alerts,
        checks=checks,
        cache=cache,
        plans=plans,
        overrides=overrides,
    )
    return Router.from_parts(assemble(pool, router, options, beside))
