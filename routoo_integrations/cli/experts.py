"""``routoo experts``: the pool, and whether each of its experts answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from routoo_core.abilities import ability_of
from routoo_core.catalogue.entries import Ability
from routoo_core.catalogue.skills import SKILLS
from routoo_core.catalogue.store import Catalogue, open_catalogue
from routoo_core.config import open_account, read_config, read_pool
from routoo_core.experts import Expert, Pool
from routoo_core.loading import is_general
from routoo_core.predictor.checkpoint_folder import find_router, read_experts
from routoo_integrations.cli.configuration import INCOMPLETE, find_configuration
from routoo_integrations.cli.options import ConfigOption, JsonOption
from routoo_integrations.cli.terminal import out, print_json, print_line, print_warning, progress
from routoo_integrations.expert_check import ExpertCheck, check_expert

_THOUSAND = 1000


def experts_command(
    config: ConfigOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Call each expert once, for at most 16 tokens.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the pool: prices, windows, capabilities and keys; with --check, whether each expert answers.

    Ability is by the catalogue, or by the expert's own table: 0 is a middling model, 1 the spread of all of them.

    A check is held and booked on the account that usually pays. It costs a fraction of a cent.

    Example: [bold]routoo experts --check[/bold]
    """
    configuration = find_configuration(config)
    settings = read_config(configuration.path)
    pool = read_pool(configuration.path, settings)
    router = find_router(settings.router, configuration.path.parent)
    router_names = None if is_general(router) else read_experts(router)
    catalogue = open_catalogue()
    checks: list[ExpertCheck] = []
    if check:
        budget, ledger = open_account(configuration.path, settings, configuration.ledger)
        with progress.bar("Checking", len(pool)) as advance:
            for expert in pool:
                checks.append(check_expert(expert, budget, ledger))
                advance(1)

    if as_json:
        print_json(_describe_pool(pool, router_names, checks, catalogue))
    else:
        out.print(_pool_table(pool, router_names, catalogue))
        for result in checks:
            print_line(_describe_check(result))
    if any(result.problem for result in checks):
        raise typer.Exit(INCOMPLETE)


def _pool_table(pool: Pool, router_names: Sequence[str] | None, catalogue: Catalogue) -> Table:
    longest_name = max(len(expert.name) for expert in pool)
    table = Table(
        Column("expert", no_wrap=True, min_width=longest_name),
        Column("$/M in", no_wrap=True),
        Column("$/M out", no_wrap=True),
        Column("window", no_wrap=True),
        Column("reply", no_wrap=True),
        "can",
        Column("key", overflow="fold"),
        Column("ability", no_wrap=True),
        box=None,
        padding=(0, 2, 0, 0),
    )
    for expert in pool:
        if router_names is not None and expert.predicted_as not in router_names:
            print_warning(
                f"{expert.name}: the router does not know {expert.predicted_as!r}; set router_name"
            )
        table.add_row(
            expert.name,
            f"{expert.input_usd_per_1m:f}",
            f"{expert.output_usd_per_1m:f}",
            f"{expert.context_window / _THOUSAND:.0f}k",
            str(expert.max_output_tokens),
            ", ".join(sorted(expert.capabilities)) or "–",
            _key_of(expert),
            _ability_cell(ability_of(expert, catalogue)),
        )
    return table


def _ability_cell(ability: Ability | None) -> str:
    """The mean of all skills, with its uncertainty."""
    if ability is None:
        return "unknown"
    return f"{ability.mean.mean():+.1f} ± {ability.deviation.mean():.1f}"


def _key_of(expert: Expert) -> str:
    """Whether the key of an expert is there."""
    if expert.key_variable is None:
        return "none needed"
    return "set" if expert.api_key() else f"${expert.key_variable} is missing"


def _describe_check(result: ExpertCheck) -> str:
    if result.problem is not None:
        return f"{result.expert}: {result.problem}"
    model = "" if result.model is None else f" as {result.model}"
    return f"{result.expert}: answered{model} in {result.seconds:.2f} s for ${result.cost_usd}"


def _describe_pool(
    pool: Pool,
    router_names: Sequence[str] | None,
    checks: Sequence[ExpertCheck],
    catalogue: Catalogue,
) -> list[dict[str, Any]]:
    check_of = {result.expert: result.to_dict() for result in checks}
    rows = []
    for expert in pool:
        rows.append(
            {
                "expert": expert.name,
                "model": expert.model,
                "input_usd_per_1m": str(expert.input_usd_per_1m),
                "output_usd_per_1m": str(expert.output_usd_per_1m),
                "context_window": expert.context_window,
                "max_output_tokens": expert.max_output_tokens,
                "capabilities": sorted(expert.capabilities),
                "has_key": expert.key_variable is None or expert.api_key() is not None,
                "known_to_router": router_names is None or expert.predicted_as in router_names,
                "ability": _describe_ability(ability_of(expert, catalogue)),
                "check": check_of.get(expert.name),
            }
        )
    return rows


def _describe_ability(ability: Ability | None) -> dict[str, Any] | None:
    if ability is None:
        return None
    skills = {}
    for number, skill in enumerate(SKILLS):
        mean = round(float(ability.mean[number]), 2)
        deviation = round(float(ability.deviation[number]), 2)
        skills[skill] = [mean, deviation]
    return {
        "skills": skills,
        "scores": ability.scores,
        "latest": ability.latest,
        "origin": ability.origin,
    }
