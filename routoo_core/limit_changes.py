"""Changing a limit: in the ledger, where it binds running processes at once, and in the file that declares it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from routoo_core.budget.account import Budget, unknown_account
from routoo_core.budget.declared import DeclaredLimits, file_source
from routoo_core.budget.ledger import DeclaredLimit, Ledger, LimitStore
from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.files import replacing
from routoo_core.options import RoutooToml, read_config

NO_LIMIT = "none"
COMMAND = "routoo budget set"
"""Who declared a limit that was set."""


@dataclass(frozen=True)
class LimitChange:
    """What is to change of a limit; ``None`` leaves a part as it is.

    Attributes:
        limit: USD, a decimal string; ``none`` for no limit.
        period: ``run``, ``hour``, ``day`` or ``month``.
        rolling: Whether it holds over any such time, looking back from now.
        timezone: Where the period begins, an IANA name.
    """

    limit: str
    period: str | None = None
    rolling: bool | None = None
    timezone: str | None = None

    def values(self) -> dict[str, Any]:
        """The changed fields; no limit is ``None``."""
        values: dict[str, Any] = {"limit": None if self.limit == NO_LIMIT else self.limit}
        if self.period is not None:
            values["period"] = self.period
        if self.rolling is not None:
            values["rolling"] = self.rolling
        if self.timezone is not None:
            values["timezone"] = self.timezone
        return values


@dataclass(frozen=True)
class ChangedLimit:
    """A limit after its change.

    Attributes:
        limit: As the ledger has it now.
        is_in_file: Whether routoo.toml declares the account, and was changed as well.
        shared_with: The accounts that have the same limit in routoo.toml, which was left as it is for their sake.
    """

    limit: DeclaredLimit
    is_in_file: bool
    shared_with: tuple[str, ...] = ()


def change_limit(
    path: Path, ledger: Ledger, account: str | None, change: LimitChange
) -> ChangedLimit:
    """Change an account's limit.

    Args:
        path: routoo.toml.
        ledger: The one that it names.
        account: Whose; ``None`` for the account that usually pays.
        change: What is to change.

    Raises:
        ConfigurationError: A value is out of range, or the ledger keeps no limits; nothing is changed. Or the file
            cannot be written; then the ledger has the new limit already.
        InvalidRequest: Nobody has declared or used the account.
        LedgerError: The ledger failed.
    """
    if not isinstance(ledger, LimitStore):
        raise ConfigurationError(
            "budget.ledger: this ledger keeps no limits; change the limit in routoo.toml"
        )
    config = read_config(path)
    usual_payer = config.read_budget(path)
    name = account or usual_payer.account
    budget = DeclaredLimits(ledger).apply(find_account(usual_payer, ledger, name))
    new_terms = _changed_budget(budget, change)

    text = _changed_file(path, config, name, new_terms)
    limit = _declared_limit(new_terms)
    ledger.set_limit(limit)
    if text is None:
        return ChangedLimit(limit, False, _sharing(usual_payer, budget))
    _write_file(path, text)
    ledger.note_declared([replace(limit, source=file_source(path))])
    return ChangedLimit(limit, True)


def change_limit_in_ledger(ledger: Ledger, budget: Budget, change: LimitChange) -> DeclaredLimit:
    """Change the limit of an account that stands in no file, such as that of a key.

    Args:
        ledger: Keeps the account.
        budget: The account as it is known.
        change: What is to change.

    Raises:
        ConfigurationError: A value is out of range, or the ledger keeps no limits; nothing is changed.
        LedgerError: The ledger failed.
    """
    if not isinstance(ledger, LimitStore):
        raise ConfigurationError("budget.ledger: this ledger keeps no limits; use SQLite or Redis")
    limit = _declared_limit(_changed_budget(DeclaredLimits(ledger).apply(budget), change))
    ledger.set_limit(limit)
    return limit


def _changed_budget(budget: Budget, change: LimitChange) -> Budget:
    """An account's budget, by itself, with a change.

    Raises:
        ConfigurationError: A value is out of range.
    """
    fields = {
        "account": budget.account,
        "limit": budget.limit,
        "period": budget.period,
        "rolling": budget.rolling,
        "timezone": budget.timezone,
    }
    return Budget.read(f"account {budget.account!r}", {**fields, **change.values()})


def _declared_limit(budget: Budget) -> DeclaredLimit:
    return DeclaredLimit(
        account=budget.account,
        limit=budget.limit_nano,
        period=budget.period,
        rolling=budget.rolling,
        timezone=budget.timezone,
        source=COMMAND,
        set_at=time.time(),
    )


def find_account(usual_payer: Budget, ledger: Ledger, name: str) -> Budget:
    """The budget of an account that is declared, here or by another file, that a template fits, or that has been used.

    Raises:
        InvalidRequest: It is none of these; the error names the one that was probably meant.
    """
    for declaration in (*usual_payer.every_account(), *usual_payer.templates()):
        if declaration.account == name:
            return declaration
    ledger_accounts = {state.account for state in ledger.accounts()}
    ledger_accounts.update(DeclaredLimits(ledger).accounts())
    try:
        if usual_payer.members or name in ledger_accounts:
            return usual_payer.for_account(name)
    except InvalidRequest:
        if name in ledger_accounts:
            return Budget(account=name)
        raise
    declared_names = [declaration.account for declaration in usual_payer.every_account()]
    raise unknown_account(name, sorted({*declared_names, *ledger_accounts}))


def _sharing(usual_payer: Budget, budget: Budget) -> tuple[str, ...]:
    """The other accounts that have an account's limit in the file, by the name or pattern that stands there."""
    if not budget.accounts:
        return ()
    names = (usual_payer.account, *budget.accounts)
    return tuple(name for name in names if name != budget.account)


