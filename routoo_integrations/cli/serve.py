"""``routoo serve``: the router behind HTTP, for clients of any framework and language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.budget.account import Budget
from routoo_core.config import build_router
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.experts import Pool
from routoo_core.router import Router
from routoo_integrations.building import check_experts, read_router
from routoo_integrations.cli.configuration import find_configuration
from routoo_integrations.cli.terminal import print_line

try:
    from routoo_integrations.gateway.app import Gateway
    from routoo_integrations.gateway.connections import check_provider
    from routoo_integrations.gateway.keys import KeyStore, keys_beside
    from routoo_integrations.gateway.server import (
        DEFAULT_PORT,
        LOOPBACK,
        GatewayServer,
        is_loopback,
    )
except ImportError as error:
    raise MissingDependency(error.name or "starlette", "gateway", "serve the router") from error


def serve_command(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="routoo.toml, by default the first of the usual places; with --router, an experts.toml.",
        ),
    ] = None,
    router: Annotated[
        str | None,
        typer.Option(
            help="A shipped router's name or a folder: serves the experts.toml of --config without a routoo.toml."
        ),
    ] = None,
    limit: Annotated[
        str | None, typer.Option(help="With --router: USD that may be spent each day.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535)] = DEFAULT_PORT,
) -> None:
    """Serve the router over HTTP, in OpenAI's protocol: any client of it needs a base address and nothing else.

    Clients name 'routoo' as their model, 'routoo/cheapest' for another policy, or an expert. Headers of each reply say
    who answered, why, and what it cost. Without keys it listens on this machine alone.

    Example: [bold]routoo serve --config experts.toml --router general-fast --limit 5.00[/bold]
    """
    built, folder = _build_router(config, router, limit)
    keys = KeyStore(keys_beside(built.ledger, folder)) if folder is not None else None
    _check_host(host, keys)
    server = GatewayServer(Gateway(built, keys), host, port)
    callers = "whoever has a key" if keys is not None and keys.has_keys else "this machine"
    print_line(
        f"Serving {len(built.pool)} experts to {callers} at {server.base_url} (Ctrl-C stops it)"
    )
    server.run()


def _check_host(host: str, keys: KeyStore | None) -> None:
    """Refuse to let other machines call without keys.

    Raises:
        ConfigurationError: They could.
    """
    if is_loopback(host) or (keys is not None and keys.has_usable_keys):
        return
    raise ConfigurationError(
        f"host: {host} can be reached from other machines, and there is no key that is in use; make one "
        "with 'routoo key create NAME --limit 5.00', or listen on 127.0.0.1"
    )


def _build_router(
    config: Path | None, router: str | None, limit: str | None
) -> tuple[Router, Path | None]:
    """The router of a routoo.toml, or of an experts.toml and a router's name, and where its keys may be.

    Raises:
        ConfigurationError: Something in a file is wrong, or an option is missing or of no use.
    """
    if router is None:
        if limit is not None:
            raise ConfigurationError(
                "limit: is for --router; write it into [budget] of routoo.toml"
            )
        configuration = find_configuration(config)
        folder = None if configuration.is_built_in else configuration.path.parent
        return read_router(configuration.path, check_provider), folder
    if config is None:
        raise ConfigurationError("config: name an experts.toml beside --router")
    pool = Pool.from_toml(config)
    check_experts(pool, check_provider)
    budget = Budget.read("--limit", {"limit": limit})
    folder = config.parent
    built = build_router(
        pool, router=router, budget=budget, ledger="sqlite:///routoo.db", beside=folder
    )
    return built, folder
