"""``routoo predict``, ``assign`` and ``calibrate``: whole tables of prompts at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routoo_core.budget.pacing import Paced
from routoo_core.config import make_policy
from routoo_core.errors import ConfigurationError
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

    from routoo_core.assignment.plan import Scores
    from routoo_core.assignment.target import Miss

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
    from routoo_core.assignment.predictions import (
        predict_all,
        read_asked,
        write_scores,
    )
    from routoo_core.tables import check_table_format

    check_table_format(scores)
    predictor, ids, texts = read_asked(router, prompts)
    write_scores(scores, ids, predictor.experts, predict_all(predictor, texts, progress))
    if as_json:
        out.print_json(
            json.dumps({"prompts": len(ids), "experts": len(predictor.experts), "out": str(scores)})
        )
        return
    out.print(
        f"{scores}: {len(ids)} prompts × {len(predictor.experts)} experts",
        highlight=False,
        soft_wrap=True,
    )


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
    from routoo_core.assignment.plan import certificate, read_priced, write_assignment
    from routoo_core.assignment.solver import assign as solve
    from routoo_core.tables import check_table_format

    if assignment:
        check_table_format(assignment)
    given = {"ratio": {"alpha": alpha}, "quality_floor": {"floor": floor}}.get(policy, {})
    rule = None if policy == "lagrangian" else make_policy({"name": policy, **given})
    if isinstance(rule, Paced):
        raise ConfigurationError(
            "--policy: 'paced' needs traffic; offline, lagrangian is its optimum"
        )
    chosen, cost = read_priced(scores, prices, pool or (), tokens)
    found = solve(chosen.quality, cost, budget, rule)
    if assignment:
        write_assignment(assignment, chosen, cost, found)
    if as_json:
        out.print_json(json.dumps(certificate(found)))
        return
    for name, value in certificate(found).items():
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

    from routoo_core.assignment.target import KNOBS, is_met
    from routoo_core.assignment.target import calibrate as turn
    from routoo_core.price_list import read_price_list

    if policy not in KNOBS:
        raise ConfigurationError(
            f"--policy: {policy!r} has no number to set; choose one of {', '.join(KNOBS)}"
        )
    experts, predicted = _predictions(scores, router, prompts)
    listed = read_price_list(prices, pool or (), experts).per_call(tokens)
    miss, tolerance = _target(target_cost, target_quality, target_share, tuple(listed))
    chosen, cost = predicted().select(listed), np.array(list(listed.values()))
    found = turn(chosen.quality, cost, KNOBS[policy], miss)
    table = f'{{ name = "{policy}", {KNOBS[policy].field} = {found.value:.6g} }}'
    shares = {
        name: float(share)
        for name, share in zip(chosen.experts, found.shares, strict=True)
        if share
    }
    met = is_met(found, miss, tolerance)
    if as_json:
        expected = {"mean_quality": found.quality, "mean_cost_usd": found.cost, "shares": shares}
        out.print_json(
            json.dumps({"policy": policy, KNOBS[policy].field: found.value, "met": met, **expected})
        )
        return
    if not met:
        err.print("The target is out of reach; this is the nearest.", style="yellow")
    out.print(f"policy = {table}", highlight=False, markup=False)
    out.print(
        f"expect a mean quality of {found.quality:.3f} for ${found.cost:.6f} a call",
        highlight=False,
    )
    for name, share in sorted(shares.items(), key=lambda pair: -pair[1]):
        out.print(f"{share:>7.1%}  {name}", highlight=False)


def _predictions(
    scores: Path | None, router: str | None, prompts: Path | None
) -> tuple[tuple[str, ...], Callable[[], Scores]]:
    """The experts that are scored, and their scores: a table's, or predicted when asked for."""
    from routoo_core.assignment.plan import Scores, read_scores
    from routoo_core.assignment.predictions import predict_all, read_asked

    if scores and not router and not prompts:
        table = read_scores(scores)
        return table.experts, lambda: table
    if scores or not router or not prompts:
        raise ConfigurationError(
            "give either --scores, or --router and --prompts to predict them now"
        )
    predictor, ids, texts = read_asked(router, prompts)
    return predictor.experts, lambda: Scores(
        ids, predictor.experts, predict_all(predictor, texts, progress)
    )


def _target(
    cost: float | None, quality: float | None, share: str | None, experts: tuple[str, ...]
) -> tuple[Miss, float]:
    """What ``routoo calibrate`` is to meet, and how nearly."""
    from routoo_core.assignment.target import cost_at_most, quality_at_least, share_of

    if sum(given is not None for given in (cost, quality, share)) != 1:
        raise ConfigurationError("give one of --target-cost, --target-quality and --target-share")
    if cost is not None:
        return cost_at_most(cost), 0.0
    if quality is not None:
        return quality_at_least(quality), 0.0
    name, _, value = (share or "").rpartition("=")
    if name not in experts or not value.replace(".", "", 1).isdigit() or not 0 <= float(value) <= 1:
        raise ConfigurationError(
            f"--target-share: {share!r} is not EXPERT=0.3 for one of {', '.join(experts)}"
        )
    return share_of(experts.index(name), float(value)), 0.01
