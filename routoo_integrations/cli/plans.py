"""``routoo plans``: what several experts in one call are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.config import read_config, read_pool
from routoo_core.errors import ConfigurationError
from routoo_core.measures.plan_replay import read_answers, read_probes
from routoo_core.outcomes import Outcomes, outcome_rows, read_outcomes
from routoo_core.plans.consensus import Consensus
from routoo_core.plans.plan import Plan
from routoo_core.plans.tables import describe_plan, read_plans
from routoo_core.predictor.checkpoint_folder import find_router
from routoo_core.price_list import read_price_list
from routoo_core.prices import PriceList
from routoo_core.tables import check_table_format, write_rows
from routoo_core.training.cascade_fit import (
    CASCADE_FILES,
    PLANS_FILE,
    CascadeFit,
    FittedCascade,
    cascade_tables,
    fit_cascades,
    usd_per_call,
)
from routoo_core.training.plan_fit import FittedPlan, fit_plans, prices_with_plans
from routoo_integrations.cli.configuration import find_configuration
from routoo_integrations.cli.options import (
    ConfigOption,
    JsonOption,
    OutcomesOption,
    PricesOption,
    RouterOption,
)
from routoo_integrations.cli.outputs import CHECKPOINT_FILES, CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import out, print_json, print_line, progress

AnswerTableOption = Annotated[
    Path,
    typer.Option(
        help="Parquet or CSV: prompt_id, model, answer; 'routoo score --answers-out' writes it."
    ),
]


def fit_command(
    router: RouterOption,
    prompts: Annotated[
        Path,
        typer.Option(
            help="Parquet or CSV: prompt_id, prompt, split; for code also probes, or tests."
        ),
    ],
    outcomes: OutcomesOption,
    answers: AnswerTableOption,
    folder: Annotated[
        Path, typer.Option("--out", help="The folder of the router that knows the plans.")
    ],
    config: ConfigOption = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(help="Only this plan of routoo.toml (repeatable); by default all."),
    ] = None,
    outcomes_target: Annotated[
        Path | None,
        typer.Option(
            "--outcomes-out",
            help="Also write the outcomes with those of the plans, to evaluate on.",
        ),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="A CSV of list prices, for --prices-out.")
    ] = None,
    prices_target: Annotated[
        Path | None,
        typer.Option("--prices-out", help="Also write --prices with a row for each plan."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Learn what the plans of routoo.toml are worth from stored answers; no expert is called.

    The plans' rule is followed over the answers. Shares are of the train prompts, and so is what the router learns;
    the figures are of the dev prompts.

    Example: [bold]routoo plans fit --router mine --prompts p.csv --outcomes o.csv --answers a.csv --out grown[/bold]
    """
    place = find_configuration(config).path
    if (prices is None) != (prices_target is None):
        raise ConfigurationError("--prices-out and --prices work only together; pass both")
    if outcomes_target is not None:
        check_table_format(outcomes_target)
    CommandFiles(
        {"--outcomes-out": outcomes_target, "--prices-out": prices_target},
        inputs=[prompts, outcomes, answers, prices, place],
        folders={"--out": (folder, CHECKPOINT_FILES)},
    ).check(overwrite)

    plans = _read_plans(place, plan)
    experts = sorted({step.expert for each in plans for step in each.steps})
    stored_answers = read_answers(answers, experts)
    if any(_compares_code(each) for each in plans):
        stored_answers = replace(stored_answers, probes=read_probes(prompts))
    table = read_outcomes(prompts, outcomes)
    price_list = None if prices is None else read_price_list(prices)
    fit = fit_plans(find_router(router), table, stored_answers, plans, folder, progress)

    if outcomes_target is not None:
        write_rows(outcomes_target, outcome_rows(fit.outcomes))
    plans_with_shares = [figures.plan for figures in fit.plans]
    if prices_target is not None and price_list is not None:
        _write_prices(prices_target, prices_with_plans(price_list, plans_with_shares))
    if as_json:
        print_json({"out": str(folder), "plans": [_as_dict(figures) for figures in fit.plans]})
    else:
        _show(fit.plans, folder)


