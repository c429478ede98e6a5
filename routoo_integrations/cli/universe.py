"""``routoo universe``: which few of many experts to have at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.errors import ConfigurationError
from routoo_core.price_list import read_price_list
from routoo_core.tables import check_table_format, write_table
from routoo_core.universe.construction import (
    OBJECTIVES,
    Construction,
    UniverseSettings,
    read_universe_input,
)
from routoo_integrations.cli.options import (
    PRICES_HELP,
    JsonOption,
    OptionalTableOption,
    OutcomesOption,
    PoolOption,
    check_png,
)
from routoo_integrations.cli.outputs import CommandFiles, OverwriteOption
from routoo_integrations.cli.terminal import out, print_json, print_line, progress


def universe_command(
    outcomes: OutcomesOption,
    size: Annotated[
        int, typer.Option(help="How many experts to choose at most; the paper uses 56.")
    ],
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
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose a small, complementary set of experts greedily, with a bound on the distance from the optimum.

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
    files = [outcomes, prompts, *(prices or ())]
    CommandFiles({"--out": target, "--plot": plot}, inputs=files).check(overwrite)

    price_list: dict[str, float] = {}
    for path in prices or ():
        price_list.update(read_price_list(path, pool or ()).per_million())
    experts = price_list if pool else ()
    candidates = read_universe_input(outcomes, prompts, experts)

    settings = UniverseSettings(size, tuple(must_have or ()), price_list, guess_rate, plot)
    universe = OBJECTIVES[objective](candidates, settings, progress)
    if target:
        write_table(target, universe.columns)

    if as_json:
        print_json(universe.to_dict())
    else:
        _show_experts(universe)
        _show_figures(universe)


def _show_experts(universe: Construction) -> None:
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


def _show_figures(universe: Construction) -> None:
    for name, value in universe.figures.items():
        label = name.replace("_", " ")
        if value is None:
            figure = "–"
        elif isinstance(value, float):
            figure = f"{value:.4f}"
        else:
            figure = value
        print_line(f"{label:>26}  {figure}")
