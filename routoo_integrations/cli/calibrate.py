"""``routoo calibrate``: the λ, α or floor that meets a target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from routoo_core.assignment.live_costs import CallTable, call_table, pool_of_prices
from routoo_core.assignment.predictions import (
    PredictionInput,
    predict_table,
    read_prediction_input,
)
from routoo_core.assignment.quality_table import read_predicted_quality
from routoo_core.assignment.target import (
    TUNABLE_POLICIES,
    CostAtMost,
    Expectation,
    QualityAtLeast,
    ShareOf,
    Target,
    calibrate,
    is_met,
)
from routoo_core.errors import ConfigurationError
from routoo_core.expert_table import ExpertTable
from routoo_core.experts import Pool
from routoo_core.options import check_known
from routoo_core.price_list import read_price_list
from routoo_core.prices import PriceList
from routoo_integrations.cli.options import JsonOption, PoolOption, PricesOption, TokensOption
from routoo_integrations.cli.terminal import print_json, print_line, print_warning, progress

LIVE = "live"
PAPER = "paper"


def calibrate_command(
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
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="With --router: the limit on each reply.")
    ] = None,
    tokens: TokensOption = 1000,
    cost: Annotated[
        str,
        typer.Option(
            help="With --router: 'live', as the router expects of each prompt, or 'paper', averaged prices × --tokens."
        ),
    ] = LIVE,
    pool: PoolOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the λ, α or floor that meets a target on typical prompts, and say what to expect of it.

    With --router and --prompts, cost is what the live router expects of each prompt: its length, the reply that is
    predicted, and the prices of experts.toml. So a router with that policy does the same on the same prompts, each as
    a call of its own. A table of --scores has no prompts, and costs are averaged prices times --tokens.

    Example: [bold]routoo calibrate --scores s.parquet --prices prices.csv --target-share gpt-4o=0.3[/bold]

    Or: [bold]routoo calibrate --router general-fast --prompts p.csv --prices experts.toml --target-cost 0.01[/bold]
    """
    if policy not in TUNABLE_POLICIES:
        names = ", ".join(TUNABLE_POLICIES)
        raise ConfigurationError(
            f"--policy: {policy!r} has no number to set; choose one of {names}"
        )
    if cost not in {LIVE, PAPER}:
        raise ConfigurationError(f"--cost: {cost!r} is unknown; choose {LIVE} or {PAPER}")
    price_list = read_price_list(prices, pool or ())
    source = _read_source(scores, router, prompts, _named(prices, price_list))
    if source.unpredicted is not None and cost == LIVE:
        experts = _experts(prices, price_list, source.experts)
        target = _read_target(target_cost, target_quality, target_share, _names(experts))
        table = call_table(
            experts,
            source.unpredicted.predictor,
            source.unpredicted.prompts,
            max_tokens,
            progress,
        )
    else:
        usd_per_call = read_price_list(prices, pool or (), source.experts).per_call(tokens)
        target = _read_target(target_cost, target_quality, target_share, tuple(usd_per_call))
        table = _averaged_table(source.table(), usd_per_call)

    tunable = TUNABLE_POLICIES[policy]
    best = calibrate(table.quality, table.usd, tunable, target, table.can_serve)
    expectation = PolicyExpectation(
        policy, tunable.field, best, table.experts, is_met(target, best)
    )
    if as_json:
        print_json(expectation.to_dict())
    else:
        expectation.show()


@dataclass(frozen=True)
class QualitySource:
    """Where predicted quality comes from: a table, or a router that has not predicted yet.

    The experts are known at once, so that an option that does not fit them is refused before anything is predicted.
    """

    predicted: ExpertTable | None = None
    unpredicted: PredictionInput | None = None

    @property
    def experts(self) -> tuple[str, ...]:
        """Whose quality is predicted."""
        if self.unpredicted is not None:
            return self.unpredicted.experts
        return self.table().experts

    def table(self) -> ExpertTable:
        """The table, predicted now if it is not there."""
        if self.unpredicted is not None:
            return predict_table(self.unpredicted, progress)
        assert self.predicted is not None  # noqa: S101
        return self.predicted