def fit_cascade_command(
    prompts: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, prompt, split.")],
    outcomes: OutcomesOption,
    answers: AnswerTableOption,
    prices: PricesOption,
    cost_per_call: Annotated[
        list[float],
        typer.Option(
            min=0, help="USD that a call may cost on average (repeatable: a cascade for each)."
        ),
    ],
    folder: Annotated[
        Path, typer.Option("--out", help="The folder of the scorer and of plans.toml.")
    ],
    name: Annotated[str, typer.Option(help="What the plan is called.")] = "ladder",
    expert: Annotated[
        list[str] | None,
        typer.Option(help="Only this expert (repeatable); by default all that have a price."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Learn from stored answers whom a cascade asks, and which answers it accepts; no expert is called.

    A small scorer learns from train prompts which answers are right. Lists of up to three experts and thresholds are
    chosen on other train prompts: the most quality within the mean cost. The figures are of the dev prompts.

    Example: [bold]routoo plans fit-cascade --prompts p.csv --outcomes o.csv --answers a.csv --prices experts.toml
    --cost-per-call 0.002 --out scorer[/bold]
    """
    CommandFiles(
        inputs=[prompts, outcomes, answers, prices],
        folders={"--out": (folder, CASCADE_FILES)},
    ).check(overwrite)
    if not all(math.isfinite(cost) for cost in cost_per_call):
        raise ConfigurationError("--cost-per-call: must be a finite number; give USD such as 0.002")
    table = read_outcomes(prompts, outcomes)
    plan_names = [f"{name}-{number}" for number in range(1, len(cost_per_call) + 1)]
    for plan_name in [name] if len(plan_names) == 1 else plan_names:
        if plan_name in table.experts:
            raise ConfigurationError(
                f"--name: {plan_name!r} is an expert of --outcomes; choose another"
            )
    price_list = _prices_of(table, prices, expert)
    expert_outcomes = table.select(price_list.models)
    stored_answers = read_answers(answers, expert_outcomes.experts)
    costs = usd_per_call(expert_outcomes, price_list)
    fit = fit_cascades(
        expert_outcomes, stored_answers, costs, cost_per_call, name, folder, progress
    )

    text = cascade_tables(fit.cascades)
    if as_json:
        cascades = [_cascade_as_dict(cascade) for cascade in fit.cascades]
        print_json({"out": str(folder), "prompts": fit.measuring, "plans": cascades})
    else:
        _show_cascades(fit, folder, text)


def _prices_of(table: Outcomes, prices: Path, experts: Sequence[str] | None) -> PriceList:
    """The prices of the experts that are in question, in the order of the price list.

    Raises:
        ConfigurationError: One that is named has no price or no outcomes, or none is left.
    """
    price_list = read_price_list(prices)
    for name in experts or ():
        if name not in price_list.models or name not in table.experts:
            raise ConfigurationError(
                f"--expert: {name!r} must be in both {prices} and --outcomes; correct the name"
            )
    names = experts or [name for name in price_list.models if name in table.experts]
    if not names:
        raise ConfigurationError(
            f"--prices: {prices} has no expert of --outcomes; the names must be the same"
        )
    return price_list.select(names)


def _read_plans(place: Path, names: Sequence[str] | None) -> list[Plan]:
    """The plans of a configuration, or those that are named.

    Raises:
        ConfigurationError: There is none, or none of a name.
    """
    settings = read_config(place)
    pool = read_pool(place, settings)
    experts = [expert.name for expert in pool]
    plans = read_plans(str(place), settings.plans, experts, beside=place.parent)
    if not plans:
        raise ConfigurationError(
            f'{place}: plans: there is none; add a table such as [plans.pair] with kind = "consensus"'
        )
    plan_of = {plan.name: plan for plan in plans}
    strangers = sorted(set(names or ()) - plan_of.keys())
    if strangers:
        raise ConfigurationError(
            f"--plan: {strangers[0]!r} is unknown; choose one of {', '.join(plan_of)}"
        )
    return [plan_of[name] for name in names] if names else list(plans)


def _compares_code(plan: Plan) -> bool:
    return isinstance(plan, Consensus) and plan.compare == "code"


def _write_prices(target: Path, prices: PriceList) -> None:
    rows = []
    for model in prices.models:
        rows.append(
            {
                "model": model,
                "input_usd_per_1m": prices.input_usd_per_1m[model],
                "output_usd_per_1m": prices.output_usd_per_1m[model],
            }
        )
    write_rows(target, rows)


def _cascade_as_dict(cascade: FittedCascade) -> dict[str, object]:
    return {
        "name": cascade.plan.name,
        **describe_plan(cascade.plan),
        "cost_per_call": cascade.budget,
        "quality": asdict(cascade.quality),
        "cost": asdict(cascade.cost),
        "best_expert": cascade.best_expert,
        "best_quality": cascade.best_quality,
        "best_cost": cascade.best_cost,
        "gain": asdict(cascade.gain),
    }


def _show_cascades(fit: CascadeFit, folder: Path, text: str) -> None:
    table = Table("up to", "plan", "quality [95 %]", "USD a call", "best expert within", box=None)
    for cascade in fit.cascades:
        quality = cascade.quality
        table.add_row(
            f"{cascade.budget:g}",
            " → ".join(cascade.plan.experts),
            f"{quality.mean:.3f} [{quality.low:.3f}, {quality.high:.3f}]",
            f"{cascade.cost.mean:.6f}",
            f"{cascade.best_quality:.3f} ({cascade.best_expert})",
        )
    out.print(table)
    if text:
        print_line(f"{folder / PLANS_FILE}: put this into routoo.toml, and teach it to the router")
        print_line("by `routoo plans fit`:")
        print_line(text)
    else:
        print_line("No list of several experts is better than one alone.")


def _as_dict(figures: FittedPlan) -> dict[str, object]:
    return {
        "name": figures.plan.name,
        **describe_plan(figures.plan),
        "prompts": figures.prompts,
        "quality": figures.quality,
        "best_expert": figures.best_expert,
        "best_quality": figures.best_quality,
        "calls": figures.calls,
        "rounds": figures.rounds,
    }


def _show(plans: Sequence[FittedPlan], folder: Path) -> None:
    table = Table(
        "plan", "prompts", "quality", "best of its experts", "calls", "in sequence", box=None
    )
    for figures in plans:
        table.add_row(
            figures.plan.name,
            f"{figures.prompts:,}",
            f"{figures.quality:.3f}",
            f"{figures.best_quality:.3f} ({figures.best_expert})",
            f"{figures.calls:.2f}",
            f"{figures.rounds:.2f}",
        )
    out.print(table)
    print_line(f"{folder}: the router knows these plans. Set it in routoo.toml, with the shares:")
    for figures in plans:
        shares = ", ".join(f"{share:g}" for share in figures.plan.shares)
        print_line(f"  plans.{figures.plan.name}: shares = [{shares}]")
