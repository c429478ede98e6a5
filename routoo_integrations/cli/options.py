"""Options that several commands have."""

from __future__ import annotations

import re
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
        "--budget", help="USD that all answers in --answers may cost in total, over all runs."
    ),
]
PayerOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Instead of --budget: charge the account of this routoo.toml."
    ),
]
AnswersOption = Annotated[
    Path, typer.Option("--answers", help="The file where answers are kept; reusing them is free.")
]


_DURATION = re.compile(r"(\d{1,6})([mhd])")
_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def is_duration(text: str) -> bool:
    """Whether a text is a duration such as ``12h``."""
    return _DURATION.fullmatch(text) is not None


def duration_s(option: str, text: str) -> float:
    """Seconds of a duration such as ``30m``, ``12h`` or ``30d``.

    Raises:
        ConfigurationError: It is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{option}: {text!r} is not a duration; write 30m, 12h or 30d")
    return int(match[1]) * _UNITS_S[match[2]]


def check_png(plot: Path | None) -> None:
    """Refuse a picture that is no PNG.

    Raises:
        ConfigurationError: The suffix is another.
    """
    if plot and plot.suffix != ".png":
        raise ConfigurationError(f"--plot: {plot} must end in .png, not {plot.suffix!r}")
