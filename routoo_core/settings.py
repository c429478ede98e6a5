"""Settings people write: frozen, checked, and with errors that name the file, the field and the remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
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
_LONGEST_NUMBER = 40
"""Characters of a number that is written as a text."""
_NUMBER_TYPES = {int, float, Decimal}


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
        except RecursionError as error:
            name = type(self).__name__
            raise ConfigurationError(f"{name}: is nested too deeply; write it flatter") from error

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_odd_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what Python would take for a number and nobody would write as one."""
        if isinstance(value, bool | str) and info.field_name in _number_fields(cls):
            if isinstance(value, bool):
                raise ValueError(f"{str(value).lower()} is no number; write one")
            if len(value) > _LONGEST_NUMBER or not value.isascii():
                raise ValueError("is no number; write it in at most 40 plain digits")
        return value

    @classmethod
    def read(cls, origin: str, values: Mapping[str, Any]) -> Self:
        """Check values from a file; errors start with ``origin``, such as the file's name, instead of the class's."""
        try:
            return cls(**values)
        except ConfigurationError as error:
            if isinstance(error.__cause__, ValidationError):
                raise _configuration_error(origin, error.__cause__) from error.__cause__
            raise


@lru_cache(maxsize=64)
def _number_fields(kind: type[Settings]) -> frozenset[str]:
    """The fields that hold a number, and no text or truth value."""
    names = set()
    for name, field in kind.model_fields.items():
        types = set(_plain_types(field.annotation))
        if types & _NUMBER_TYPES and not types & {str, bool}:
            names.add(name)
    return frozenset(names)


def _plain_types(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of at its top: those of a union, without what annotates them."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        yield from _plain_types(arguments[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for argument in arguments:
            yield from _plain_types(argument)
    else:
        yield annotation


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
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); check the path"
        ) from error
    except ValueError as error:  # no UTF-8, or a path that no file can have
        raise ConfigurationError(f"{path}: cannot be read ({error}); save it as UTF-8") from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError(f"{path}: is nested too deeply; write it flatter") from error
    except ValueError as error:  # also a number of more digits than Python reads
        raise ConfigurationError(f"{path}: is not valid TOML: {error}") from error
