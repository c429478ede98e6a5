"""``routoo demo`` and ``routoo route``: see it work, and ask it why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.money import format_usd
from routoo_core.router import Router
from routoo_integrations.cli.shared import DEMO_FOLDER, ConfigOption, JsonOption, config_path, out

app = typer.Typer()


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option(help="Where configuration, ledger and picture go.")
    ] = DEMO_FOLDER,
) -> None:
    """Run the main job here and now: LangChain and LlamaIndex calls, routed under a budget that runs out.

    Experts whose API-key variable is set are called for real; the others are answered by a small local model,
    and every such row says so.
    """
    from routoo_integrations.demo.run import run_demo

    run_demo(folder, out)


@app.command()
def route(
    text: Annotated[str, typer.Argument(help="The prompt.")],
    config: ConfigOption = None,
    max_tokens: Annotated[int | None, typer.Option(help="Limit on the reply.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain who would answer TEXT and why; nobody is called and nothing is charged.

    Example: [bold]routoo route "Is this contract void?" --json | jq .candidates[0][/bold]
    """
    from routoo_core.request import RoutedRequest

    path, ledger = config_path(config)
    router = Router.from_toml(path, ledger=ledger)
    decision = router.decide(RoutedRequest.from_text(text, max_tokens=max_tokens))
    if as_json:
        out.print_json(json.dumps(decision.record().to_dict()))
        return
    table = Table("", "expert", "predicted quality", "expected cost", "most it can cost")
    for place, candidate in enumerate(decision.candidates, start=1):
        costs = (format_usd(candidate.expected_cost), format_usd(candidate.maximum_cost))
        table.add_row(str(place), candidate.expert.name, f"{candidate.quality:.2f}", *costs)
    out.print(table)
    out.print(decision.explain(), highlight=False)
