"""``routoo serve``: the router behind HTTP, for clients of any framework and language."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from socket import socket
from typing import Annotated

import typer

from routoo_core.budget.account import Budget
from routoo_core.config import build_router
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.experts import Pool
from routoo_core.router import Router
from routoo_integrations.building import check_experts, read_router
from routoo_integrations.cli.configuration import find_configuration
from routoo_integrations.cli.options import duration_s
from routoo_integrations.cli.terminal import print_line, print_note

try:
    from routoo_integrations.gateway.app import GatewayLimits
    from routoo_integrations.gateway.connections import check_provider
    from routoo_integrations.gateway.exporters import exporting
    from routoo_integrations.gateway.keys import KeyStore
    from routoo_integrations.gateway.machine import (
        MachinePlace,
        MachineServer,
        SharedReplyMemory,
    )
    from routoo_integrations.gateway.metrics import shared_figures
    from routoo_integrations.gateway.served import ServedRouter, read_settings
    from routoo_integrations.gateway.server import (
        DEFAULT_PORT,
        LOOPBACK,
        GatewayServer,
        address_of,
        is_loopback,
        listen,
    )
    from routoo_integrations.gateway.workers import Workers
except ImportError as error:
    raise MissingDependency(error.name or "starlette", "gateway", "serve the router") from error

_NO_MONEY_STATUSES = (429, 402)


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
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that serve; they share the ledger.")
    ] = 1,
    no_money: Annotated[
        int,
        typer.Option(
            help="The status of a call that its account cannot pay: 429 as OpenAI, or 402."
        ),
    ] = 429,
    store_responses: Annotated[
        str | None,
        typer.Option(
            help="Store responses, with prompts, so that calls may name one as previous_response_id; for this "
            "long, such as 30d. Instead of keep_days in [gateway.responses]."
        ),
    ] = None,
) -> None:
    """Serve the router over HTTP, in OpenAI's and Anthropic's protocols. A client only needs the address.

    Clients name 'routoo' as their model, 'routoo/cheapest' for another policy, or an expert. Headers of each reply say
    which expert answered, why, and what it cost. Without keys, the gateway listens on this machine alone.

    Example: [bold]routoo serve --config experts.toml --router general-fast --limit 5.00[/bold]
    """
    if no_money not in _NO_MONEY_STATUSES:
        raise ConfigurationError(f"no-money: {no_money} is not supported; choose 429 or 402")
    keep_s = None if store_responses is None else duration_s("store-responses", store_responses)
    limits = GatewayLimits(no_money_status=no_money)
    service = _build_router(config, router, limit)
    service = replace(service, settings=read_settings(service.path, keep_s))
    gateway = service.gateway(limits)
    _check_host(host, gateway.keys)
    ledger = gateway.router.ledger
    if workers > 1 and ledger.url.startswith("memory"):
        raise ConfigurationError(
            "workers: several workers cannot share a ledger in memory; use a file (sqlite:///routoo.db) or "
            "Redis, or serve with one worker"
        )
    listening = listen(host, port)
    has_keys = gateway.keys is not None and gateway.keys.has_keys
    callers = "whoever has a key" if has_keys else "this machine"
    print_line(
        f"Serving {len(gateway.router.pool)} experts to {callers} at {address_of(listening)}/v1 "
        "(Ctrl-C stops it)"
    )
    print_line(f"Accounts, experts and decisions: {address_of(listening)}/")
    if workers == 1:
        with exporting():
            GatewayServer(gateway, listening=listening).run()
        return
    gateway.close_files()  # each worker opens them for itself
    if not gateway.access.shares_rates:
        print_note(
            "Each worker counts --rate of keys by itself; with a ledger in Redis they count together."
        )
    _serve_together(replace(service, has_keys=has_keys), limits, listening, workers)


@dataclass(frozen=True)
class _Worker:
    """One of several processes that serve.

    Attributes:
        service: What it serves, with the predictor of the machine.
        limits: What it takes from a caller.
        place: Where the workers' common memory is.
    """

    service: ServedRouter
    limits: GatewayLimits
    place: MachinePlace

    def serve(self, listening: socket) -> None:
        """Serve at a socket until the process is told to stop."""
        gateway = self.service.gateway(self.limits, SharedReplyMemory(self.place))
        with exporting():
            GatewayServer(gateway, listening=listening).run()


def _serve_together(
    service: ServedRouter, limits: GatewayLimits, listening: socket, workers: int
) -> None:
    """Serve with several processes; this one predicts for all of them."""
    with MachineServer(service.router.predictor) as machine, shared_figures():
        parts = replace(service.router.parts, predictor=machine.place.predictor())
        worker = _Worker(replace(service, router=Router.from_parts(parts)), limits, machine.place)
        Workers(worker.serve, listening, workers).run()


def _check_host(host: str, keys: KeyStore | None) -> None:
    """Refuse to let other machines call without keys.

    Raises:
        ConfigurationError: They could.
    """
    if is_loopback(host) or (keys is not None and keys.has_usable_keys):
        return
    raise ConfigurationError(
        f"host: {host} can be reached from other machines, but no key is in use; create one "
        "with 'routoo key create NAME --limit 5.00', or listen on 127.0.0.1"
    )


def _build_router(config: Path | None, router: str | None, limit: str | None) -> ServedRouter:
    """The router of a routoo.toml, or of an experts.toml and a router's name, where its keys may be, and that file.

    Raises:
        ConfigurationError: Something in a file is wrong, or an option is missing or of no use.
    """
    if router is None:
        if limit is not None:
            raise ConfigurationError(
                "limit: works only with --router; otherwise set it in [budget] of routoo.toml"
            )
        configuration = find_configuration(config)
        new_router = read_router(configuration.path, check_provider)
        if configuration.is_built_in:
            return ServedRouter(new_router, None, None)
        return ServedRouter(new_router, configuration.path.parent, configuration.path)
    if config is None:
        raise ConfigurationError("config: --router needs an experts.toml; pass it with --config")
    pool = Pool.from_toml(config)
    check_experts(pool, check_provider)
    budget = Budget.read("--limit", {"limit": limit})
    folder = config.parent
    new_router = build_router(
        pool, router=router, budget=budget, ledger="sqlite:///routoo.db", beside=folder
    )
    return ServedRouter(new_router, folder, None)
