"""``routoo budget …``: look into the accounts, and change what they may spend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.budget.ledger import Ledger
from routoo_core.config import open_account, read_config, set_budget
from routoo_core.errors import ConfigurationError
from routoo_core.money import decimal_usd, format_usd
from routoo_integrations.cli.shared import ConfigOption, JsonOption, config_path, out

app = typer.Typer(
    no_args_is_help=True, help="Look into the accounts: what is spent, held and left."
)


@app.command()
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every account of the configured ledger, in the period it last used; a rolling one until now."""
    accounts = _ledger(config).accounts()
    if as_json:
        out.print_json(json.dumps([state.to_dict() for state in accounts]))
        return
    table = Table("account", "period", "limit", "spent", "held", "left", "calls")
    for state in accounts:
        amounts = (state.limit, state.spent, state.held, state.available)
        shown = ["none" if amount is None else format_usd(amount) for amount in amounts]
        table.add_row(state.account, state.window.key, *shown, str(state.calls))
    out.print(table if accounts else "No account has been used yet: run a call, or routoo demo.")


@app.command()
def history(
    account: Annotated[str | None, typer.Argument(help="Whose; by default everybody's.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was spent in every period, the oldest first; of a rolling one in each sixtieth of the last five weeks.

    Example: [bold]routoo budget history team-a[/bold]
    """
    states = _ledger(config).history(account)
    if as_json:
        out.print_json(json.dumps([state.to_dict() for state in states]))
        return
    table = Table("account", "period", "limit", "spent", "calls", "beyond holds")
    for state in states:
        limit = "none" if state.limit is None else format_usd(state.limit)
        amounts = (limit, format_usd(state.spent), str(state.calls), format_usd(state.overshoot))
        table.add_row(state.account, state.window.key, *amounts)
    out.print(table if states else "Nothing has been spent yet.")


@app.command("set")
def set_limit(
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
    path, built_in = config_path(config)
    if built_in:
        raise ConfigurationError("--config: there is no routoo.toml here; name the one to change")
    given = {"limit": limit, "period": period, "rolling": rolling}
    budget = set_budget(path, {name: value for name, value in given.items() if value is not None})
    each = f"in any {budget.period}" if budget.rolling else f"each {budget.period}"
    out.print(
        f"{path}: account {budget.account}: ${budget.limit} {each}", highlight=False, soft_wrap=True
    )


@app.command()
def export(
    target: Annotated[Path, typer.Option("--out", help="The table to write, .parquet or .csv.")],
    account: Annotated[str | None, typer.Option(help="Whose; by default everybody's.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write every account and period as a table, amounts in USD: for a spreadsheet or an invoice.

    Example: [bold]routoo budget export --out spending.csv[/bold]
    """
    from routoo_core.tables import write_table

    states = _ledger(config).history(account)
    columns: dict[str, list[object]] = {
        "account": [state.account for state in states],
        "period": [state.window.key for state in states],
        "resets": [state.window.resets for state in states],
        "limit_usd": [
            None if state.limit is None else decimal_usd(state.limit) for state in states
        ],
        "spent_usd": [decimal_usd(state.spent) for state in states],
        "held_usd": [decimal_usd(state.held) for state in states],
        "overshoot_usd": [decimal_usd(state.overshoot) for state in states],
        "calls": [state.calls for state in states],
    }
    write_table(target, columns)
    out.print(f"{target}: {len(states)} periods", highlight=False, soft_wrap=True)


def _ledger(config: Path | None) -> Ledger:
    """The configured ledger."""
    path, in_memory = config_path(config)
    return open_account(path, read_config(path), in_memory)[1]
