"""Limits that live in the ledger, so that all who share it follow the same ones and a change binds them at once."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import DeclaredLimit, Ledger, LimitStore, terms_of
from routoo_core.money import nano_to_usd, plain_usd

REFRESH_S = 0.5
"""How long a process goes by the limits that it has read."""


class DeclaredLimits:
    """The limits that a ledger keeps, read at most twice a second.

    Args:
        ledger: Where they are kept; one that keeps none leaves every budget as it is.
        clock: Seconds that never go back.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = ledger if isinstance(ledger, LimitStore) else None
        self._clock = clock
        self._limits: Mapping[str, DeclaredLimit] = {}
        self._read_at: float | None = None

    def apply(self, budget: Budget) -> Budget:
        """A budget with the declared limits of its accounts in the place of its own.

        Raises:
            LedgerError: The ledger failed.
        """
        limits = self._current()
        return _with_limits(budget, limits) if limits else budget

    def _current(self) -> Mapping[str, DeclaredLimit]:
        if self._store is None:
            return {}
        now = self._clock()
        if self._read_at is None or now - self._read_at >= REFRESH_S:
            self._limits = {limit.account: limit for limit in self._store.limits()}
            self._read_at = now
        return self._limits


def file_source(path: str | Path) -> str:
    """What a ledger calls a file: its path, and the machine, since containers have the same paths on many machines."""
    return f"{platform.node()}:{Path(path).resolve()}"


def declare_limits(ledger: Ledger, budget: Budget, source: str | None, now: float) -> None:
    """Put the limits of a budget's accounts into the ledger, and say where it has others.

    What the same source has declared before is replaced: its file was edited. Other limits stay as they are, and an
    account without a limit declares none.

    Args:
        ledger: One that keeps no limits is left alone.
        budget: Its chain and its members are declared, templates apart.
        source: The file that they stand in; ``None`` for a program, whose limits are compared and not kept.
        now: Seconds since the epoch.

    Raises:
        LedgerError: The ledger failed.
    """
    if not isinstance(ledger, LimitStore):
        return
    declared = {limit.account: limit for limit in ledger.limits()}
    for account in budget.every_account():
        mine = DeclaredLimit(
            account=account.account,
            limit=account.limit_nano,
            period=account.period,
            rolling=account.rolling,
            source=source or "",
            set_at=now,
            timezone=account.timezone,
        )
        known = declared.get(account.account)
        is_own = known is not None and source is not None and known.source == source
        if mine.limit is None and not is_own:
            continue  # who says nothing leaves the limits of others alone
        if known is not None and known.terms != mine.terms and not is_own:
            warnings.warn(_disagreement(mine, known), stacklevel=2)
        elif source is not None and (known is None or known.terms != mine.terms):
            ledger.set_limit(mine)


def describe_terms(limit: DeclaredLimit) -> str:
    """A limit in words, such as ``$5.00 each day``; its time zone where it is not UTC."""
    amount = "no limit" if limit.limit is None else plain_usd(limit.limit)
    if limit.period == "run":
        return f"{amount} for each run"
    if limit.rolling:
        return f"{amount} in any {limit.period}"
    zone = "" if limit.timezone == "UTC" else f" in {limit.timezone}"
    return f"{amount} each {limit.period}{zone}"


def _disagreement(mine: DeclaredLimit, known: DeclaredLimit) -> str:
    where = mine.source or "the program"
    return (
        f"account {mine.account!r}: {where} says {describe_terms(mine)}, but the ledger has {describe_terms(known)}, "
        f"declared by {known.source}. The ledger's counts. To change it: routoo budget set {mine.account} LIMIT"
    )


def _with_limits(budget: Budget, limits: Mapping[str, DeclaredLimit]) -> Budget:
    """A budget, and those it is within, with their declared limits."""
    changes: dict[str, object] = {}
    if budget.within is not None:
        within = _with_limits(budget.within, limits)
        if within is not budget.within:
            changes["within"] = within
    declared = limits.get(budget.account)
    if declared is not None and declared.terms != terms_of(budget):
        changes["limit"] = None if declared.limit is None else nano_to_usd(declared.limit)
        changes["period"] = declared.period
        changes["rolling"] = declared.rolling
        changes["timezone"] = declared.timezone
        changes["carry_over"] = budget.carry_over and not declared.rolling
    return budget.model_copy(update=changes) if changes else budget
