"""Where a gateway keeps its keys and stored responses: beside the ledger, in Redis or in files."""

from __future__ import annotations

import logging
from pathlib import Path

from routoo_core.budget.ledger import Ledger
from routoo_core.budget.redis import RedisLedger
from routoo_core.errors import ConfigurationError
from routoo_integrations.gateway.database import beside_ledger
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.key_server import KeyServer
from routoo_integrations.gateway.keys import KeyStore
from routoo_integrations.gateway.response_file import ResponseFile
from routoo_integrations.gateway.response_server import ResponseServer
from routoo_integrations.gateway.settings import ResponseSettings
from routoo_integrations.gateway.stored_responses import ResponseStore

_LOGGER = logging.getLogger(__name__)


def open_keys(ledger: Ledger, folder: Path, must_exist: bool = False) -> KeyStore:
    """The keys of a gateway: in the ledger's Redis server, else in a file beside the ledger's own.

    Args:
        ledger: Keeps the accounts.
        folder: The folder of the configuration, for a ledger without a file.
        must_exist: Whether there were keys already, so that none to be found means that they are lost.

    Raises:
        ConfigurationError: The file cannot be opened, or there is one beside a ledger in Redis that holds no keys.
        LedgerError: The server cannot be used.
    """
    path = beside_ledger(ledger, folder, "keys")
    if not isinstance(ledger, RedisLedger):
        return KeyStore(KeyFile(path), must_exist=must_exist)
    keys = KeyStore(KeyServer(ledger.url), must_exist=must_exist)
    if not must_exist and not keys.has_keys and _holds_keys(path):
        keys.close()
        raise ConfigurationError(
            f"{path}: the keys of a gateway whose ledger is in Redis are kept there too, and there are none; remove "
            "this file, and make the keys again with 'routoo key create'"
        )
    return keys


def _holds_keys(path: Path) -> bool:
    """Whether a file of keys has one; a gateway without keys leaves an empty file."""
    if not path.exists():
        return False
    file = KeyFile(path)
    has_keys = bool(file.current().by_id)
    file.close()
    return has_keys


def open_responses(
    settings: ResponseSettings | None, ledger: Ledger, folder: Path | None
) -> ResponseStore | None:
    """Where responses are stored; ``None`` for nowhere.

    Args:
        settings: For how long, and how many.
        ledger: Keeps the accounts.
        folder: The folder of the configuration; ``None`` keeps them in memory.

    Raises:
        ConfigurationError: The file cannot be opened.
    """
    if settings is None:
        return None
    path = None if folder is None else beside_ledger(ledger, folder, "responses")
    if isinstance(ledger, RedisLedger):
        if path is not None and path.exists():
            _LOGGER.warning(
                "%s: responses are stored in Redis, beside the ledger; remove this file, which holds prompts",
                path,
            )
        return ResponseServer(ledger.url, settings.keep_s, settings.account_mb)
    return ResponseFile(path, settings.keep_s, settings.account_mb)
