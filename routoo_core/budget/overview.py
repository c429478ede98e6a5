"""All accounts as a tree: the amounts spent, held and left, and the forecast for the period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.declared import DeclaredLimits
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.outlook import Standing, Standings
from routoo_core.errors import InvalidRequest
from routoo_core.money import NanoUsd

EARLIEST_FORECAST = 0.02
"""Share of a period, or of its usual calls, before which nothing is forecast."""


@dataclass(frozen=True, slots=True)
class AccountOverview:
    """An account and where it stands.

    Attributes:
        budget: Its limit, as the ledger has it.
        state: What is spent, held and left.
        depth: How many accounts it is part of.
        forecast: What will be spent by the end of the period, nano-USD; ``None`` for a run or a rolling period, and
            while it is too early to tell.
    """

    budget: Budget
    state: AccountState
    depth: int
    forecast: NanoUsd | None

    @property
    def pace(self) -> float | None:
        """The forecast as a share of the limit; above 1, the limit will bind."""
        if self.forecast is None or not self.state.limit:
            return None
        return self.forecast / self.state.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; amounts are nano-USD."""
        within = self.budget.within
        return {
            **self.state.to_dict(),
            "period": self.budget.period,
            "rolling": self.budget.rolling,
            "resets": self.state.window.resets,
            "within": None if within is None else within.account,
            "forecast": self.forecast,
            "pace": self.pace,
        }


def account_overview(
    usual_payer: Budget, ledger: Ledger, others: Sequence[Budget] = ()
) -> list[AccountOverview]:
    """Every account that is declared or has been used, each followed by those that are part of it.

    Args:
        usual_payer: The budget with its members, as configured.
        ledger: Keeps the accounts.
        others: Further accounts, such as those of keys, whether or not they have been used.

    Raises:
        LedgerError: The ledger failed.
    """
    last_states = {state.account: state for state in ledger.accounts()}
    limits = DeclaredLimits(ledger)
    budgets = {account.account: account for account in usual_payer.every_account()}
    for other in others:
        budgets.setdefault(other.account, other)
    for name in last_states:
        if name not in budgets:
            budgets[name] = _budget_of_used(usual_payer, name)
    for name in limits.accounts():
        if name not in budgets:
            budgets[name] = _budget_of_declared(usual_payer, name)
    budgets = {name: limits.apply(budget) for name, budget in budgets.items()}

    standings = Standings(ledger)
    overviews = []
    for budget in _depth_first(list(budgets.values()), None):
        standing = standings.of(budget)
        last_state = last_states.get(budget.account)
        # That run is another than this process would begin.
        if budget.period == "run" and last_state is not None:
            standing = Standing(budget, last_state)
        depth = len(budget.chain) - 1
        overviews.append(AccountOverview(budget, standing.state, depth, forecast(standing)))
    return overviews


def forecast(standing: Standing) -> NanoUsd | None:
    """What an account will have spent by the end of its period, if it goes on as usual; nano-USD.

    Where it is known when calls usually come, that is the measure, else the time that has passed.

    Returns:
        ``None`` for a run or a rolling period, and while it is too early to tell.
    """
    state = standing.state
    window = state.window
    if window.end is None or window.span is not None:
        return None
    moments = np.array([window.start, min(state.as_of, window.end), window.end])
    if standing.usual is not None:
        moments = standing.usual.until(moments)
    begin, now, end = (float(moment) for moment in moments)
    if end <= begin or (now - begin) / (end - begin) < EARLIEST_FORECAST:
        return None
    return round(state.spent * (end - begin) / (now - begin))


def _budget_of_used(usual_payer: Budget, name: str) -> Budget:
    """The budget of an account that calls have named; without a limit where nothing is configured for it."""
    try:
        return usual_payer.for_account(name)
    except InvalidRequest:
        return Budget(account=name)


def _budget_of_declared(usual_payer: Budget, name: str) -> Budget:
    """The budget of an account that another file has declared; within others where this one's templates say so."""
    if usual_payer.members or usual_payer.accounts is not None:
        return _budget_of_used(usual_payer, name)
    return Budget(account=name)


def _depth_first(budgets: Sequence[Budget], within: str | None) -> list[Budget]:
    """The accounts that are part of one, in their order, each followed by those that are part of it."""
    order = []
    for budget in budgets:
        parent = None if budget.within is None else budget.within.account
        if parent == within:
            order.append(budget)
            order += _depth_first(budgets, budget.account)
    return order
