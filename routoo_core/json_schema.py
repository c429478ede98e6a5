"""Values checked against JSON schemas that callers wrote: nothing is fetched, and nothing takes long.

A schema comes from whoever calls, and so do its patterns and references. A pattern is searched for during a tenth of a
second at most, all of a check takes a second, and no reference leads out of the schema. Of an object whose names have
patterns, only the named properties are checked.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from itertools import islice
from typing import Any

import regex

from routoo_core.errors import ConfigurationError

_LOGGER = logging.getLogger(__name__)

PATTERN_S = 0.1
"""Seconds for which one text is searched for a pattern."""
CHECK_S = 1.0
"""Seconds after which a check ends without a verdict."""

_SHOWN_VIOLATIONS = 3
_SHOWN_CHARS = 300
_DEADLINE: ContextVar[float] = ContextVar("routoo_schema_deadline")


class JsonSchema:
    """A JSON schema of any draft.

    ::

        JsonSchema({"type": "integer"}).violations("four")  # ["$: 'four' is not of type 'integer'"]

    Args:
        schema: The schema; its draft is the one that it names, else 2020-12.

    Raises:
        ConfigurationError: It is no JSON schema.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            text = json.dumps(schema, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"schema: it is no JSON ({error})") from error
        self._validator = _validator(text)

    def violations(self, value: Any) -> list[str]:
        """What is wrong with a value, at most three sentences, each with the place; they may quote the value.

        A value that cannot be checked, or not in time, has none: neither may cost the caller a reply that was paid for.
        """
        token = _DEADLINE.set(time.monotonic() + CHECK_S)
        try:
            errors = list(islice(self._validator.iter_errors(value), _SHOWN_VIOLATIONS))
        except Exception as error:  # noqa: BLE001 (schema and value are strangers': anything may come of them)
            _LOGGER.info("a reply could not be checked: %s", type(error).__name__)
            return []
        finally:
            _DEADLINE.reset(token)
        return [f"{error.json_path}: {error.message}"[:_SHOWN_CHARS] for error in errors]


class _OutOfTime(Exception):
    """The check has taken too long."""


@lru_cache(maxsize=256)
def _validator(text: str) -> Any:
    """A validator of a schema's text.

    Raises:
        ConfigurationError: It is no JSON schema.
    """
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    schema = json.loads(text)
    if not isinstance(schema, dict):
        raise ConfigurationError("schema: write a JSON schema as an object")
    draft = validator_for(schema, default=Draft202012Validator)
    try:
        draft.check_schema(schema)
    except Exception as error:  # a schema's numbers and patterns can break more than a rule of it
        place = getattr(error, "json_path", "$")
        raise ConfigurationError(f"schema: it is no JSON schema, see {place}") from error
    registry: Registry[Any] = Registry()  # which retrieves nothing
    return _validator_in_time(draft)(schema, registry=registry)


@lru_cache(maxsize=16)
def _validator_in_time(draft: Any) -> Any:
    """A draft's validator that keeps to the times of this module."""
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend

    def check_pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
        _check_time()
        if isinstance(value, str) and not _may_match(pattern, value):
            yield ValidationError(f"{value!r} does not match {pattern!r}")

    def check_others(
        validator: Any, rule: Any, value: Any, schema: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        if "patternProperties" not in schema:
            yield from draft.VALIDATORS["additionalProperties"](validator, rule, value, schema)

    def skip(*_: Any) -> Iterator[ValidationError]:
        return iter(())

    def in_time(check: Any) -> Any:
        def check_in_time(*arguments: Any) -> Iterator[ValidationError]:
            _check_time()
            yield from check(*arguments) or ()

        return check_in_time

    keywords = {name: in_time(check) for name, check in draft.VALIDATORS.items()}
    own: dict[str, Any] = {
        "pattern": check_pattern,
        "additionalProperties": check_others,
        "patternProperties": skip,
        "unevaluatedProperties": skip,
    }
    return extend(draft, {**keywords, **own})


def _check_time() -> None:
    """Raise :class:`_OutOfTime` once the check has taken too long."""
    if time.monotonic() > _DEADLINE.get():
        raise _OutOfTime


def _may_match(pattern: str, text: str) -> bool:
    """Whether a pattern stands in a text, or is none that can be searched for in time."""
    try:
        return regex.search(pattern, text, timeout=PATTERN_S) is not None
    except (regex.error, TimeoutError):
        return True
