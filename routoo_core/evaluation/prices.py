"""A list of prices (``model, input_usd_per_1m, output_usd_per_1m``, optional ``source, pool``) for evaluation."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from routoo_core.errors import ConfigurationError


def read_prices(path: str | Path, pools: Collection[str] = (), known: Collection[str] = ()) -> dict[str, float]:
    """Model → USD per million tokens, input and output averaged as in the paper (§4.3).

    Args:
        path: The CSV.
        pools: Only rows of these pools; all when empty.
        known: Only these models; all when empty.

    Raises:
        ConfigurationError: A missing column or a price that is no number; the message names file and row.
    """
    prices = {}
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    for number, row in enumerate(csv.DictReader(text.splitlines()), start=1):
        try:
            model = row["model"]
            price = (float(row["input_usd_per_1m"]) + float(row["output_usd_per_1m"])) / 2
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{path}: row {number}: {error}; needs columns model, input_usd_per_1m, output_usd_per_1m"
            ) from error
        if (not pools or row.get("pool") in pools) and (not known or model in known):
            prices[model] = price
    if not prices:
        raise ConfigurationError(f"{path}: no row fits (pools {sorted(pools) or 'all'}); check names against the table")
    return prices
