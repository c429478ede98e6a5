"""``routoo budget show``, ``history`` and ``set``: look into the accounts, and change what they may spend."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from routoo_core.budget.account import AccountState
from routoo_core.config import set_budget
from routoo_core.errors import ConfigurationError
from routoo_core.money import format_usd
from routoo_integrations.cli.configuration import find_configuration, open_configured_account
from routoo_integrations.cli.options import ConfigOption, JsonOption
from routoo_integrations.cli.terminal import out, print_json, print_line


def show_command(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every account of the configured ledger, in the period it last used; a rolling one until now."""
    _, ledger = open_configured_account(config)
    accounts = ledger.accounts()

    if as_json:
        print_json([state.to_dict() for state in accounts])
    elif accounts:
        _show_accounts(accounts)
    else:
        out.print("No account has been used yet: run a call, or routoo demo.")


def history_command(
    account: Annotated[str | None, typer.Argument(help="Whose; by default everybody's.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was spent in every period, the oldest first; of a rolling one in each sixtieth of the last five weeks.

    Example: [bold]routoo budget history team-a[/bold]
    """
    _, ledger = open_configured_account(config)
    periods = ledger.history(account)

    if as_json:
        print_json([state.to_dict() for state in periods])
    elif periods:
        _show_periods(periods)
    else:
        out.print("Nothing has been spent yet.")


def set_command(
    limit: Annotated[str, typer.Argument(help="USD for each period, a decimal such as 5.00.")],
    period: Annotated[str | None, typer.Option(help="run, hour, day or month.")] = None,
    rolling: Annotated[
        bool | None,
        typer.Option("--rolling/--fixed", help="Looking back from now, or by clock and calendar."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Change the limit in routoo.toml; running routers see it when they are built anew.

    What is spent stays spent: a limit below it refuses calls until the period ends.

    Example: [bold]routoo budget set 10.00 --period day[/bold]
    """
    configuration = find_configuration(config)
    if configuration.is_built_in:
        raise ConfigurationError("--config: there is no routoo.toml here; name the one to change")

    changes: dict[str, object] = {"limit": limit}
    if period is not None:
        changes["period"] = period
    if rolling is not None:
        changes["rolling"] = rolling
    budget = set_budget(configuration.path, changes)

    when = f"in any {budget.period}" if budget.rolling else f"each {budget.period}"
    print_line(f"{configuration.path}: account {budget.account}: ${budget.limit} {when}")


def _show_accounts(accounts: list[AccountState]) -> None:
    table = Table("account", "period", "limit", "spent", "held", "left", "calls")
    for state in accounts:
        table.add_row(
            state.account,
            state.window.key,
            _limit_usd(state.limit),
            format_usd(state.spent),
            format_usd(state.held),
            _limit_usd(state.available),
            str(state.calls),
        )
    out.print(table)


def _show_periods(periods: list[AccountState]) -> None:
    table = Table("account", "period", "limit", "spent", "calls", "beyond holds")
    for state in periods:
        table.add_row(
            state.account,
            state.window.key,
            _limit_usd(state.limit),
            format_usd(state.spent),
            str(state.calls),
            format_usd(state.overshoot),
        )
    out.print(table)


def _limit_usd(amount: int | None) -> str:
    """An amount of nano-USD that a limit sets; ``none`` where there is no limit."""
    if amount is None:
        return "none"
    return format_usd(amount)
