"""Ledgers by their addresses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from routoo_core.budget.ledger import (
    FORGOTTEN_REBUILD,
    FORGOTTEN_REFUSE,
    HOLD_TTL_S,
    Ledger,
    RestorableLedger,
    check_on_forgotten,
)
from routoo_core.budget.redis import RedisLedger
from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.errors import ConfigurationError
from routoo_core.redaction import expand_environment, is_variable, redacted_url


def _open_memory(url: str, beside: Path, hold_ttl_s: float) -> Ledger:
    return SqliteLedger(ttl=hold_ttl_s)


def _open_sqlite(url: str, beside: Path, hold_ttl_s: float) -> Ledger:
    path = url.partition("://")[2].removeprefix("/")
    return SqliteLedger(str(beside / path), ttl=hold_ttl_s)


def _open_redis(url: str, beside: Path, hold_ttl_s: float) -> Ledger:
    return RedisLedger(url, ttl=hold_ttl_s)


LEDGERS: dict[str, Callable[[str, Path, float], Ledger]] = {
    "memory": _open_memory,
    "sqlite": _open_sqlite,
    "redis": _open_redis,
    "rediss": _open_redis,
    "unix": _open_redis,
}
"""Scheme of ``budget.ledger`` → ledger.

Given the URL, the folder that relative paths start from, and the seconds after which a hold counts as spent.
"""


def open_ledger(
    url: str,
    beside: Path | None = None,
    hold_ttl_s: float = HOLD_TTL_S,
    on_forgotten: str = FORGOTTEN_REFUSE,
) -> Ledger:
    """Open ``memory://``, ``sqlite:///relative.db`` (``sqlite:////absolute.db``) or ``redis://host:6379/0``.

    ``${NAME}`` stands for an environment variable: in the address of a Redis server, or as the whole address.

    Args:
        url: The ledger's.
        beside: Folder that relative paths start from.
        hold_ttl_s: Seconds after which a hold that nobody has settled counts as spent.
        on_forgotten: Where the ledger has lost what it kept: ``refuse`` calls, or ``rebuild`` it.

    Raises:
        ConfigurationError: Unknown kind, the file or the server cannot be opened, or the ledger cannot be rebuilt.
    """
    address = expand_environment(url, "budget.ledger") if is_variable(url) else url
    scheme, separator, _ = address.partition("://")
    if not separator or scheme not in LEDGERS:
        schemes = ", ".join(f"{name}://" for name in LEDGERS)
        raise ConfigurationError(f"budget.ledger: {redacted_url(url)!r} is unknown; use {schemes}")
    open_kind = LEDGERS[scheme]
    if open_kind is _open_redis:
        address = url  # it reads its own variables, and never repeats what they hold
    ledger = open_kind(address, beside or Path(), hold_ttl_s)
    if check_on_forgotten(on_forgotten) == FORGOTTEN_REBUILD:
        if not isinstance(ledger, RestorableLedger):
            raise ConfigurationError(
                f"budget.on_forgotten: a {scheme}:// ledger cannot be rebuilt; leave the setting out"
            )
        ledger.on_forgotten = on_forgotten
    return ledger
