"""``routoo demo``: see the router at work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from routoo_integrations.cli.configuration import DEMO_FOLDER
from routoo_integrations.demo.run import run_demo


def demo_command(
    folder: Annotated[
        Path, typer.Option(help="Folder for the configuration, ledger and picture.")
    ] = DEMO_FOLDER,
) -> None:
    """Route LangChain and LlamaIndex calls under a budget that runs out.

    Experts whose API key is set are called for real. For the others a small local model answers, and each such row
    says so.
    """
    run_demo(folder, Console(emoji=False))
