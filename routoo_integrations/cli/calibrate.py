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
    TunablePolicy,
    calibrate,
    is_met,
    win_rate_of,
)
from routoo_core.errors import ConfigurationError
from routoo_core.expert_table import ExpertTable
from routoo_core.experts import Pool
from routoo_core.loading import check_expert_names
from routoo_core.price_list import read_price_list
from routoo_core.prices import PriceList
from routoo_core.win_rate import RouterName, WinRate
from routoo_integrations.cli.options import JsonOption, PoolOption, PricesOption, TokensOption
from routoo_integrations.cli.terminal import print_json, print_line, print_warning, progress

STRONG = "strong"
WEAK = "weak"
PAIR = (STRONG, WEAK)
"""What two experts may be called in ``--target-share``."""
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
        str, typer.Option(help=f"What to set: {', '.join((*TUNABLE_POLICIES, WinRate.name))}.")
    ] = "lagrangian",
    target_cost: Annotated[
        float | None, typer.Option(help="The highest average cost of a call, in USD.")
    ] = None,
    target_quality: Annotated[
        float | None, typer.Option(help="The lowest average predicted quality.")
    ] = None,
    target_share: Annotated[
        str | None,
        typer.Option(
            help="EXPERT=0.3: this share of the calls for one expert; of two also strong=0.5, the dearer one."
        ),
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
    if policy not in (*TUNABLE_POLICIES, WinRate.name):
        names = ", ".join((*TUNABLE_POLICIES, WinRate.name))
        raise ConfigurationError(
            f"--policy: {policy!r} has no parameter to calibrate; choose one of {names}"
        )
    if cost not in {LIVE, PAPER}:
        raise ConfigurationError(f"--cost: {cost!r} is unknown; choose {LIVE} or {PAPER}")
    price_list = read_price_list(prices, pool or ())
    source = _read_source(scores, router, prompts, _experts_of(prices, price_list))
    if source.prediction_input is not None and cost == LIVE:
        experts = _experts(prices, price_list, source.experts)
        usd_per_call = read_price_list(prices, pool or (), _names(experts)).per_call(tokens)
        target = _read_target(target_cost, target_quality, target_share, usd_per_call)
        table = call_table(
            experts,
            source.prediction_input.predictor,
            source.prediction_input.prompts,
            max_tokens,
            progress,
        )
    else:
        usd_per_call = read_price_list(prices, pool or (), source.experts).per_call(tokens)
        target = _read_target(target_cost, target_quality, target_share, usd_per_call)
        table = _averaged_table(source.table(), usd_per_call)

    tunable = _tunable(policy, table.experts, usd_per_call)
    best = calibrate(table.quality, table.usd, tunable, target, table.can_serve)
    expectation = PolicyExpectation(
        policy, tunable.field, best, table.experts, is_met(target, best), router
    )
    if as_json:
        print_json(expectation.to_dict())
    else:
        expectation.show()


def _tunable(
    policy: str, experts: tuple[str, ...], usd_per_call: dict[str, float]
) -> TunablePolicy:
    """The policy whose number is set; of ``win_rate`` the dearer one of two experts is the strong one.

    Raises:
        ConfigurationError: There are not two experts for it.
    """
    if policy != WinRate.name:
        return TUNABLE_POLICIES[policy]
    if len(experts) != len(PAIR):
        raise ConfigurationError(
            f"--policy: win_rate compares two experts, not {len(experts)}; keep only two in --prices"
        )
    strong = int(usd_per_call[experts[1]] >= usd_per_call[experts[0]])
    return win_rate_of(strong, 1 - strong)


@dataclass(frozen=True)
class QualitySource:
    """Where predicted quality comes from: a table, or a router that has not predicted yet.

    The experts are known at once, so that an option that does not fit them is refused before anything is predicted.
    """

    predicted: ExpertTable | None = None
    prediction_input: PredictionInput | None = None

    @property
    def experts(self) -> tuple[str, ...]:
        """Whose quality is predicted."""
        if self.prediction_input is not None:
            return self.prediction_input.experts
        return self.table().experts

    def table(self) -> ExpertTable:
        """The table, predicted now if it is not there."""
        if self.prediction_input is not None:
            return predict_table(self.prediction_input, progress)
        assert self.predicted is not None  # noqa: S101
        return self.predicted


def _experts_of(prices: Path, price_list: PriceList) -> Pool | tuple[str, ...]:
    """Whom a general router predicts for: the experts of the prices."""
    if prices.suffix == ".toml":
        return Pool.from_toml(prices)
    return tuple(price_list.models)


def _read_source(
    scores: Path | None,
    router: str | None,
    prompts: Path | None,
    experts: Pool | tuple[str, ...],
) -> QualitySource:
    if scores and not router and not prompts:
        return QualitySource(predicted=read_predicted_quality(scores))
    if router and prompts and not scores:
        return QualitySource(prediction_input=read_prediction_input(router, prompts, experts))
    raise ConfigurationError("pass either --scores, or --router and --prompts")


def _experts(prices: Path, price_list: PriceList, names: tuple[str, ...]) -> Pool:
    """The experts of experts.toml, or those of a price list that the router knows."""
    if prices.suffix != ".toml":
        return pool_of_prices(_known_prices(price_list, names, prices))
    pool = Pool.from_toml(prices)
    check_expert_names(pool, names)
    return pool


def _known_prices(price_list: PriceList, names: tuple[str, ...], path: Path) -> PriceList:
    """The prices of the models that a router knows.

    Raises:
        ConfigurationError: It knows none of them.
    """
    own_prices = price_list.select(names)
    if not own_prices.models:
        raise ConfigurationError(f"{path}: the router knows none of its models")
    return own_prices


def _names(pool: Pool) -> tuple[str, ...]:
    return tuple(expert.name for expert in pool)


def _averaged_table(predicted: ExpertTable, usd_per_call: dict[str, float]) -> CallTable:
    """Predictions beside averaged prices, the same for every prompt."""
    experts = tuple(usd_per_call)
    quality = predicted.select(experts).values.astype(np.float64)
    usd = np.broadcast_to(np.array(list(usd_per_call.values())), quality.shape)
    return CallTable(experts, quality, usd, np.ones(quality.shape, dtype=np.bool_))


def _read_target(
    cost: float | None, quality: float | None, share: str | None, usd_per_call: dict[str, float]
) -> Target:
    """The one target among the options.

    Args:
        cost: ``--target-cost``.
        quality: ``--target-quality``.
        share: ``--target-share``.
        usd_per_call: What a call to each expert costs; the dearer one of two is the strong one.
    """
    experts = tuple(usd_per_call)
    options = [option for option in (cost, quality, share) if option is not None]
    if len(options) != 1:
        raise ConfigurationError(
            "pass exactly one of --target-cost, --target-quality and --target-share"
        )

    if cost is not None:
        return CostAtMost(cost)
    if quality is not None:
        return QualityAtLeast(quality)

    expert, _, number = str(share).rpartition("=")
    if expert in PAIR and expert not in experts and len(experts) == len(PAIR):
        expert = (max if expert == STRONG else min)(experts, key=usd_per_call.__getitem__)
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
        router: The router that predicted; ``None`` for a table.
    """

    policy: str
    field: str
    best: Expectation
    experts: tuple[str, ...]
    is_met: bool
    router: str | None = None

    @property
    def model_name(self) -> str | None:
        """A win rate's router and threshold in one name, as the gateway's callers may give it."""
        if self.policy != WinRate.name or self.router is None:
            return None
        return str(RouterName(Path(self.router).name, self.best.value))

    def shares(self) -> dict[str, float]:
        """Expert → its share of the calls, of those that get any."""
        shares = {}
        for expert, share in zip(self.experts, self.best.shares, strict=True):
            if share:
                shares[expert] = float(share)
        return shares

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        model = {"model": self.model_name} if self.model_name else {}
        return {
            "policy": self.policy,
            self.field: self.best.value,
            **model,
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
        if self.model_name is not None:
            print_line(f"or, for one call through the gateway: model = {self.model_name}")
        print_line(f"expect a mean quality of {best.quality:.3f} for ${best.cost:.6f} a call")
        for expert, share in sorted(self.shares().items(), key=lambda item: -item[1]):
            print_line(f"{share:>7.1%}  {expert}")
