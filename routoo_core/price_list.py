"""Prices for evaluation: those of experts.toml, or a list (``model, input_usd_per_1m, output_usd_per_1m``)."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from pathlib import Path

from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool


def read_prices(
    path: str | Path, pools: Collection[str] = (), known: Collection[str] = ()
) -> dict[str, float]:
    """Model → USD per million tokens, input and output averaged as in the paper (§4.3).

    Args:
        path: experts.toml, or a CSV that may also have the columns ``source`` and ``pool``.
        pools: Only rows of these pools; all when empty.
        known: Only these models; all when empty.

    Raises:
        ConfigurationError: A missing column or a price that is no number; the message names file and row.
    """
    listed = _experts(path) if Path(path).suffix == ".toml" else _listed(path, pools)
    prices = {model: usd for model, usd in listed.items() if not known or model in known}
    if not prices:
        raise ConfigurationError(
            f"{path}: no row fits (pools {sorted(pools) or 'all'}); check names against the table"
        )
    return prices


def read_sizes(path: str | Path) -> dict[str, float]:
    """Model → billions of parameters, of those rows of a CSV that say so in ``billions_of_parameters``.

    Raises:
        ConfigurationError: A size that is no number; the message names file and row.
    """
    if Path(path).suffix == ".toml":
        return {}
    sizes = {}
    for number, row in enumerate(_rows(path), start=1):
        if given := row.get("billions_of_parameters"):
            try:
                sizes[row["model"]] = float(given)
            except ValueError as error:
                raise ConfigurationError(
                    f"{path}: row {number}: billions_of_parameters: {error}"
                ) from error
    return sizes


def _experts(path: str | Path) -> dict[str, float]:
    return {
        e.name: float(e.input_usd_per_1m + e.output_usd_per_1m) / 2 for e in Pool.from_toml(path)
    }


def _listed(path: str | Path, pools: Collection[str]) -> dict[str, float]:
    prices = {}
    for number, row in enumerate(_rows(path), start=1):
        try:
            model = row["model"]
            price = (float(row["input_usd_per_1m"]) + float(row["output_usd_per_1m"])) / 2
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{path}: row {number}: {error}; needs columns model, input_usd_per_1m, output_usd_per_1m"
            ) from error
        if not pools or row.get("pool") in pools:
            prices[model] = price
    return prices


def _rows(path: str | Path) -> Iterable[dict[str, str]]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    return csv.DictReader(text.splitlines())
