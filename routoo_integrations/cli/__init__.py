"""``routoo …``: every part of Routoo from the command line, one file for each family of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from routoo_core import __version__
from routoo_core.errors import ConfigurationError, RoutooError
from routoo_integrations.cli import (
    budget,
    data,
    evaluation,
    feedback,
    offline,
    routing,
    scoring,
    training,
    universe,
)
from routoo_integrations.cli.shared import err, out

app = typer.Typer(
    name="routoo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""One chat model over many: predicts how well each LLM would answer, buys the most quality within a budget.

Start with [bold]routoo demo[/bold], then ask [bold]routoo route "your prompt"[/bold] who would answer and why.
Commands that need a configuration read --config, else $ROUTOO_CONFIG, ./routoo.toml or ./routoo-demo/routoo.toml.""",
)
for family in (routing, training, universe, offline, evaluation, feedback, scoring):
    app.add_typer(family.app)
app.add_typer(budget.app, name="budget")
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; expected errors are one message, not a traceback."""
    try:
        app(standalone_mode=True)
    except RoutooError as error:
        err.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from None


def _version(asked: bool) -> None:
    if asked:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass
