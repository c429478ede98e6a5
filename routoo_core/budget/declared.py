"""Limits that live in the ledger, so that all who share it follow the same ones and a change binds them at once."""

from __future__ import annotations

import platform
import shlex
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from routoo_core.budget.account import Budget, is_pattern
from routoo_core.budget.ledger import DeclaredLimit, Ledger, LimitStore, terms_of
from routoo_core.budget.period import DAY_S
from routoo_core.money import nano_to_usd, plain_usd

REFRESH_S = 0.5
"""How long a process goes by the limits that it has read."""
_NOTE_AGAIN_S = DAY_S
"""A file that says what it said is noted again after so long, lest the ledger forget it."""


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

    def accounts(self) -> list[str]:
        """The accounts that have a limit, templates apart.

        Raises:
            LedgerError: The ledger failed.
        """
        return [name for name in self._current() if not is_pattern(name)]

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

    A limit that the ledger has is replaced where the file was edited since it was last read. Else it counts, and a
    file that says something else is told. An account without a limit declares none.

    Args:
        ledger: One that keeps no limits is left alone.
        budget: Its chain and its members are declared; templates under their own names, such as ``user-*``.
        source: The file that they stand in, see :func:`file_source`; ``None`` for a program, whose limits are compared
            and not kept.
        now: Seconds since the epoch.

    Raises:
        LedgerError: The ledger failed.
    """
    if not isinstance(ledger, LimitStore):
        return
    limits = {limit.account: limit for limit in ledger.limits()}
    last_limits = {}
    if source is not None:
        last_limits = {limit.account: limit for limit in ledger.last_declared(source)}

    to_note = []
    for account in (*budget.every_account(), *budget.templates()):
        mine = _declaration(account, source, now)
        ledger_limit = limits.get(account.account)
        last = last_limits.get(account.account)
        if mine.limit is None:
            if ledger_limit is not None and last is not None:
                _warn_of_removal(mine, ledger_limit, last)
            continue

        is_edited = last is not None and last.terms != mine.terms
        if ledger_limit is None or ledger_limit.terms == mine.terms or is_edited:
            if source is not None and (ledger_limit is None or ledger_limit.terms != mine.terms):
                ledger.set_limit(mine)
        else:
            warnings.warn(_disagreement(mine, ledger_limit), stacklevel=2)
        if last is None or is_edited or now - last.set_at > _NOTE_AGAIN_S:
            to_note.append(mine)
    if source is not None and to_note:
        ledger.note_declared(to_note)


def _declaration(account: Budget, source: str | None, now: float) -> DeclaredLimit:
    """What a file or a program says of one account."""
    return DeclaredLimit(
        account=account.account,
        limit=account.limit_nano,
        period=account.period,
        rolling=account.rolling,
        source=source or "",
        set_at=now,
        timezone=account.timezone,
    )


def _warn_of_removal(mine: DeclaredLimit, ledger_limit: DeclaredLimit, last: DeclaredLimit) -> None:
    """Say so where a file gave an account a limit, and now gives it none while the ledger has one."""
    if last.limit is None or ledger_limit.limit is None:
        return
    warnings.warn(
        f"account {mine.account!r}: {mine.source} gives it no limit any more, but the ledger has "
        f"{describe_terms(ledger_limit)}, which counts. To take it away: "
        f"routoo budget set {shlex.quote(mine.account)} none",
        stacklevel=3,
    )


def describe_terms(limit: DeclaredLimit) -> str:
    """A limit in words, such as ``$5.00 each day``; its time zone where it is not UTC."""
    amount = "no limit" if limit.limit is None else plain_usd(limit.limit)
    if limit.period == "run":
        return f"{amount} for each run"
    if limit.rolling:
        return f"{amount} in any {limit.period}"
    zone = "" if limit.timezone == "UTC" else f" in {limit.timezone}"
    return f"{amount} each {limit.period}{zone}"


def _disagreement(mine: DeclaredLimit, ledger_limit: DeclaredLimit) -> str:
    where = mine.source or "the program"
    name = shlex.quote(mine.account)
    return (
        f"account {mine.account!r}: {where} says {describe_terms(mine)}, but the ledger has "
        f"{describe_terms(ledger_limit)}, declared by {ledger_limit.source}. "
        f"The ledger's counts. To change it: routoo budget set {name} LIMIT"
    )


def _with_limits(budget: Budget, limits: Mapping[str, DeclaredLimit]) -> Budget:
    """A budget, and those it is within, with their declared limits."""
    changes: dict[str, object] = {}
    if budget.within is not None:
        within = _with_limits(budget.within, limits)
        if within is not budget.within:
            changes["within"] = within
    limit = limits.get(budget.account)
    if limit is None and budget.template is not None:
        limit = limits.get(budget.template)
    if limit is not None and limit.terms != terms_of(budget):
        changes["limit"] = None if limit.limit is None else nano_to_usd(limit.limit)
        changes["period"] = limit.period
        changes["rolling"] = limit.rolling
        changes["timezone"] = limit.timezone
        changes["carry_over"] = budget.carry_over and not limit.rolling
    return budget.model_copy(update=changes) if changes else budget
