"""Keys of the gateway. Each key is an account: its rights, and the digest of its secret.

A secret is shown once and never stored. Whoever reads what is stored cannot call.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from routoo_core.errors import ConfigurationError, LedgerError

_PREFIX = "sk-routoo-"
_ID_BYTES = 6
_SECRET_BYTES = 32
_NO_DIGEST = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key may do.

    Attributes:
        within: The account that its own is part of; ``None`` for the one that usually pays.
        limit: USD that it may spend in each period, a decimal string; ``None`` for no limit of its own.
        period: ``hour``, ``day`` or ``month``.
        experts: Names, or patterns such as ``gpt-*``, of those that may answer it; empty for all.
        policy: Ranks the experts of its calls; ``None`` leaves that to the router and the caller.
        accounts: Patterns, such as ``alice-*``, of accounts within its own that a call may let pay.
        rate: How many calls it may make in which time, such as ``60/minute``; ``None`` for any number.
        is_admin: Whether it may read the figures of all accounts.
    """

    within: str | None = None
    limit: str | None = None
    period: str = "day"
    experts: tuple[str, ...] = ()
    policy: str | None = None
    accounts: tuple[str, ...] = ()
    rate: str | None = None
    is_admin: bool = False

    def to_json(self) -> str:
        """The key as JSON, as it is stored."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, text: str) -> KeyTerms:
        """What :meth:`to_json` wrote; what a later version added is left out."""
        stored: dict[str, Any] = json.loads(text)
        values = {name: stored[name] for name in cls.__slots__ if name in stored}
        for name in ("experts", "accounts"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key, without its secret.

    Attributes:
        id: Part of the key that is no secret.
        account: Whose calls it makes, and whose money they spend.
        terms: What it may do.
        created_at: Seconds since the epoch, like the others.
        expires_at: From when on it opens nothing; ``None`` for never.
        revoked_at: When it was revoked; ``None`` where it was not.
        digest: SHA-256 of the whole key.
        previous_digest: Of the one before the last rotation.
        previous_until: How long that one still opens.
    """

    id: str
    account: str
    terms: KeyTerms
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    digest: bytes = field(default=_NO_DIGEST, repr=False)
    previous_digest: bytes | None = field(default=None, repr=False)
    previous_until: float | None = None

    def is_usable(self, now: float) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def opens(self, digest: bytes, now: float) -> bool:
        """Whether a key of this digest is this one; takes the same time whichever it is."""
        is_current = hmac.compare_digest(digest, self.digest)
        is_previous = hmac.compare_digest(digest, self.previous_digest or _NO_DIGEST)
        previous_counts = now < (self.previous_until or 0.0)
        return is_current or (is_previous and previous_counts)


_NOBODY = AccessKey("", "", KeyTerms(), 0.0)
"""Compared with where no key goes by an id, so that this takes as long."""


