"""Price lists for work offline: a CSV with a row for each model, or the experts of an experts.toml."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_core.prices import PriceList


def read_price_list(
    path: str | Path, pools: Collection[str] = (), models: Collection[str] = ()
) -> PriceList:
    """Read prices.

    Args:
        path: experts.toml, or a CSV: ``model, input_usd_per_1m, output_usd_per_1m``, optional ``pool`` and
            ``billions_of_parameters``.
        pools: Only rows of these pools; all when empty.
        models: Only these models; all when empty.

    Raises:
        ConfigurationError: A missing column, a price that is no number, or no row left; the message names file and
            row.
    """
    prices = (
        _prices_of_experts(path) if Path(path).suffix == ".toml" else _prices_of_csv(path, pools)
    )
    if models:
        prices = prices.select(models)
    if not prices.models:
        raise ConfigurationError(
            f"{path}: no row fits (pools {sorted(pools) or 'all'}); check names against the table"
        )
    return prices


def _prices_of_experts(path: str | Path) -> PriceList:
    pool = Pool.from_toml(path)
    return PriceList(
        {expert.name: float(expert.input_usd_per_1m) for expert in pool},
        {expert.name: float(expert.output_usd_per_1m) for expert in pool},
    )


def _prices_of_csv(path: str | Path, pools: Collection[str]) -> PriceList:
    input_usd: dict[str, float] = {}
    output_usd: dict[str, float] = {}
    sizes: dict[str, float] = {}

    for number, row in enumerate(_csv_rows(path), start=1):
        try:
            model = row["model"]
            row_input_usd = float(row["input_usd_per_1m"])
            row_output_usd = float(row["output_usd_per_1m"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{path}: row {number}: {error}; needs columns model, input_usd_per_1m, output_usd_per_1m"
            ) from error
        size = _size(path, number, row.get("billions_of_parameters"))

        if not pools or row.get("pool") in pools:
            input_usd[model] = row_input_usd
            output_usd[model] = row_output_usd
            if size is not None:
                sizes[model] = size
    return PriceList(input_usd, output_usd, sizes)


def _size(path: str | Path, number: int, text: str | None) -> float | None:
    """Billions of parameters in a row, where it has them."""
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{path}: row {number}: billions_of_parameters: {error}"
        ) from error


def _csv_rows(path: str | Path) -> Iterator[dict[str, str]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    yield from csv.DictReader(text.splitlines())
