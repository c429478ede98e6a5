"""``routoo universe``: which few of many experts to have at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.errors import ConfigurationError
from routoo_core.price_list import read_price_list
from routoo_core.tables import check_table_format, write_table
from routoo_core.universe.construction import (
    UniverseInput,
    guess_rates,
    held_out_area,
    read_universe_input,
    select_routed,
)
from routoo_core.universe.plots import plot_coverage
from routoo_core.universe.selection import (
    ObservedScores,
    coverage_without_luck,
    select_universe,
)
from routoo_integrations.cli.options import (
    PRICES_HELP,
    JsonOption,
    OptionalTableOption,
    OutcomesOption,
    PoolOption,
    check_png,
)
from routoo_integrations.cli.terminal import out, print_json, print_line, progress


@dataclass(frozen=True)
class UniverseOptions:
    """How the experts are chosen.

    Attributes:
        size: The most experts to choose.
        must_have: Experts to choose first.
        prices: USD per million tokens by expert; empty without a price list.
        guess_rate: Chance of a lucky answer; ``None`` to estimate it.
        plot: Where the coverage curve is drawn.
    """

    size: int
    must_have: Sequence[str]
    prices: dict[str, float]
    guess_rate: float | None
    plot: Path | None


@dataclass(frozen=True)
class UniverseTable:
    """The experts chosen.

    Attributes:
        figures: What the choice as a whole is worth.
        columns: A row for each expert, in the order chosen.
    """

    figures: dict[str, float | str | None]
    columns: dict[str, list[object]]

    def rows(self) -> list[tuple[object, ...]]:
        """The columns, row by row."""
        return list(zip(*self.columns.values(), strict=True))

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows()]
        return {**self.figures, "chosen": rows}


def universe_command(
    outcomes: OutcomesOption,
    size: Annotated[int, typer.Option(help="The most experts to choose; the paper has 56.")],
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Only these prompts count: prompt_id, prompt, optional domain, split. Choices are read off it."
        ),
    ] = None,
    must_have: Annotated[
        list[str] | None, typer.Option(help="Choose this expert first (repeatable).")
    ] = None,
    prices: Annotated[
        list[Path] | None,
        typer.Option("--price", "--prices", help=f"{PRICES_HELP} Repeatable."),
    ] = None,
    pool: PoolOption = None,
    objective: Annotated[
        str,
        typer.Option(
            help="coverage (the paper's Eq. 2), or routed: what a cheap router gains; needs domains, prices."
        ),
    ] = "coverage",
    guess_rate: Annotated[
        float | None,
        typer.Option(help="Chance of a lucky answer; by default 1 / choices, or estimated."),
    ] = None,
    target: OptionalTableOption = None,
    plot: Annotated[Path | None, typer.Option(help="The coverage curve to draw, .png.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Choose the experts that complement one another best: greedily, with a bound of how far from optimal that can be.

    A pair that was not observed covers nothing. Equal gains go to the cheaper expert. [italic]Alone[/italic] is what
    would be lost without an expert: where it is 0, the others have all it has. [italic]Without luck[/italic] is the
    coverage when right answers that guessing explains do not count.

    Example: [bold]routoo universe --outcomes o.parquet --prompts p.parquet --size 8 --plot coverage.png[/bold]
    """
    if objective not in OBJECTIVES:
        raise ConfigurationError(
            f"--objective: {objective!r} is unknown; choose one of {', '.join(OBJECTIVES)}"
        )
    if target:
        check_table_format(target)
    check_png(plot)

    price_list: dict[str, float] = {}
    for path in prices or ():
        price_list.update(read_price_list(path, pool or ()).per_million())
    experts = price_list if pool else ()
    candidates = read_universe_input(outcomes, prompts, experts)

    options = UniverseOptions(size, must_have or (), price_list, guess_rate, plot)
    universe = OBJECTIVES[objective](candidates, options)
    if target:
        write_table(target, universe.columns)

    if as_json:
        print_json(universe.to_dict())
    else:
        _show_experts(universe)
        _show_figures(universe)


