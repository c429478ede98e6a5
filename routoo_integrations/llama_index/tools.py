"""Tools on their way to an expert, and the calls of tools in its replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput
from pydantic import BaseModel

from routoo_core.answer import ToolCall
from routoo_core.errors import InvalidRequest
from routoo_core.text import well_formed_value

_NO_PARAMETERS = {"type": "object", "properties": {}}


@dataclass
class _ToolDescription(ToolMetadata):
    """A tool's metadata with a JSON schema where LlamaIndex's has a Pydantic class."""

    parameters: Mapping[str, Any] = field(default_factory=dict)

    def get_parameters_dict(self) -> dict[str, Any]:
        return dict(self.parameters)


class DescribedTool(BaseTool):
    """A tool that is only described, in OpenAI's form. The caller of the LLM runs it.

    Args:
        definition: ``{"type": "function", "function": {"name": …, "description": …, "parameters": …}}``.

    Raises:
        InvalidRequest: The description has another form.
    """

    def __init__(self, definition: Mapping[str, Any]) -> None:
        function = definition.get("function") if isinstance(definition, Mapping) else None
        if not isinstance(function, Mapping) or not function.get("name"):
            raise InvalidRequest(
                "tools: each is a LlamaIndex tool, or {'type': 'function', 'function': {'name': …}}"
            )
        self._metadata = _ToolDescription(
            description=function.get("description") or "",
            name=function["name"],
            parameters=function.get("parameters") or _NO_PARAMETERS,
        )

    @property
    def metadata(self) -> ToolMetadata:
        """Its description."""
        return self._metadata

    def __call__(self, input: Any) -> ToolOutput:  # noqa: A002
        """Refuse to be called: there is no function.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"{self.metadata.name} is only described here; call it where it is implemented"
        )


def as_tools(tools: Sequence[BaseTool | Mapping[str, Any]] | None) -> list[BaseTool]:
    """LlamaIndex tools, also of those that are described in OpenAI's form.

    Raises:
        InvalidRequest: One has neither form.
    """
    llama_index_tools: list[BaseTool] = []
    for tool in tools or ():
        if not isinstance(tool, BaseTool):
            tool = DescribedTool(tool)
        llama_index_tools.append(tool)
    return llama_index_tools


def well_formed_tool(tool: BaseTool) -> BaseTool:
    """A tool whose description has no lone surrogates; the same object where it has none."""
    definition = tool_definition(tool)
    new_definition = well_formed_value(definition)
    return tool if new_definition is definition else DescribedTool(new_definition)


def tool_definition(tool: BaseTool) -> dict[str, Any]:
    """A tool in OpenAI's form, as it counts among the prompt's tokens."""
    metadata = tool.metadata
    if type(metadata) is not ToolMetadata or metadata.fn_schema is None:
        return metadata.to_openai_tool(skip_length_check=True)
    function = {
        "name": metadata.name,
        "description": metadata.description,
        "parameters": _json_schema(metadata.fn_schema),
    }
    return {"type": "function", "function": function}


@lru_cache(maxsize=256)  # it takes longer than the rest of a call
def _json_schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


# Calls of tools


def read_tool_calls(response: ChatResponse) -> list[ToolSelection]:
    """The calls in a response, wherever integrations put them.

    Of arguments that are still being streamed, what is known is returned.
    """
    selections = []
    for block in _tool_call_blocks(response):
        selection = ToolSelection(
            tool_id=block.tool_call_id or "",
            tool_name=block.tool_name,
            tool_kwargs=_parse_arguments(block.tool_kwargs),
        )
        selections.append(selection)
    return selections


def written_tool_calls(response: ChatResponse) -> list[ToolCall]:
    """The calls in a response as their expert wrote them, whole or not, for checks."""
    calls = []
    for block in _tool_call_blocks(response):
        calls.append(ToolCall.read(block.tool_name, block.tool_kwargs))
    return calls


def tool_call_block(call: Any) -> ToolCallBlock:
    """The block of a call in OpenAI's form: an object or, in a stored conversation, plain values."""
    values = call if isinstance(call, Mapping) else call.model_dump()
    function = values.get("function") or {}
    return ToolCallBlock(
        tool_call_id=values.get("id"),
        tool_name=function.get("name") or "",
        tool_kwargs=function.get("arguments") or {},
    )


def _tool_call_blocks(response: ChatResponse) -> list[ToolCallBlock]:
    message = response.message
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return blocks
    calls = message.additional_kwargs.get("tool_calls") or ()
    return [tool_call_block(call) for call in calls]


def _parse_arguments(arguments: Mapping[str, Any] | str) -> dict[str, Any]:
    if not isinstance(arguments, str):
        return dict(arguments)
    try:
        values = parse_partial_json(arguments)
    except (ValueError, TypeError):
        return {}
    return values if isinstance(values, dict) else {}
