"""Money as integer nano-USD."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TypeAlias

from routoo_core.errors import ConfigurationError

NANO_PER_USD = 10**9

MAX_USD = 10**9
"""The largest amount that can be set, USD: ledgers keep nano-USD in 64 bits."""

NanoUsd: TypeAlias = int
"""An amount of money in billionths of a US dollar: ``1_500_000`` is $0.0015."""


def to_nano_usd(amount: str | Decimal) -> NanoUsd:
    """Convert a decimal amount of USD to nano-USD, rounding up.

    Raises:
        ConfigurationError: Not a finite decimal number of at least 0.
    """
    try:
        value = Decimal(amount)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= MAX_USD:
        raise ConfigurationError(
            f"{str(amount)[:40]!r} is not an amount of USD up to {MAX_USD}; write a decimal string such as '5.00'"
        )
    return int((value * NANO_PER_USD).to_integral_value(rounding=ROUND_CEILING))


def nano_to_usd(nano: NanoUsd) -> Decimal:
    """The exact decimal amount of USD: ``nano_to_usd(1_500_000) == Decimal("0.0015")``."""
    usd = Decimal(nano) / NANO_PER_USD
    whole = usd.to_integral_value()
    return whole if usd == whole else usd.normalize()


def plain_usd(nano: NanoUsd) -> str:
    """Write an amount from a setting with only the digits that it needs: ``$50``, ``$2.50``, ``$0.0045``."""
    usd = nano_to_usd(nano)
    if usd == usd.to_integral_value():
        return f"${usd:f}"
    cents = Decimal("0.01")
    return f"${usd:f}" if usd != usd.quantize(cents) else f"${usd:.2f}"


def format_usd(nano: NanoUsd, digits: int = 6) -> str:
    """Write nano-USD as dollars: ``format_usd(1_500_000) == "$0.001500"``."""
    sign = "-" if nano < 0 else ""
    return f"{sign}${abs(nano) / NANO_PER_USD:.{digits}f}"


def decimal_usd(nano: NanoUsd) -> str:
    """Write nano-USD as an exact decimal string: ``decimal_usd(1_500_000) == "0.001500000"``."""
    sign = "-" if nano < 0 else ""
    dollars, remainder = divmod(abs(nano), NANO_PER_USD)
    return f"{sign}{dollars}.{remainder:09d}"
