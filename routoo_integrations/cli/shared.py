"""What the commands share: where they print, the options they have in common, the configuration they read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.config import STARTER, open_account, read_config
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_integrations.cli.terminal import TerminalProgress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo_core.data.steps import Step

DEMO_FOLDER = Path("routoo-demo")

INCOMPLETE = 3  # exit code: something is missing; the same command goes on where it was

out = Console()
err = Console(stderr=True)
progress = TerminalProgress(err)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="routoo.toml; by default the first of the usual places."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
RouterOption = Annotated[
    str,
    typer.Option("--router", help="A shipped router's name, or the folder 'routoo train' wrote."),
]
PoolOption = Annotated[
    list[str] | None, typer.Option("--pool", help="Only price rows of this pool (repeatable).")
]
PRICES_HELP = "experts.toml, or a CSV: model, input_usd_per_1m, output_usd_per_1m."
PricesOption = Annotated[Path, typer.Option("--prices", help=PRICES_HELP)]
TokensOption = Annotated[
    int,
    typer.Option("--tokens", help="Tokens of a call; prices are averaged over input and output."),
]
LimitOption = Annotated[
    str | None,
    typer.Option(
        "--budget", help="USD that all answers in --answers may cost together, over all runs."
    ),
]
PayerOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Instead of --budget: the account of this routoo.toml pays."
    ),
]
AnswersOption = Annotated[
    Path, typer.Option("--answers", help="Where answers are kept; using them again is free.")
]


def config_path(given: Path | None) -> tuple[Path, str | None]:
    """The configuration to read, and the ledger to use instead of its own (the built-in one keeps none)."""
    if given is not None:
        return given, None
    named = os.environ.get("ROUTOO_CONFIG")
    places = [Path(named)] if named else [Path("routoo.toml"), DEMO_FOLDER / "routoo.toml"]
    if found := next((place for place in places if named or place.is_file()), None):
        return found, None
    err.print(
        "No routoo.toml here: using the built-in demo pool with an empty account.", style="dim"
    )
    return STARTER / "routoo.toml", "memory://"


def paying_account(
    limit: str | None, config: Path | None, answers: Path, pool: Pool
) -> tuple[Budget, Ledger]:
    """Who pays: an account of its own beside the answers, which never resets, or that of routoo.toml."""
    from routoo_core.budget.sqlite import SqliteLedger

    if limit is not None and config is not None:
        raise ConfigurationError("give either --budget or --config")
    if config is not None:
        return open_account(config, read_config(config))
    if limit is None and any(
        expert.input_usd_per_1m or expert.output_usd_per_1m for expert in pool
    ):
        raise ConfigurationError(
            "--budget: say how many USD the answers may cost, or name a routoo.toml by --config"
        )
    budget = Budget.read(
        "--budget", {"account": "score", "limit": limit, "period": "run", "run_id": "score"}
    )
    return budget, SqliteLedger(answers.with_name(f"{answers.stem}.ledger.db"))


def step_of(
    context: typer.Context,
    inputs: Sequence[Path | Mapping[str, Any]],
    counts: Mapping[str, int],
    presets: Mapping[str, Any] | None = None,
) -> Step:
    """The command that is running, for the manifest."""
    from routoo_core.data.steps import Step

    given = {name: value for name, value in context.params.items() if name != "as_json"}
    settings = {**given, **(presets or {})}
    return Step(f"routoo data {context.info_name}", settings, inputs, counts)
