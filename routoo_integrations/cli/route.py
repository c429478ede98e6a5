"""``routoo route``: who would answer a prompt, and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from routoo_core.money import format_usd
from routoo_core.request import RoutedRequest
from routoo_core.router import Router
from routoo_core.selector import Decision
from routoo_integrations.cli.configuration import find_configuration
from routoo_integrations.cli.options import ConfigOption, JsonOption
from routoo_integrations.cli.terminal import out, print_json, print_line


def route_command(
    text: Annotated[str, typer.Argument(help="The prompt.")],
    config: ConfigOption = None,
    max_tokens: Annotated[int | None, typer.Option(help="Limit on the reply.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain who would answer TEXT and why; nobody is called and nothing is charged.

    Example: [bold]routoo route "Is this contract void?" --json | jq .candidates[0][/bold]
    """
    configuration = find_configuration(config)
    router = Router.from_toml(configuration.path, ledger=configuration.ledger)
    decision = router.decide(RoutedRequest.from_text(text, max_tokens=max_tokens))

    if as_json:
        print_json(decision.record().to_dict())
    else:
        _show_candidates(decision)
        print_line(decision.explain())


def _show_candidates(decision: Decision) -> None:
    table = Table("", "expert", "predicted quality", "expected cost", "most it can cost")
    for rank, candidate in enumerate(decision.candidates, start=1):
        table.add_row(
            str(rank),
            candidate.expert.name,
            f"{candidate.quality:.2f}",
            format_usd(candidate.expected_cost),
            format_usd(candidate.maximum_cost),
        )
    out.print(table)