def _changed_file(path: Path, config: RoutooToml, name: str, new_terms: Budget) -> str | None:
    """routoo.toml with the new terms of an account, all else as it is; ``None`` where it declares no such limit.

    All terms are written, so that the next start finds in the file what the ledger has. A limit that ``accounts``
    shares among many accounts is left as it is.

    Raises:
        ConfigurationError: The file would not be valid any more.
    """
    import tomlkit

    document = tomlkit.parse(path.read_bytes().decode("utf-8-sig"))
    if config.budgets:
        tables = [document["budgets"][name]] if name in config.budgets else []
    else:
        budget = document.setdefault("budget", tomlkit.table())
        tables = [table for table in _tables_of(budget, name) if not table.get("accounts")]
    if not tables:
        return None
    for table in tables:
        _write_terms(table, new_terms)
    RoutooToml.read(str(path), document.unwrap()).read_budget(path)
    return tomlkit.dumps(document)


def _tables_of(table: Any, name: str) -> Iterator[Any]:
    """Every table of an account: ``[budget]``, what that is within, its members, and what those are within."""
    if not isinstance(table, Mapping):
        return
    if table.get("account", "default") == name:
        yield table
    yield from _tables_of(table.get("within"), name)
    for member in table.get("members", ()):
        yield from _tables_of(member, name)


def _write_terms(table: Any, new_terms: Budget) -> None:
    """Write a limit and its terms into a table; those that are at their default may be left out."""
    if new_terms.limit is None:
        table.pop("limit", None)
    else:
        table["limit"] = str(new_terms.limit)
    for field in ("period", "rolling", "timezone"):
        value = getattr(new_terms, field)
        if field in table or value != Budget.model_fields[field].default:
            table[field] = value


def _write_file(path: Path, text: str) -> None:
    """Replace what a file holds, whoever may read it and wherever a link leads.

    Raises:
        ConfigurationError: It cannot be written.
    """
    target = path.resolve()
    try:
        with replacing(target) as partial:
            partial.write_bytes(text.encode())
            _copy_access(target, partial)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written ({error.strerror or error}). The ledger has the new limit; write it into the "
            "file too, or the next start will say that they differ"
        ) from error


def _copy_access(source: Path, target: Path) -> None:
    """Let those use a file who may use another, and its owner own it where that is allowed."""
    if sys.platform != "win32":
        status = source.stat()
        with suppress(PermissionError):
            os.chown(target, status.st_uid, status.st_gid)
    shutil.copymode(source, target)
