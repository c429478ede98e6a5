"""``routoo predict``, ``assign`` and ``calibrate``: whole tables of prompts at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routoo_core.config import make_policy
from routoo_core.errors import ConfigurationError
from routoo_core.selector import FixedPolicy, Policy
from routoo_integrations.cli.shared import (
    JsonOption,
    PoolOption,
    PricesOption,
    RouterOption,
    TokensOption,
    err,
    out,
    progress,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo_core.assignment.target import Target
    from routoo_core.expert_table import ExpertTable

app = typer.Typer()


@app.command()
def predict(
    router: RouterOption,
    prompts: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, prompt.")],
    scores: Annotated[Path, typer.Option("--out", help="The table to write, .parquet or .csv.")],
    as_json: JsonOption = False,
) -> None:
    """Predict how well every expert a router knows would answer each prompt: prompt_id, model, score (0–1).

    Example: [bold]routoo predict --router mmlu-pro --prompts p.parquet --out scores.csv[/bold]
    """
    from routoo_core.assignment.predictions import predict_table, read_prediction_input
    from routoo_core.assignment.quality_table import write_predicted_quality
    from routoo_core.tables import check_table_format

    check_table_format(scores)
    table = predict_table(read_prediction_input(router, prompts), progress)
    write_predicted_quality(scores, table)
    if as_json:
        summary = {"prompts": len(table), "experts": len(table.experts), "out": str(scores)}
        out.print_json(json.dumps(summary))
        return
    line = f"{scores}: {len(table)} prompts × {len(table.experts)} experts"
    out.print(line, highlight=False, soft_wrap=True)


@app.command()
def assign(
    scores: Annotated[
        Path, typer.Option(help="What 'routoo predict' wrote: prompt_id, model, score.")
    ],
    prices: PricesOption,
    budget: Annotated[float, typer.Option(help="USD for all prompts together.")],
    assignment: Annotated[
        Path | None, typer.Option("--out", help="The table to write, .parquet or .csv.")
    ] = None,
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
    as_json: JsonOption = False,
) -> None:
    """Assign every prompt to an expert within a budget for all of them, with a certificate of how good that is.

    The upper bound is the optimum of the LP relaxation: no assignment within the budget has more predicted quality.

    Example: [bold]routoo assign --scores s.parquet --prices prices.csv --budget 2.50 --out who.csv[/bold]
    """
    from routoo_core.assignment.plan import Certificate, read_priced_quality, write_assignment
    from routoo_core.assignment.solver import assign as solve
    from routoo_core.tables import check_table_format

    if assignment:
        check_table_format(assignment)
    given = {"ratio": {"alpha": alpha}, "quality_floor": {"floor": floor}}.get(policy, {})
    rule = None if policy == "lagrangian" else make_policy({"name": policy, **given})
    if isinstance(rule, Policy) and not isinstance(rule, FixedPolicy):
        raise ConfigurationError(
            "--policy: 'paced' needs traffic; offline, lagrangian is its optimum"
        )
    priced = read_priced_quality(scores, prices, pool or (), tokens)
    solution = solve(priced.table.values, priced.cost, budget, rule)
    if assignment:
        write_assignment(assignment, priced, solution)
    certificate = Certificate.of(solution).to_dict()
    if as_json:
        out.print_json(json.dumps(certificate))
        return
    for name, value in certificate.items():
        shown = f"{value:.4%}" if name == "gap" else f"{value:,.6g}"
        out.print(f"{name.replace('_', ' '):>16}  {shown}", highlight=False)


@app.command()
def calibrate(
    prices: PricesOption,
    scores: Annotated[
        Path | None, typer.Option(help="What 'routoo predict' wrote for typical prompts.")
    ] = None,
    router: Annotated[
        str | None,
        typer.Option(
            help="Instead of --scores: a shipped router's name, or a folder, to predict them."
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="With --router: typical prompts, Parquet or CSV: prompt_id, prompt."),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="What to set: lagrangian, ratio or quality_floor.")
    ] = "lagrangian",
    target_cost: Annotated[
        float | None, typer.Option(help="At most so many USD a call, on average.")
    ] = None,
    target_quality: Annotated[
        float | None, typer.Option(help="At least this predicted quality, on average.")
    ] = None,
    target_share: Annotated[
        str | None, typer.Option(help="EXPERT=0.3: this share of the calls for one expert.")
    ] = None,
    tokens: TokensOption = 1000,
    pool: PoolOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the λ, α or floor that meets a target on typical prompts, and say what to expect of it.

    Example: [bold]routoo calibrate --scores s.parquet --prices prices.csv --target-share gpt-4o=0.3[/bold]

    Or at once: [bold]routoo calibrate --router mmlu-pro --prompts p.csv --prices prices.csv --target-cost 0.002[/bold]
    """
    import numpy as np

    from routoo_core.assignment.target import TUNABLE_POLICIES, is_met
    from routoo_core.assignment.target import calibrate as calibrate_policy
    from routoo_core.price_list import read_price_list

    if policy not in TUNABLE_POLICIES:
        raise ConfigurationError(
            f"--policy: {policy!r} has no number to set; choose one of {', '.join(TUNABLE_POLICIES)}"
        )
    experts, predicted = _predictions(scores, router, prompts)
    usd_per_call = read_price_list(prices, pool or (), experts).per_call(tokens)
    target = _target(target_cost, target_quality, target_share, tuple(usd_per_call))
    table = predicted().select(tuple(usd_per_call))
    cost = np.array(list(usd_per_call.values()))
    tunable = TUNABLE_POLICIES[policy]
    best = calibrate_policy(table.values, cost, tunable, target)
    shares = {
        name: float(share) for name, share in zip(table.experts, best.shares, strict=True) if share
    }
    met = is_met(target, best)
    if as_json:
        expected = {"mean_quality": best.quality, "mean_cost_usd": best.cost, "shares": shares}
        result = {"policy": policy, tunable.field: best.value, "met": met, **expected}
        out.print_json(json.dumps(result))
        return
    if not met:
        err.print("The target is out of reach; this is the nearest.", style="yellow")
    line = f'policy = {{ name = "{policy}", {tunable.field} = {best.value:.6g} }}'
    out.print(line, highlight=False, markup=False)
    out.print(
        f"expect a mean quality of {best.quality:.3f} for ${best.cost:.6f} a call",
        highlight=False,
    )
    for name, share in sorted(shares.items(), key=lambda pair: -pair[1]):
        out.print(f"{share:>7.1%}  {name}", highlight=False)


