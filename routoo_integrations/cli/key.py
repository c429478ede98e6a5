"""``routoo key``: keys of the gateway. Each key is an account with its own limit."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from routoo_core.config import open_account, read_config, read_pool
from routoo_core.errors import ConfigurationError, MissingDependency
from routoo_core.options import RoutooToml
from routoo_integrations.cli.configuration import find_configuration
from routoo_integrations.cli.options import ConfigOption, JsonOption, duration_s, is_duration
from routoo_integrations.cli.terminal import out, print_json, print_line, print_note

try:
    from routoo_integrations.gateway.access import check_terms
    from routoo_integrations.gateway.keys import AccessKey, KeyStore, KeyTerms
    from routoo_integrations.gateway.settings import GatewaySettings
    from routoo_integrations.gateway.stores import open_keys
except ImportError as error:
    raise MissingDependency(error.name or "limits", "gateway", "keep keys") from error

_NEVER = "never"

AccountArgument = Annotated[str, typer.Argument(help="The account that the key stands for.")]


def create_command(
    account: AccountArgument,
    within: Annotated[
        str | None,
        typer.Option(
            help="The account of routoo.toml that it is part of; by default the usual payer."
        ),
    ] = None,
    limit: Annotated[str | None, typer.Option(help="USD that it may spend in each period.")] = None,
    period: Annotated[str, typer.Option(help="hour, day or month.")] = "day",
    experts: Annotated[
        str | None, typer.Option(help="Experts that may answer: names or patterns, 'cheap,gpt-*'.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="The only policy that its calls may use.")
    ] = None,
    accounts: Annotated[
        str | None,
        typer.Option(help="Sub-accounts that its calls may charge, such as 'alice-*'."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="How often it may call: '60/minute', '10/second; 1000/day'.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: a time such as 30d or 12h, or a date.")
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="Allow it to read the figures of all accounts.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key for an account and print it, once: only its SHA-256 is kept, beside the ledger.

    Once a key exists, every call needs one. Running gateways know the key at once; with Redis they look twice a second.

    Example: [bold]routoo key create alice --within team --limit 5.00 --period day[/bold]
    """
    path, toml, keys = _open_keys(config)
    terms = KeyTerms(
        within=within,
        limit=limit,
        period=period,
        experts=_names(experts),
        policy=policy,
        accounts=_names(accounts),
        rate=rate,
        is_admin=admin,
    )
    budget = toml.read_budget(path)
    embeddings = GatewaySettings.of_toml(toml, str(path)).embeddings
    check_terms(account, terms, budget, read_pool(path, toml), toml.policy, embeddings)
    key = keys.create(account, terms, _moment(expires))
    _print_key(account, key, as_json)


def rotate_command(
    account: AccountArgument,
    grace: Annotated[
        str | None, typer.Option(help="How long the old key still works, such as 1h.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a new key for an account and print it; the old one stops working, at once or after --grace.

    What the account has spent, and what it may do, stays as it is. A key that was revoked is in use again.

    Example: [bold]routoo key rotate alice --grace 1h[/bold]
    """
    _, _, keys = _open_keys(config)
    grace_s = 0.0 if grace is None else duration_s("grace", grace)
    _print_key(account, keys.rotate(account, grace_s), as_json)


def revoke_command(account: AccountArgument, config: ConfigOption = None) -> None:
    """Revoke an account's key; running gateways refuse it at once.

    With a ledger in Redis they look for changes twice a second.

    Example: [bold]routoo key revoke alice[/bold]
    """
    _, _, keys = _open_keys(config)
    keys.revoke(account)
    print_line(f"The key of account {account} is revoked.")


def expire_command(
    account: AccountArgument,
    when: Annotated[str, typer.Argument(help="30d, 12h, a date such as 2027-01-31, or never.")],
    config: ConfigOption = None,
) -> None:
    """Set when an account's key ends.

    Example: [bold]routoo key expire alice 30d[/bold]
    """
    _, _, keys = _open_keys(config)
    key = keys.expire(account, _moment(None if when == _NEVER else when))
    print_line(f"The key of account {account} ends: {_shown_moment(key.expires_at)}")


def list_command(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the keys: accounts, limits, what they may do, and whether they are in use; never the keys themselves.

    Example: [bold]routoo key list --json[/bold]
    """
    _, _, keys = _open_keys(config)
    if as_json:
        print_json([_describe(key) for key in keys.list_keys()])
        return
    table = Table("account", "limit", "experts", "policy", "rate", "state", box=None)
    for key in keys.list_keys():
        terms = key.terms
        limit = "–" if terms.limit is None else f"${terms.limit}/{terms.period}"
        experts = ", ".join(terms.experts) or "all"
        table.add_row(
            key.account, limit, experts, terms.policy or "–", terms.rate or "–", _state(key)
        )
    out.print(table)


def _open_keys(option: Path | None) -> tuple[Path, RoutooToml, KeyStore]:
    """The configuration, and the keys beside its ledger.

    Raises:
        ConfigurationError: There is no routoo.toml, or the keys cannot be opened.
    """
    configuration = find_configuration(option)
    if configuration.is_built_in:
        raise ConfigurationError("--config: there is no routoo.toml here; pass its path")
    toml = read_config(configuration.path)
    _, ledger = open_account(configuration.path, toml)
    return configuration.path, toml, open_keys(ledger, configuration.path.parent)


def _print_key(account: str, key: str, as_json: bool) -> None:
    if as_json:
        print_json({"account": account, "key": key})
        return
    print_line(key)
    print_note(f"This is the key of account {account}. It is shown once: keep it now.")


def _names(text: str | None) -> tuple[str, ...]:
    """The names of a list with commas."""
    names = [name.strip() for name in (text or "").split(",")]
    return tuple(name for name in names if name)


def _moment(text: str | None) -> float | None:
    """Seconds since the epoch of a time from now or a date; ``None`` for never.

    Raises:
        ConfigurationError: It is neither.
    """
    if text is None:
        return None
    if is_duration(text):
        return time.time() + duration_s("expires", text)
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"expires: {text!r} is not a time; write 30d, 12h or a date such as 2027-01-31"
        ) from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _describe(key: AccessKey) -> dict[str, object]:
    terms = key.terms
    return {
        "id": key.id,
        "account": key.account,
        "within": terms.within,
        "limit_usd": terms.limit,
        "period": terms.period,
        "experts": list(terms.experts),
        "policy": terms.policy,
        "accounts": list(terms.accounts),
        "rate": terms.rate,
        "admin": terms.is_admin,
        "created": _shown_moment(key.created_at),
        "expires": None if key.expires_at is None else _shown_moment(key.expires_at),
        "state": _state(key),
    }


def _state(key: AccessKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.is_usable(time.time()):
        return "expired"
    return "in use" if key.expires_at is None else f"until {_shown_moment(key.expires_at)}"


def _shown_moment(seconds: float | None) -> str:
    if seconds is None:
        return _NEVER
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
