"""Sign-ins to the gateway's page: a cookie stands for a key for a while, and the key itself is in no browser.

They are kept beside the keys, so that every process knows them, as SHA-256 of what the cookie holds.
"""

from __future__ import annotations

import secrets

from routoo_integrations.gateway.keys import AccessKey, KeyStore, SignIn, digest_of

SESSION_S = 12 * 3600
"""How long a sign-in lasts, at most."""
_TOKEN_BYTES = 32


class Sessions:
    """The sign-ins of a gateway; all methods may wait for where they are kept.

    Args:
        keys: Whose holders may sign in.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def begin(self, key: str) -> str | None:
        """Sign in.

        Args:
            key: What was entered.

        Returns:
            What the cookie is to hold; ``None`` where the key opens nothing.

        Raises:
            LedgerError: The sign-ins cannot be written.
        """
        access_key = self._keys.find(key)
        now = self._keys.clock()
        if access_key is None or not access_key.is_usable(now):
            return None
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        sign_in = SignIn(access_key.id, digest_of(key), now + SESSION_S)
        self._keys.storage.add_sign_in(digest_of(token), sign_in, now)
        return token

    def key_of(self, token: str) -> AccessKey | None:
        """The key of a sign-in; ``None`` once the key is revoked, replaced or expired.

        Raises:
            LedgerError: The sign-ins cannot be read.
        """
        now = self._keys.clock()
        sign_in = self._keys.storage.sign_in(digest_of(token))
        if sign_in is None or sign_in.expires_at <= now:
            return None
        key = self._keys.get(sign_in.key_id)
        is_open = key is not None and key.is_usable(now) and key.opens(sign_in.key_digest, now)
        return key if is_open else None

    def end(self, token: str) -> None:
        """Sign out.

        Raises:
            LedgerError: The sign-ins cannot be written.
        """
        self._keys.storage.remove_sign_in(digest_of(token))
