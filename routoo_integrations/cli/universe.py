"""``routoo universe``: which few of many experts to have at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from routoo_core.errors import ConfigurationError
from routoo_integrations.cli.shared import PRICES_HELP, JsonOption, PoolOption, out, progress

if TYPE_CHECKING:
    from routoo_core.universe.construction import UniverseInput

app = typer.Typer()


@app.command()
def universe(
    outcomes: Annotated[Path, typer.Option(help="Parquet or CSV: prompt_id, model, score (0–1).")],
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
    price: Annotated[
        list[Path] | None,
        typer.Option(
            "--price",
            "--prices",
            help=f"{PRICES_HELP} Repeatable.",
        ),
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
    chosen: Annotated[
        Path | None, typer.Option("--out", help="The table to write, .parquet or .csv.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="The coverage curve to draw, .png.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Choose the experts that complement one another best: greedily, with a bound of how far from optimal that can be.

    A pair that was not observed covers nothing. Equal gains go to the cheaper expert. [italic]Alone[/italic] is what
    would be lost without an expert: where it is 0, the others have all it has. [italic]Without luck[/italic] is the
    coverage when right answers that guessing explains do not count.

    Example: [bold]routoo universe --outcomes o.parquet --prompts p.parquet --size 8 --plot coverage.png[/bold]
    """
    from routoo_core.price_list import read_price_list
    from routoo_core.tables import check_table_format, write_table
    from routoo_core.universe.construction import read_universe_input

    if objective not in CHOICES:
        raise ConfigurationError(
            f"--objective: {objective!r} is unknown; choose one of {', '.join(CHOICES)}"
        )
    if chosen:
        check_table_format(chosen)
    if plot and plot.suffix != ".png":
        raise ConfigurationError(f"--plot: {plot} ends in {plot.suffix!r}; end it in .png")
    prices: dict[str, float] = {}
    for path in price or ():
        prices |= read_price_list(path, pool or ()).per_million()
    asked = read_universe_input(outcomes, prompts, prices if pool else ())
    found, columns = CHOICES[objective](asked, size, must_have or [], prices, guess_rate, plot)
    if chosen:
        write_table(chosen, columns)
    if as_json:
        out.print_json(
            json.dumps(
                {
                    **found,
                    "chosen": [dict(zip(columns, row, strict=True)) for row in _rows(columns)],
                }
            )
        )
        return
    table = Table("", *(Column(name.replace("_", " "), overflow="fold") for name in columns))
    for place, row in enumerate(_rows(columns), start=1):
        table.add_row(
            str(place),
            *(f"{value:.4g}" if isinstance(value, float) else str(value or "–") for value in row),
        )
    out.print(table)
    for name, value in found.items():
        shown = "–" if value is None else f"{value:.4f}" if isinstance(value, float) else value
        out.print(f"{name.replace('_', ' '):>26}  {shown}", highlight=False, soft_wrap=True)


def _rows(columns: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*columns.values(), strict=True))


def _coverage(
    asked: UniverseInput,
    size: int,
    must_have: list[str],
    prices: dict[str, float],
    guess_rate: float | None,
    plot: Path | None,
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    from routoo_core.universe.construction import guess_rates
    from routoo_core.universe.plots import plot_coverage
    from routoo_core.universe.selection import coverage_without_luck, select_universe

    observed = asked.observed
    rates = guess_rates(observed, asked.choices, guess_rate)
    found = select_universe(observed, size, must_have, prices)
    known = coverage_without_luck(observed, found.experts, rates[0]) if rates else None
    if plot:
        plot_coverage(plot, found, known)
    seen = observed.select(found.experts).answered(range(len(found.experts))).mean(axis=1).tolist()
    columns: dict[str, list[Any]] = {
        "model": list(found.experts),
        "gain": list(found.gains),
        "coverage": list(found.coverage),
        "without_luck": list(known) if known else [None] * len(found.experts),
        "alone": list(found.alone),
        "observed": seen,
        **_priced(found.experts, prices),
    }
    return {
        "coverage": found.coverage[-1] if found.coverage else 0.0,
        "upper_bound": found.bound,
        "gap": found.gap,
        "everyone": found.everyone,
        "without_luck": known[-1] if known else None,
        "guess_rate": rates[1] if rates else None,
    }, columns


def _routed(
    asked: UniverseInput,
    size: int,
    must_have: list[str],
    prices: dict[str, float],
    guess_rate: float | None,
    plot: Path | None,
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    from routoo_core.universe.construction import held_out_area, select_routed
    from routoo_core.universe.selection import ObservedScores, select_universe

    if plot or guess_rate is not None:
        raise ConfigurationError(
            "--plot and --guess-rate are for --objective coverage; leave them out"
        )
    if asked.outcomes is None:
        raise ConfigurationError(
            "--objective routed: give --prompts with a 'domain' column, which its router reads"
        )
    train, dev = (
        asked.outcomes.take(asked.outcomes.rows("train")),
        asked.outcomes.take(asked.outcomes.rows("dev")),
    )
    with progress.bar("Choosing", size) as advance:
        found = select_routed(train, prices, size, must_have, advance)
    covering = select_universe(
        ObservedScores.from_scores(train.scores, train.experts), size, must_have, prices
    )
    return {
        "area": found.areas[-1] if found.areas else 0.0,
        "held_out_area": held_out_area(train, dev, prices, found.experts) if dev.prompts else None,
        "held_out_area_of_coverage": held_out_area(train, dev, prices, covering.experts)
        if dev.prompts
        else None,
    }, {"model": list(found.experts), "area": list(found.areas), **_priced(found.experts, prices)}


def _priced(experts: tuple[str, ...], prices: dict[str, float]) -> dict[str, list[float | None]]:
    return {"usd_per_1m": [prices.get(name) for name in experts]} if prices else {}


CHOICES = {"coverage": _coverage, "routed": _routed}
