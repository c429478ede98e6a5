"""Tools and response formats: kept as the caller gave them for the experts, and in OpenAI's form for the router."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_function, convert_to_openai_tool

from routoo_core.errors import InvalidRequest

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool
"""What LangChain's ``bind_tools`` takes for a tool."""


class BoundTool(dict[str, Any]):
    """A tool in OpenAI's form which remembers the caller's own object, for the chosen expert's own ``bind_tools``.

    Callbacks, caches and agents read the form. Another process gets the form alone, since few tools can be pickled.

    Args:
        own: The caller's tool.
        strict: Whether the provider must keep to its schema.

    Attributes:
        own: The caller's tool.
    """

    def __init__(self, own: Tool, strict: bool | None = None) -> None:
        super().__init__(convert_to_openai_tool(own, strict=strict))
        self.own = own

    def __deepcopy__(self, memo: dict[int, Any]) -> BoundTool:
        copy = BoundTool.__new__(BoundTool)
        copy.update(deepcopy(dict(self), memo))
        copy.own = self.own
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def own_tool(tool: Any) -> Any:
    """The caller's own object, where it is remembered."""
    return tool.own if isinstance(tool, BoundTool) else tool


def counted_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call with tools and response format as plain values, for what they count as and may cost.

    Raises:
        InvalidRequest: Something among the tools is none.
    """
    plain_arguments = dict(arguments)
    tools = plain_arguments.get("tools")
    if isinstance(tools, Iterable) and not isinstance(tools, str | Mapping):
        plain_arguments["tools"] = [_counted_tool(tool) for tool in tools]
    plain_arguments["response_format"] = plain_response_format(
        plain_arguments.get("response_format")
    )
    return plain_arguments


def _counted_tool(tool: Any) -> Any:
    """A tool in the form that a provider may be sent, with all settings that providers read."""
    own = own_tool(tool)
    if not isinstance(tool, Mapping) and not isinstance(tool, BaseTool) and not callable(tool):
        raise InvalidRequest(
            f"tools: a {type(tool).__name__} is none; give a tool, a function, a class or a schema"
        )
    extras = own.extras if isinstance(own, BaseTool) else None
    form = tool if isinstance(tool, Mapping) else convert_to_openai_tool(tool)
    if not extras:
        return form
    # A tool of the provider's own may be billed by it.
    definition = extras.get("provider_tool_definition")
    return definition or {**form, "extras": extras}


def plain_response_format(response_format: Any) -> Any:
    """A response format in OpenAI's form; a class is its JSON schema."""
    if isinstance(response_format, type):
        return json_schema_format(response_format)
    return response_format


def json_schema_format(
    schema: dict[str, Any] | type | None, strict: bool | None = None
) -> dict[str, Any]:
    """OpenAI's ``response_format`` for a schema."""
    function = convert_to_openai_function(cast("type", schema), strict=strict)
    parameters = function.pop("parameters")
    return {"type": "json_schema", "json_schema": {"schema": parameters, **function}}
