"""``routoo budget show``, ``watch``, ``history`` and ``set``: look into accounts, and change what they may spend."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Column, Table

from routoo_core.budget.account import AccountState
from routoo_core.budget.declared import describe_terms
from routoo_core.budget.overview import AccountOverview, account_overview
from routoo_core.errors import ConfigurationError
from routoo_core.limit_changes import LimitChange, change_limit, find_account
from routoo_core.money import NANO_PER_USD, format_usd, plain_usd
from routoo_integrations.cli.configuration import (
    find_configuration,
    open_configured_account,
    read_configured_account,
)
from routoo_integrations.cli.options import ConfigOption, JsonOption
from routoo_integrations.cli.terminal import out, print_json, print_line

UNUSED = "No account has been used yet: run a call, or routoo demo."


def show_command(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every account as a tree: its limit, the amounts spent, held and left, when it resets, and a forecast.

    The forecast is the spending by the end of the period if calls come as usual; the percentage is its share of the
    limit. Without a history, calls are assumed to come evenly.
    """
    usual_payer, ledger = read_configured_account(config)
    accounts = account_overview(usual_payer, ledger)
    if as_json:
        print_json([account.to_dict() for account in accounts])
        return
    out.print(_account_table(accounts))
    if not ledger.accounts():
        print_line(UNUSED)


def watch_command(
    config: ConfigOption = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between updates.")] = 2.0,
    looks: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many updates; by default at Ctrl-C.")
    ] = None,
) -> None:
    """Show the accounts as 'budget show' does, again and again until Ctrl-C.

    Example: [bold]routoo budget watch --interval 5[/bold]
    """
    usual_payer, ledger = read_configured_account(config)
    count = 0
    with Live(console=out, auto_refresh=False) as live:
        while looks is None or count < looks:
            if count:
                time.sleep(interval)
            live.update(_account_table(account_overview(usual_payer, ledger)), refresh=True)
            count += 1


def history_command(
    account: Annotated[str | None, typer.Argument(help="The account; by default all.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the spending in every period, the oldest first. A rolling period is split into sixtieths, for five weeks.

    Example: [bold]routoo budget history team-a[/bold]
    """
    usual_payer, ledger = read_configured_account(config)
    if account is not None:
        find_account(usual_payer, ledger, account)
    periods = ledger.history(account)

    if as_json:
        print_json([state.to_dict() for state in periods])
    elif periods:
        _show_periods(periods)
    else:
        out.print("Nothing has been spent yet.")


def set_command(
    account: Annotated[
        str, typer.Argument(help="The account; may be omitted for the default account.")
    ],
    limit: Annotated[
        str | None,
        typer.Argument(help="USD for each period, a decimal such as 5.00, or 'none'."),
    ] = None,
    period: Annotated[str | None, typer.Option(help="run, hour, day or month.")] = None,
    rolling: Annotated[
        bool | None,
        typer.Option(
            "--rolling/--fixed", help="Count the period back from now, or by clock and calendar."
        ),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Where the period begins, such as Europe/Zurich.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Change the limit of an account; it binds running processes within a second.

    The limit is kept in the ledger, and in routoo.toml where that declares the account. What is spent stays spent: a
    limit below it refuses calls until the period ends. Another period begins with nothing spent.

    Example: [bold]routoo budget set team 80 --period month[/bold]
    """
    name: str | None = account
    if limit is None:
        name = None
        limit = account
    configuration = find_configuration(config)
    if configuration.is_built_in:
        raise ConfigurationError("--config: there is no routoo.toml here; pass the one to change")

    _, ledger = open_configured_account(configuration.path)
    change = LimitChange(limit, period, rolling, timezone)
    outcome = change_limit(configuration.path, ledger, name, change)
    place = f"{configuration.path} and the ledger" if outcome.is_in_file else "the ledger"
    terms = describe_terms(outcome.limit)
    print_line(f"account {outcome.limit.account}: {terms}, in {place}")
    if outcome.shared_with:
        others = ", ".join(outcome.shared_with)
        print_line(f"{configuration.path} is left as it is: its limit is also that of {others}")


def _account_table(accounts: Sequence[AccountOverview]) -> Table:
    table = Table(
        Column("account", overflow="fold", max_width=20),
        *(Column(name, justify="right") for name in ("limit", "spent", "held", "left")),
        Column("resets (UTC)", no_wrap=True),
        Column("forecast", justify="right"),
        box=None,
        padding=(0, 2, 0, 0),
    )
    for account in accounts:
        state = account.state
        table.add_row(
            "  " * account.depth + state.account,
            _limit_and_period(account),
            _short_usd(state.spent),
            _short_usd(state.held),
            "" if state.available is None else _short_usd(state.available),
            _resets(account),
            _forecast(account),
        )
    return table


def _limit_and_period(account: AccountOverview) -> str:
    """A limit as in ``$5.00/day``; a tilde for a rolling period."""
    limit = account.state.limit
    if limit is None:
        return "none"
    tilde = "~" if account.budget.rolling else ""
    return f"{plain_usd(limit)}/{tilde}{account.budget.period}"


def _resets(account: AccountOverview) -> str:
    window = account.state.window
    if window.resets is None:
        return "rolls" if account.budget.rolling else "never"
    return datetime.fromtimestamp(window.end or 0.0, UTC).strftime("%d %b %H:%M")


def _forecast(account: AccountOverview) -> str:
    if account.forecast is None:
        return "–"
    pace = "" if account.pace is None else f" {account.pace:.0%}"
    return f"{_short_usd(account.forecast)}{pace}"


def _short_usd(nano: int) -> str:
    """An amount to about four digits."""
    usd = abs(nano) / NANO_PER_USD
    digits = 2 if usd >= 10 or not nano else 4 if usd >= 0.01 else 6
    text = format_usd(nano, digits)
    return text.rstrip("0").rstrip(".") if digits > 2 else text


def _show_periods(periods: list[AccountState]) -> None:
    period = Column("period", no_wrap=True)
    table = Table("account", period, "limit", "spent", "calls", "over hold", box=None)
    for state in periods:
        table.add_row(
            state.account,
            state.window.key,
            "none" if state.limit is None else format_usd(state.limit),
            format_usd(state.spent),
            str(state.calls),
            format_usd(state.overshoot),
        )
    out.print(table)
