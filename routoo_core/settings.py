"""Settings people write: frozen, checked, and with errors that name the file, the field and the remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from routoo_core.errors import ConfigurationError, UnknownPrice

_REMEDY = {
    "missing": "missing; add this key",
    "extra_forbidden": "unknown key; remove or correct it",
}


class Settings(BaseModel):
    """Base of everything a user configures, in TOML or in Python; immutable once checked.

    Raises:
        ConfigurationError: A field is missing, unknown or out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _configuration_error(type(self).__name__, error) from error

    @classmethod
    def read(cls, where: str, values: Mapping[str, Any]) -> Self:
        """Check ``values`` from a file; errors start with ``where`` instead of the class's name."""
        try:
            return cls(**values)
        except ConfigurationError as error:
            if isinstance(error.__cause__, ValidationError):
                raise _configuration_error(where, error.__cause__) from error.__cause__
            raise


def _configuration_error(where: str, error: ValidationError) -> ConfigurationError:
    lines, kind = [], ConfigurationError
    for found in error.errors():
        raised = found.get("ctx", {}).get("error")
        kind = UnknownPrice if isinstance(raised, UnknownPrice) else kind
        field = ".".join(str(part) for part in found["loc"])
        message = _REMEDY.get(found["type"]) or (
            str(raised) if raised else found["msg"] + _got(found["input"])
        )
        lines.append(": ".join(filter(None, (where, field, message))))
    return kind("\n".join(lines))


def _got(value: Any) -> str:
    """Show only what cannot hide a secret: a short scalar, never a whole table."""
    return (
        f" (got {value!r})"
        if isinstance(value, str | int | float) and len(str(value)) <= 40
        else ""
    )


def read_toml(path: str | Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        ConfigurationError: Missing, unreadable, or not TOML; the message names the line.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not valid TOML: {error}") from error