def _predictions(
    scores: Path | None, router: str | None, prompts: Path | None
) -> tuple[tuple[str, ...], Callable[[], ExpertTable]]:
    """The experts, and a function that reads or predicts their quality."""
    from routoo_core.assignment.predictions import predict_table, read_prediction_input
    from routoo_core.assignment.quality_table import read_predicted_quality

    if scores and not router and not prompts:
        table = read_predicted_quality(scores)
        return table.experts, lambda: table
    if scores or not router or not prompts:
        raise ConfigurationError(
            "give either --scores, or --router and --prompts to predict them now"
        )
    loaded = read_prediction_input(router, prompts)
    return tuple(loaded.predictor.experts), lambda: predict_table(loaded, progress)


def _target(
    cost: float | None, quality: float | None, share: str | None, experts: tuple[str, ...]
) -> Target:
    """The target of ``routoo calibrate``."""
    from routoo_core.assignment.target import CostAtMost, QualityAtLeast, ShareOf

    if sum(given is not None for given in (cost, quality, share)) != 1:
        raise ConfigurationError("give one of --target-cost, --target-quality and --target-share")
    if cost is not None:
        return CostAtMost(cost)
    if quality is not None:
        return QualityAtLeast(quality)
    name, _, value = (share or "").rpartition("=")
    if name not in experts or not value.replace(".", "", 1).isdigit() or not 0 <= float(value) <= 1:
        raise ConfigurationError(
            f"--target-share: {share!r} is not EXPERT=0.3 for one of {', '.join(experts)}"
        )
    return ShareOf(experts.index(name), float(value))