def _named(prices: Path, price_list: PriceList) -> Pool | tuple[str, ...]:
    """Whom a general router predicts for: the experts of the prices."""
    if prices.suffix == ".toml":
        return Pool.from_toml(prices)
    return tuple(price_list.models)


def _read_source(
    scores: Path | None,
    router: str | None,
    prompts: Path | None,
    named: Pool | tuple[str, ...],
) -> QualitySource:
    if scores and not router and not prompts:
        return QualitySource(predicted=read_predicted_quality(scores))
    if router and prompts and not scores:
        return QualitySource(unpredicted=read_prediction_input(router, prompts, named))
    raise ConfigurationError("give either --scores, or --router and --prompts to predict them now")


def _experts(prices: Path, price_list: PriceList, known: tuple[str, ...]) -> Pool:
    """The experts of experts.toml, or those of a price list that the router knows."""
    if prices.suffix != ".toml":
        return pool_of_prices(_known_prices(price_list, known, prices))
    pool = Pool.from_toml(prices)
    check_known(pool, known)
    return pool


def _known_prices(price_list: PriceList, known: tuple[str, ...], path: Path) -> PriceList:
    """The prices of the models that a router knows.

    Raises:
        ConfigurationError: It knows none of them.
    """
    selected = price_list.select(known)
    if not selected.models:
        raise ConfigurationError(f"{path}: no row is of a model that the router knows")
    return selected


def _names(pool: Pool) -> tuple[str, ...]:
    return tuple(expert.name for expert in pool)


def _averaged_table(predicted: ExpertTable, usd_per_call: dict[str, float]) -> CallTable:
    """Predictions beside averaged prices, the same for every prompt."""
    experts = tuple(usd_per_call)
    quality = predicted.select(experts).values.astype(np.float64)
    usd = np.broadcast_to(np.array(list(usd_per_call.values())), quality.shape)
    return CallTable(experts, quality, usd, np.ones(quality.shape, dtype=np.bool_))


def _read_target(
    cost: float | None, quality: float | None, share: str | None, experts: tuple[str, ...]
) -> Target:
    """The one target among the options."""
    options = [option for option in (cost, quality, share) if option is not None]
    if len(options) != 1:
        raise ConfigurationError("give one of --target-cost, --target-quality and --target-share")

    if cost is not None:
        return CostAtMost(cost)
    if quality is not None:
        return QualityAtLeast(quality)

    expert, _, number = str(share).rpartition("=")
    is_share = number.replace(".", "", 1).isdigit() and 0 <= float(number) <= 1
    if expert not in experts or not is_share:
        raise ConfigurationError(
            f"--target-share: {share!r} is not EXPERT=0.3 for one of {', '.join(experts)}"
        )
    return ShareOf(experts.index(expert), float(number))


@dataclass(frozen=True)
class PolicyExpectation:
    """A policy whose number was found, and what to expect of it.

    Attributes:
        policy: The policy's name.
        field: The name of its number in routoo.toml.
        best: The number, and what it leads to.
        experts: One for each of the shares.
        is_met: Whether the target is met.
    """

    policy: str
    field: str
    best: Expectation
    experts: tuple[str, ...]
    is_met: bool

    def shares(self) -> dict[str, float]:
        """Expert → its share of the calls, of those that get any."""
        shares = {}
        for expert, share in zip(self.experts, self.best.shares, strict=True):
            if share:
                shares[expert] = float(share)
        return shares

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "policy": self.policy,
            self.field: self.best.value,
            "met": self.is_met,
            "mean_quality": self.best.quality,
            "mean_cost_usd": self.best.cost,
            "shares": self.shares(),
        }

    def show(self) -> None:
        """Print the line for routoo.toml, and what to expect."""
        best = self.best
        if not self.is_met:
            print_warning("The target is out of reach; this is the nearest.")
        print_line(f'policy = {{ name = "{self.policy}", {self.field} = {best.value:.6g} }}')
        print_line(f"expect a mean quality of {best.quality:.3f} for ${best.cost:.6f} a call")
        for expert, share in sorted(self.shares().items(), key=lambda item: -item[1]):
            print_line(f"{share:>7.1%}  {expert}")
