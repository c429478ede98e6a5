"""``routoo budget export``: what was spent, as a table."""

from __future__ import annotations

from typing import Annotated

import typer

from routoo_core.budget.account import AccountState
from routoo_core.money import decimal_usd
from routoo_core.tables import check_table_format, spreadsheet_text, write_table
from routoo_integrations.cli.configuration import open_configured_account
from routoo_integrations.cli.options import ConfigOption, TableOption
from routoo_integrations.cli.outputs import CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import print_line


def export_command(
    target: TableOption,
    account: Annotated[str | None, typer.Option(help="The account; by default all.")] = None,
    config: ConfigOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write every account and period as a table, amounts in USD: for a spreadsheet or an invoice.

    An account whose name could be a formula stands behind an apostrophe.

    Example: [bold]routoo budget export --out spending.csv[/bold]
    """
    check_table_format(target)
    CommandFiles({"--out": target}).check(overwrite)
    _, ledger = open_configured_account(config)
    periods = ledger.history(account)
    write_table(target, _columns(periods))
    print_line(f"{target}: {len(periods)} periods")


def _columns(periods: list[AccountState]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {
        "account": [],
        "period": [],
        "resets": [],
        "limit_usd": [],
        "spent_usd": [],
        "held_usd": [],
        "overshoot_usd": [],
        "calls": [],
    }
    for state in periods:
        limit = None if state.limit is None else decimal_usd(state.limit)
        columns["account"].append(spreadsheet_text(state.account))
        columns["period"].append(state.window.key)
        columns["resets"].append(state.window.resets)
        columns["limit_usd"].append(limit)
        columns["spent_usd"].append(decimal_usd(state.spent))
        columns["held_usd"].append(decimal_usd(state.held))
        columns["overshoot_usd"].append(decimal_usd(state.overshoot))
        columns["calls"].append(state.calls)
    return columns