Change = Callable[[AccessKey], AccessKey]
"""Makes the key that takes the place of one."""


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """All keys at one time.

    Attributes:
        revision: A number that is another one whenever a key may have changed.
        by_id: Id → key, ordered by account.
    """

    revision: int
    by_id: Mapping[str, AccessKey]


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in to the gateway's page.

    Attributes:
        key_id: Of the key that was entered.
        key_digest: SHA-256 of the whole key.
        expires_at: Seconds since the epoch.
    """

    key_id: str
    key_digest: bytes = field(repr=False)
    expires_at: float


class KeyStorage(Protocol):
    """Where keys are kept, and the sign-ins of their holders; safe from any thread.

    All methods raise :class:`~routoo_core.errors.LedgerError` where it cannot be used: nothing may be spent while
    nobody can say whose it is.
    """

    def current(self) -> KnownKeys:
        """All keys; asked for each call, so it must not wait for a server."""
        ...

    def add(self, key: AccessKey) -> None:
        """Keep a new key.

        Raises:
            ConfigurationError: Its account has one.
        """
        ...

    def change(self, key_id: str, change: Change) -> AccessKey:
        """Change a key, and nothing of it in between; what it is then."""
        ...

    def add_sign_in(self, digest: bytes, sign_in: SignIn, now: float) -> None:
        """Keep a sign-in until it expires.

        Args:
            digest: SHA-256 of what the cookie holds.
            sign_in: The sign-in.
            now: Seconds since the epoch.
        """
        ...

    def sign_in(self, digest: bytes) -> SignIn | None:
        """The sign-in of a cookie; ``None`` for none."""
        ...

    def remove_sign_in(self, digest: bytes) -> None:
        """Forget a sign-in."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class KeyStore:
    """The keys of a gateway, which its processes and the command line share.

    Args:
        storage: Where they are kept.
        clock: Tells the time, seconds since the epoch.
        must_exist: Whether there were keys already, so that none to be found means that they are lost.
    """

    def __init__(
        self,
        storage: KeyStorage,
        clock: Callable[[], float] = time.time,
        must_exist: bool = False,
    ) -> None:
        self.storage = storage
        self.clock = clock
        self._must_exist = must_exist

    # Who calls

    def find(self, key: str) -> AccessKey | None:
        """The key with a caller's secret, usable or not; ``None`` for an unknown secret."""
        digest = digest_of(key)
        access_key = self._current().get(_id_of(key), _NOBODY)
        # The key of nobody is compared, too, so that both take as long.
        is_open = access_key.opens(digest, self.clock())
        return access_key if is_open and access_key is not _NOBODY else None

    def get(self, key_id: str) -> AccessKey | None:
        """The key of an id, whether or not it is still usable; ``None`` for none."""
        return self._current().get(key_id)

    @property
    def has_keys(self) -> bool:
        """Whether any key was ever made, even a revoked one. Once there is a key, every call needs one."""
        return bool(self._current())

    @property
    def has_usable_keys(self) -> bool:
        """Whether any key can be used now."""
        now = self.clock()
        return any(key.is_usable(now) for key in self.list_keys())

    @property
    def revision(self) -> int:
        """A number that is another one whenever a key may have changed."""
        return self.storage.current().revision

    def list_keys(self) -> list[AccessKey]:
        """All keys, by account."""
        return list(self._current().values())

    # Changes

    def create(self, account: str, terms: KeyTerms, expires_at: float | None = None) -> str:
        """Make a key for an account, which has none yet.

        Returns:
            The key, which is shown once and cannot be read again.

        Raises:
            ConfigurationError: The account has a key.
        """
        key_id = secrets.token_hex(_ID_BYTES)
        key = _new_key(key_id)
        access_key = AccessKey(
            id=key_id,
            account=account,
            terms=terms,
            created_at=self.clock(),
            expires_at=expires_at,
            digest=digest_of(key),
        )
        self.storage.add(access_key)
        return key

    def rotate(self, account: str, grace_s: float = 0.0) -> str:
        """Make a new key for an account; the old one opens for a while longer, unless it was revoked.

        Args:
            account: Whose.
            grace_s: Seconds for which the old key still opens.

        Raises:
            ConfigurationError: The account has no key.
        """
        access_key = self._key_of_account(account)
        key = _new_key(access_key.id)
        until = self.clock() + grace_s

        def rotate_key(current: AccessKey) -> AccessKey:
            is_revoked = current.revoked_at is not None
            return replace(
                current,
                digest=digest_of(key),
                previous_digest=None if is_revoked else current.digest,
                previous_until=until,
                revoked_at=None,
            )

        self.storage.change(access_key.id, rotate_key)
        return key

    def revoke(self, account: str) -> AccessKey:
        """Let an account's key open nothing from now on.

        Raises:
            ConfigurationError: The account has no key.
        """
        now = self.clock()
        return self.storage.change(
            self._key_of_account(account).id,
            lambda current: replace(current, revoked_at=now, previous_digest=None),
        )

    def expire(self, account: str, expires_at: float | None) -> AccessKey:
        """Set from when on an account's key opens nothing; ``None`` for never.

        Raises:
            ConfigurationError: The account has no key.
        """
        return self.storage.change(
            self._key_of_account(account).id,
            lambda current: replace(current, expires_at=expires_at),
        )

    def close(self) -> None:
        """Close where they are kept."""
        self.storage.close()

    def _current(self) -> Mapping[str, AccessKey]:
        """Every key by its id.

        Raises:
            LedgerError: There are none any more: without keys, whoever reaches the gateway could call.
        """
        by_id = self.storage.current().by_id
        if by_id:
            self._must_exist = True
        elif self._must_exist:
            raise LedgerError("the keys of the gateway are gone; restore what holds them")
        return by_id

    def _key_of_account(self, account: str) -> AccessKey:
        access_key = self._of_account(account)
        if access_key is None:
            names = ", ".join(key.account for key in self.list_keys()) or "none yet"
            raise ConfigurationError(f"account: {account!r} has no key; those with one: {names}")
        return access_key

    def _of_account(self, account: str) -> AccessKey | None:
        for key in self.list_keys():
            if key.account == account:
                return key
        return None


def account_has_key(account: str) -> ConfigurationError:
    """The error of a second key for an account."""
    return ConfigurationError(
        f"account: {account!r} has a key; replace it with 'routoo key rotate {account}', or name another account"
    )


def _new_key(key_id: str) -> str:
    return f"{_PREFIX}{key_id}-{secrets.token_urlsafe(_SECRET_BYTES)}"


def _id_of(key: str) -> str:
    """The part of a key that is no secret."""
    return key.removeprefix(_PREFIX)[: 2 * _ID_BYTES]


def digest_of(key: str) -> bytes:
    """What is stored in the place of a secret."""
    return hashlib.sha256(key.encode()).digest()
