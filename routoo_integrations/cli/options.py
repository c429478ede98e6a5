"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routoo_core.errors import ConfigurationError

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="routoo.toml; by default the first of the usual places."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
RouterOption = Annotated[
    str,
    typer.Option("--router", help="A shipped router's name, or the folder 'routoo train' wrote."),
]
OutcomesOption = Annotated[
    Path, typer.Option(help="Parquet or CSV: prompt_id, model, score (0–1).")
]
TableOption = Annotated[Path, typer.Option("--out", help="The table to write, .parquet or .csv.")]
OptionalTableOption = Annotated[
    Path | None, typer.Option("--out", help="The table to write, .parquet or .csv.")
]
PoolOption = Annotated[
    list[str] | None, typer.Option("--pool", help="Only price rows of this pool (repeatable).")
]
PRICES_HELP = "experts.toml, or a CSV: model, input_usd_per_1m, output_usd_per_1m."
PricesOption = Annotated[Path, typer.Option("--prices", help=PRICES_HELP)]
TokensOption = Annotated[
    int,
    typer.Option("--tokens", help="Tokens of a call; prices are averaged over input and output."),
]

# of the commands in which experts answer and somebody pays
LimitOption = Annotated[
    str | None,
    typer.Option(
        "--budget", help="USD that all answers in --answers may cost together, over all runs."
    ),
]
PayerOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Instead of --budget: the account of this routoo.toml pays."
    ),
]
AnswersOption = Annotated[
    Path, typer.Option("--answers", help="Where answers are kept; using them again is free.")
]


def check_png(plot: Path | None) -> None:
    """Refuse a picture that is no PNG.

    Raises:
        ConfigurationError: The suffix is another.
    """
    if plot and plot.suffix != ".png":
        raise ConfigurationError(f"--plot: {plot} ends in {plot.suffix!r}; end it in .png")
