"""``routoo …``: every part of Routoo from the command line; :mod:`routoo_integrations.cli.commands` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from routoo_core.errors import ConfigurationError, RoutooError
from routoo_core.extras import missing_dependency
from routoo_integrations.cli.commands import (
    BUDGET_COMMANDS,
    CACHE_COMMANDS,
    CATALOGUE_COMMANDS,
    COMMANDS,
    DATA_COMMANDS,
    KEY_COMMANDS,
    PLANS_COMMANDS,
)
from routoo_integrations.cli.lazy import lazy_group
from routoo_integrations.cli.terminal import out, print_error
from routoo_integrations.cli.versions import version_lines

app = typer.Typer(
    name="routoo",
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""One chat model over many: predicts how well each LLM would answer, buys the most quality within a budget.

Start with [bold]routoo demo[/bold], then ask [bold]routoo route "your prompt"[/bold] who would answer and why.
Commands that need a configuration read --config, else $ROUTOO_CONFIG, ./routoo.toml or ./routoo-demo/routoo.toml.""",
)


def _add_group(name: str, commands: Mapping[str, tuple[str, str]], help_text: str) -> None:
    """Add commands that stand behind a word of their own: ``routoo NAME COMMAND``."""
    group = typer.Typer(cls=lazy_group(commands), no_args_is_help=True, help=help_text)
    app.add_typer(group, name=name)


_add_group(
    "budget",
    BUDGET_COMMANDS,
    "Show and change accounts: what is spent, held and left.",
)
_add_group(
    "data",
    DATA_COMMANDS,
    "Prepare prompts to train on: each step reads a table and writes one, and beside it a manifest "
    "(.manifest.json) with counts, licences, settings and the SHA-256 of what went in and came out.",
)
_add_group(
    "catalogue",
    CATALOGUE_COMMANDS,
    "Published facts about current models: windows, prices, scores, and the abilities that follow from them.",
)
_add_group(
    "key",
    KEY_COMMANDS,
    "Keys of the gateway ('routoo serve'): each is an account, with a limit and rights of its own.",
)
_add_group(
    "cache",
    CACHE_COMMANDS,
    "Answers that are stored and given again ('[cache]' in routoo.toml).",
)
_add_group(
    "plans",
    PLANS_COMMANDS,
    "Several experts in one call: what such plans are worth.",
)


def main() -> None:
    """Run the command line; expected errors are one message, not a traceback."""
    try:
        app(standalone_mode=True)
    except RoutooError as error:
        print_error(error)
        if isinstance(error, ConfigurationError):
            raise SystemExit(2) from None
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        missing = missing_dependency(error, "run this command")
        if missing is None:
            raise
        print_error(missing)
        raise SystemExit(2) from None


def _print_version(is_requested: bool) -> None:
    if is_requested:
        for line in version_lines():
            out.print(line, highlight=False, soft_wrap=True)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the versions that a bug report needs.",
        ),
    ] = False,
) -> None:
    pass
