"""Secrets stay out of errors, logs and reprs: addresses without passwords, values without keys, names for both."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import quote

from routoo_core.errors import ConfigurationError

HIDDEN = "***"

_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_USER_INFO = re.compile(r"^([a-z][a-z0-9+.-]*://)?(.*)@", re.IGNORECASE | re.DOTALL)
_SECRET_PARAMETER = re.compile(
    r"([?&;](?:[^=&;]*(?:pass|key|token|secret|sig|auth|cred)[^=&;]*)=)([^&;]*)", re.IGNORECASE
)
_KEY_PREFIX = re.compile(
    r"(?:sk|pk|gsk|xai|hf|r8|pplx|nvapi|ghp|github_pat|AIza|AKIA|Bearer|Basic)[-_ A-Z0-9]",
    re.IGNORECASE,
)
_KEY_SHAPE = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_+=-]{20,}")
_VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_LONGEST_VARIABLE_NAME = 40
_SHORTEST_SECRET = 4
"""Characters: a shorter one would blot out words."""


def redacted_url(url: str) -> str:
    """An address as it may be shown: without the user's name and password, and without keys in its query.

    What is written as ``${NAME}`` is no secret and stays.

    >>> redacted_url("redis://:secret@host:6379/0")
    'redis://***@host:6379/0'
    """
    match = _USER_INFO.match(url)
    if match and not _is_placeholder(match[2]):
        url = f"{match[1] or ''}{HIDDEN}@{url[match.end() :]}"
    return _SECRET_PARAMETER.sub(_hidden_parameter, url)


def has_secret(url: str) -> bool:
    """Whether an address holds a user's name, a password or a key."""
    return redacted_url(url) != url


def has_password(url: str) -> bool:
    """Whether an address holds a password or a key; a user's name alone is neither."""
    match = _USER_INFO.match(url)
    is_user_alone = match is not None and ":" not in match[2] and "@" not in match[2]
    if match is not None and is_user_alone and not looks_like_key(match[2]):
        url = f"{match[1] or ''}{url[match.end() :]}"
    return has_secret(url)


def is_variable(url: str) -> bool:
    """Whether an address is one environment variable, ``${NAME}``, and nothing else."""
    return _PLACEHOLDER.fullmatch(url) is not None


def _is_placeholder(user_info: str) -> bool:
    """Whether every part of ``user:password`` is empty, a placeholder, or a user's name beside one."""
    user, colon, password = user_info.rpartition(":")
    if not colon:
        return bool(_PLACEHOLDER.fullmatch(user_info))
    is_user_plain = ":" not in user and "@" not in user and "/" not in user
    return is_user_plain and bool(_PLACEHOLDER.fullmatch(password) or (user and not password))


def _hidden_parameter(match: re.Match[str]) -> str:
    if not match[2] or _PLACEHOLDER.fullmatch(match[2]):
        return match[0]
    return f"{match[1]}{HIDDEN}"


def expand_environment(text: str, place: str) -> str:
    """An address with every ``${NAME}`` replaced by the environment variable of that name.

    A value is quoted for the address, unless the whole address is one variable.

    Args:
        text: The address as it is written.
        place: Where it is written, for errors.

    Raises:
        ConfigurationError: A variable is not set.
    """
    is_whole = is_variable(text)

    def value_of(match: re.Match[str]) -> str:
        value = os.environ.get(match[1], "").strip()
        if not value:
            raise ConfigurationError(f"{place}: {match[1]} is not set; export it")
        return value if is_whole else quote(value, safe="")

    return _PLACEHOLDER.sub(value_of, text)


def looks_like_key(text: str) -> bool:
    """Whether a text may be a key, so that it must not be shown."""
    text = text.strip()
    return bool(_KEY_PREFIX.match(text) and len(text) >= 8) or bool(_KEY_SHAPE.fullmatch(text))


def shown_variable(name: str) -> str:
    """The name of an environment variable; a general word for what may be the key itself, written in its place."""
    if len(name) <= _LONGEST_VARIABLE_NAME and _VARIABLE_NAME.fullmatch(name):
        return name
    return name if name.isalpha() and len(name) <= 12 else "the variable that it names"


def scrubbed(text: str, secrets: Iterable[str | None]) -> str:
    """A text in which these secrets are hidden."""
    for secret in secrets:
        if secret and len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text
