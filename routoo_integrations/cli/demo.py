"""``routoo demo``: see it work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from routoo_integrations.cli.configuration import DEMO_FOLDER
from routoo_integrations.demo.run import run_demo


def demo_command(
    folder: Annotated[
        Path, typer.Option(help="Where configuration, ledger and picture go.")
    ] = DEMO_FOLDER,
) -> None:
    """Run the main job here and now: LangChain and LlamaIndex calls, routed under a budget that runs out.

    Experts whose API-key variable is set are called for real; the others are answered by a small local model,
    and every such row says so.
    """
    run_demo(folder, Console(emoji=False))
