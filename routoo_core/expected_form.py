"""The form that a call asks its reply to have: JSON, a schema, calls of known tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_JSON_KINDS = ("json_object", "json_schema")
_SCHEMA_FIELDS = ("parameters", "input_schema")
"""Where tools have their schema: OpenAI's, Anthropic's."""


@dataclass(frozen=True, slots=True)
class ExpectedForm:
    """The form of a reply.

    Attributes:
        is_json: Whether its text is to be JSON.
        schema: The JSON schema of that; ``None`` for any object.
        tools: Tool → JSON schema of its arguments; ``None`` where the tool has none.
        has_unknown_tools: Whether there are tools of another form, such as those that a provider runs.
        must_call: Whether it has to call a tool.
    """

    is_json: bool = False
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    tools: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict, repr=False)
    has_unknown_tools: bool = False
    must_call: bool = False

    @property
    def is_any(self) -> bool:
        """Whether every reply has it."""
        return not self.is_json and not self.tools


ANY_FORM = ExpectedForm()
"""Of a call that asks for no form."""


def expected_form(
    tools: Sequence[Any], response_format: Mapping[str, Any] | None, must_call: bool
) -> ExpectedForm:
    """The form that the arguments of a call ask for.

    Args:
        tools: Definitions in OpenAI's form; others are let through.
        response_format: OpenAI's.
        must_call: Whether the call insists on a tool.
    """
    kind = response_format.get("type") if response_format else None
    if not tools and kind not in _JSON_KINDS:
        return ANY_FORM

    schemas: dict[str, Mapping[str, Any] | None] = {}
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not _is_function(tool):
            continue
        name = function.get("name")
        if isinstance(name, str):
            schemas[name] = _schema_of(function)
    return ExpectedForm(
        is_json=kind in _JSON_KINDS,
        schema=_response_schema(response_format),
        tools=schemas,
        has_unknown_tools=len(schemas) < len(tools),
        must_call=must_call and bool(schemas),
    )


def _is_function(tool: Mapping[str, Any]) -> bool:
    """Whether a tool is the caller's own, rather than one that the provider runs."""
    kind: Any = tool.get("type", "function")
    return bool(kind == "function")


def _schema_of(function: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for name in _SCHEMA_FIELDS:
        schema = function.get(name)
        if isinstance(schema, Mapping):
            return schema
    return None


def _response_schema(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    holder = response_format.get("json_schema") if response_format else None
    schema = holder.get("schema") if isinstance(holder, Mapping) else None
    return schema if isinstance(schema, Mapping) else None
