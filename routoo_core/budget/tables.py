"""``[budgets.*]`` in routoo.toml: a team and the people in it, each a table under its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routoo_core.budget.account import Budget, is_pattern
from routoo_core.errors import ConfigurationError
from routoo_core.settings import Settings


class AccountTable(Settings):
    """One table: the fields of Budget, with the name of the account that this one is part of.

    A name with ``*`` or ``?`` is a template: an account of a name like it is made when a call first names it.
    """

    within: str | None = None
    limit: Any = None
    period: str = "day"
    timezone: str = "UTC"
    expected_calls: int = 1000
    rolling: bool = False
    carry_over: bool = False
    held_share: Any = None


def read_budgets(origin: str, tables: Mapping[str, Any], default: str | None = None) -> Budget:
    """The budget of the account that usually pays, with the others as its members.

    Args:
        origin: The file, for errors.
        tables: Name → the fields of :class:`AccountTable`; at least one.
        default: Who pays where a call names nobody; by default the first that is no template.

    Raises:
        ConfigurationError: A field is out of range, an account is unknown or part of itself, or all are templates.
    """
    accounts = {}
    for name, values in tables.items():
        if not isinstance(values, Mapping):
            raise ConfigurationError(
                f"{origin}: budgets.{name}: is no table; write [budgets.{name}]"
            )
        accounts[name] = AccountTable.read(f"{origin}: budgets.{name}", values)

    names = [name for name in accounts if not is_pattern(name)]
    if default is None:
        if not names:
            raise ConfigurationError(
                f"{origin}: budgets: all are templates; add the account that pays where a call names nobody"
            )
        default = names[0]
    if default not in names:
        raise ConfigurationError(
            f"{origin}: budget.account: {default!r} is none of {', '.join(names)}; name one of [budgets]"
        )

    budgets = {name: _read_budget(origin, accounts, name, ()) for name in accounts}
    members = tuple(budget for name, budget in budgets.items() if name != default)
    return budgets[default].model_copy(update={"members": members})


def _read_budget(
    origin: str, accounts: Mapping[str, AccountTable], name: str, inner: tuple[str, ...]
) -> Budget:
    """The budget of one account.

    Args:
        origin: The file.
        accounts: All tables.
        name: Whose.
        inner: The accounts that it encloses here, innermost first.
    """
    table = accounts[name]
    within = None
    if table.within is not None:
        place = f"{origin}: budgets.{name}: within"
        if table.within not in accounts or is_pattern(table.within):
            raise ConfigurationError(
                f"{place}: {table.within!r} is no account; add [budgets.{table.within}]"
            )
        if table.within in {name, *inner}:
            chain = " < ".join((*inner, name, table.within))
            raise ConfigurationError(f"{place}: an account cannot be part of itself ({chain})")
        within = _read_budget(origin, accounts, table.within, (*inner, name))
    values = table.model_dump(exclude={"within"})
    return Budget.read(f"{origin}: budgets.{name}", {**values, "account": name, "within": within})
