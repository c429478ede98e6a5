"""``routoo demo``: LangChain and LlamaIndex calls under one running budget, on a machine that needs no keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from routoo_core import embedded
from routoo_core.config import STARTER, read_config, read_pool
from routoo_core.experts import Pool
from routoo_core.local_endpoint import LocalEndpoint
from routoo_core.router import Router
from routoo_integrations.demo.langchain_calls import make_chain, make_chain_calls, make_more_calls
from routoo_integrations.demo.llama_index_calls import make_query_calls, make_query_engine
from routoo_integrations.demo.report import report_demo
from routoo_integrations.demo.transcript import WIDTH, Demo

REPLY_TOKENS = 400
"""Room for models that reason before they answer."""
STAND_IN_TOKENS = 64
"""The reply limit where only the stand-in answers: it is slow, and its replies are not shown."""


def run_demo(folder: Path, console: Console) -> None:
    """Route LangChain and LlamaIndex calls until the budget is gone; write a configuration, a ledger and a picture.

    Args:
        folder: Where the files go; files that are already there stay as they are.
        console: Where the table is printed.

    Raises:
        MissingDependency: An extra is not installed; ``routoo[all]`` brings everything.
        ConfigurationError: The download of the weights failed, or the folder's configuration is wrong.
    """
    if not console.is_terminal:
        console.width = WIDTH
    embedded.model_folder()  # fetched before anything is shown
    path = _copy_starter(folder)

    with LocalEndpoint() as endpoint, _open_demo(path, endpoint, console) as demo:
        if demo.stand_ins:
            _print_stand_ins(demo, endpoint)
        converse(demo, folder)


def converse(demo: Demo, folder: Path) -> None:
    """Make the calls, then report on them. Ctrl-C ends the calls early; the report is still printed.

    Args:
        demo: The router and the console.
        folder: Where the picture goes.
    """
    demo.print_header()
    try:
        with demo.console.status("calling …"):
            max_tokens = STAND_IN_TOKENS if demo.is_stand_in_only() else REPLY_TOKENS
            chain = make_chain(demo.router, max_tokens)
            make_chain_calls(demo, chain)
            make_query_calls(demo, make_query_engine(demo.router, max_tokens))
            make_more_calls(demo, chain)
    except KeyboardInterrupt:
        demo.console.print(
            "\n[yellow]Interrupted.[/yellow] Open reservations were released; finished calls are booked."
        )
    report_demo(demo, folder)


def _copy_starter(folder: Path) -> Path:
    """Put the starter's configuration into a folder, and return its routoo.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in STARTER.glob("*.toml"):
        target = folder / source.name
        if not target.exists():
            shutil.copyfile(source, target)
    return folder / "routoo.toml"


@contextmanager
def _open_demo(path: Path, endpoint: LocalEndpoint, console: Console) -> Iterator[Demo]:
    """The configured router, with the stand-in behind every expert whose key is not set; its ledger is closed after."""
    experts = []
    stand_ins = {}
    for expert in read_pool(path, read_config(path)):
        if expert.key_variable and not expert.api_key():
            stand_ins[expert.name] = expert.key_variable
            experts.append(endpoint.stand_in_for(expert))
        else:
            experts.append(expert)

    router = Router.from_toml(path, pool=Pool(experts))
    try:
        yield Demo(router, stand_ins, console)
    finally:
        router.ledger.close()


def _print_stand_ins(demo: Demo, endpoint: LocalEndpoint) -> None:
    missing = f"No API key for {len(demo.stand_ins)} of {len(demo.router.pool)} experts"
    demo.console.print(
        f"[yellow]{missing}: {embedded.MODEL} stands in for them on {endpoint.base_url}.[/yellow]\n"
        "Decisions, requests, token counts and accounting are real; only the replies are the stand-in's.\n"
        f"Set {' or '.join(sorted(set(demo.stand_ins.values())))} to call those experts themselves.\n"
    )
