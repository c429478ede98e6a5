"""Settings people write: frozen, checked, and with errors that name the file, the field and the remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from routoo_core.errors import ConfigurationError, UnknownPrice
from routoo_core.redaction import has_secret, looks_like_key

_REMEDY = {
    "missing": "missing; add this key",
    "extra_forbidden": "unknown key; remove or correct it",
}
"""Pydantic's type of an error → what a user should do."""
_KEY_FIELDS = frozenset({"api_key", "apikey", "key", "openai_api_key", "token", "secret"})
_KEY_REMEDY = (
    "keys are not written here; put it into an environment variable and name that by api_key_env"
)
_LONGEST_VALUE = 40
"""Characters of a value that an error may show."""


class Settings(BaseModel):
    """Base of everything a user configures, in TOML or in Python; immutable once checked.

    Raises:
        ConfigurationError: A field is missing, unknown or out of range.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _configuration_error(type(self).__name__, error) from error

    @classmethod
    def read(cls, origin: str, values: Mapping[str, Any]) -> Self:
        """Check values from a file; errors start with ``origin``, such as the file's name, instead of the class's."""
        try:
            return cls(**values)
        except ConfigurationError as error:
            if isinstance(error.__cause__, ValidationError):
                raise _configuration_error(origin, error.__cause__) from error.__cause__
            raise


def _configuration_error(origin: str, error: ValidationError) -> ConfigurationError:
    """Pydantic's error as ours, one line for each field."""
    kind = ConfigurationError
    lines = []
    for details in error.errors():
        if isinstance(_cause(details), UnknownPrice):
            kind = UnknownPrice
        field = ".".join(str(part) for part in details["loc"])
        parts = (origin, field, _message(details))
        lines.append(": ".join(part for part in parts if part))
    return kind("\n".join(lines))


def _message(details: ErrorDetails) -> str:
    """What is wrong with one field, and what to do."""
    remedy = _REMEDY.get(details["type"])
    if details["type"] == "extra_forbidden" and str(details["loc"][-1]).lower() in _KEY_FIELDS:
        return _KEY_REMEDY
    if remedy:
        return remedy
    cause = _cause(details)
    if cause is not None:
        return str(cause)
    return details["msg"] + _shown_value(details["input"])


def _cause(details: ErrorDetails) -> Exception | None:
    """The exception that a validator of ours raised, if one did."""
    cause = details.get("ctx", {}).get("error")
    return cause if isinstance(cause, Exception) else None


def _shown_value(value: Any) -> str:
    """Show only what cannot hide a secret: a short scalar, never a whole table, and nothing like a key."""
    if not isinstance(value, str | int | float) or len(str(value)) > _LONGEST_VALUE:
        return ""
    if isinstance(value, str) and (looks_like_key(value) or has_secret(value)):
        return ""
    return f" (got {value!r})"


def read_toml(path: str | Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigurationError: Missing, unreadable, or not TOML; the message names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not valid TOML: {error}") from error