def _choose_by_coverage(candidates: UniverseInput, options: UniverseOptions) -> UniverseTable:
    """Algorithm 1 of the paper, with what luck explains taken off."""
    observed = candidates.observed
    rates = guess_rates(observed, candidates.choices, options.guess_rate)
    universe = select_universe(observed, options.size, options.must_have, options.prices)
    count = len(universe.experts)

    net_coverage = None
    if rates:
        net_coverage = coverage_without_luck(observed, universe.experts, rates[0])
    if options.plot:
        plot_coverage(options.plot, universe, net_coverage)

    answered = observed.select(universe.experts).answered(range(count))
    columns: dict[str, list[object]] = {
        "model": list(universe.experts),
        "gain": list(universe.gains),
        "coverage": list(universe.coverage),
        "without_luck": list(net_coverage) if net_coverage else [None] * count,
        "alone": list(universe.alone),
        "observed": answered.mean(axis=1).tolist(),
    }
    _add_prices(columns, universe.experts, options.prices)
    figures: dict[str, float | str | None] = {
        "coverage": universe.coverage[-1] if universe.coverage else 0.0,
        "upper_bound": universe.bound,
        "gap": universe.gap,
        "everyone": universe.everyone,
        "without_luck": net_coverage[-1] if net_coverage else None,
        "guess_rate": rates[1] if rates else None,
    }
    return UniverseTable(figures, columns)


def _choose_by_routing(candidates: UniverseInput, options: UniverseOptions) -> UniverseTable:
    """What a cheap router by domain makes of the experts."""
    if options.plot or options.guess_rate is not None:
        raise ConfigurationError(
            "--plot and --guess-rate are for --objective coverage; leave them out"
        )
    outcomes = candidates.outcomes
    if outcomes is None:
        raise ConfigurationError(
            "--objective routed: give --prompts with a 'domain' column, which its router reads"
        )
    train = outcomes.take(outcomes.rows("train"))
    dev = outcomes.take(outcomes.rows("dev"))
    prices = options.prices

    with progress.bar("Choosing", options.size) as advance:
        routed = select_routed(train, prices, options.size, options.must_have, advance)
    observed = ObservedScores.from_scores(train.scores, train.experts)
    covering = select_universe(observed, options.size, options.must_have, prices)

    figures: dict[str, float | str | None] = {
        "area": routed.areas[-1] if routed.areas else 0.0,
        "held_out_area": None,
        "held_out_area_of_coverage": None,
    }
    if dev.prompts:
        figures["held_out_area"] = held_out_area(train, dev, prices, routed.experts)
        figures["held_out_area_of_coverage"] = held_out_area(train, dev, prices, covering.experts)

    columns: dict[str, list[object]] = {
        "model": list(routed.experts),
        "area": list(routed.areas),
    }
    _add_prices(columns, routed.experts, prices)
    return UniverseTable(figures, columns)


def _add_prices(
    columns: dict[str, list[object]], experts: Sequence[str], prices: dict[str, float]
) -> None:
    if prices:
        columns["usd_per_1m"] = [prices.get(expert) for expert in experts]


OBJECTIVES: dict[str, Callable[[UniverseInput, UniverseOptions], UniverseTable]] = {
    "coverage": _choose_by_coverage,
    "routed": _choose_by_routing,
}


def _show_experts(universe: UniverseTable) -> None:
    table = Table("")
    for name in universe.columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for rank, row in enumerate(universe.rows(), start=1):
        table.add_row(str(rank), *[_cell(value) for value in row])
    out.print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value or "–")


def _show_figures(universe: UniverseTable) -> None:
    for name, value in universe.figures.items():
        label = name.replace("_", " ")
        if value is None:
            figure = "–"
        elif isinstance(value, float):
            figure = f"{value:.4f}"
        else:
            figure = value
        print_line(f"{label:>26}  {figure}")
