"""``routoo assign``: who answers what, within one budget for a whole table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.assignment.plan import Certificate, read_priced_quality, write_assignment
from routoo_core.assignment.solver import assign
from routoo_core.config import make_policy
from routoo_core.errors import ConfigurationError
from routoo_core.selector import FixedPolicy, Policy, PreferenceRule
from routoo_core.tables import check_table_format
from routoo_integrations.cli.options import (
    JsonOption,
    OptionalTableOption,
    PoolOption,
    PricesOption,
    TokensOption,
)
from routoo_integrations.cli.outputs import CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import print_json, print_line


def assign_command(
    scores: Annotated[
        Path, typer.Option(help="What 'routoo predict' wrote: prompt_id, model, score.")
    ],
    prices: PricesOption,
    budget: Annotated[float, typer.Option(help="USD for all prompts together.")],
    target: OptionalTableOption = None,
    policy: Annotated[
        str,
        typer.Option(
            help="lagrangian (the optimum), or the paper's greedy by ratio, quality_floor, best, cheapest."
        ),
    ] = "lagrangian",
    alpha: Annotated[float, typer.Option(help="α of --policy ratio.")] = 0.1,
    floor: Annotated[
        float, typer.Option(help="Quality that is good enough for --policy quality_floor.")
    ] = 0.7,
    tokens: TokensOption = 1000,
    pool: PoolOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Assign every prompt to an expert within a budget for all of them, with a certificate of how good that is.

    The upper bound is the optimum of the LP relaxation: no assignment within the budget has more predicted quality.

    Example: [bold]routoo assign --scores s.parquet --prices prices.csv --budget 2.50 --out who.csv[/bold]
    """
    if target:
        check_table_format(target)
    CommandFiles({"--out": target}, inputs=[scores, prices]).check(overwrite)
    greedy = _greedy_policy(policy, alpha, floor)
    priced_quality = read_priced_quality(scores, prices, pool or (), tokens)

    assignment = assign(priced_quality.table.values, priced_quality.cost, budget, greedy)
    if target:
        write_assignment(target, priced_quality, assignment)

    certificate = Certificate.of(assignment)
    if as_json:
        print_json(certificate.to_dict())
    else:
        _show_certificate(certificate)


def _greedy_policy(name: str, alpha: float, floor: float) -> PreferenceRule | None:
    """The policy of the paper's greedy assignment; ``None`` for the optimum."""
    if name == "lagrangian":
        return None

    table: dict[str, object] = {"name": name}
    if name == "ratio":
        table["alpha"] = alpha
    if name == "quality_floor":
        table["floor"] = floor
    policy = make_policy(table)
    if isinstance(policy, Policy) and not isinstance(policy, FixedPolicy):
        raise ConfigurationError(
            "--policy: 'paced' needs live traffic; use lagrangian, its offline optimum"
        )
    return policy


def _show_certificate(certificate: Certificate) -> None:
    for name, value in certificate.to_dict().items():
        label = name.replace("_", " ")
        figure = f"{value:.4%}" if name == "gap" else f"{value:,.6g}"
        print_line(f"{label:>16}  {figure}")
