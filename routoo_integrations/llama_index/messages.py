"""LlamaIndex's messages, tools and replies in Routoo's words, and Routoo's marks on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    ChatResponse,
    CitableBlock,
    CitationBlock,
    CompletionResponse,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput
from pydantic import BaseModel

from routoo_core.calling.attempt import Attempt
from routoo_core.errors import InvalidRequest
from routoo_core.usage import Usage

Reply = ChatResponse | CompletionResponse

MARK = "routoo"  # our key in ``additional_kwargs``
_REMEMBERED = (
    "expert",
    "model",
    "settled_usd",
)  # of the record, what goes into memories, which count its tokens
_ROLES = {"chatbot": "assistant", "model": "assistant"}  # LlamaIndex's other names for OpenAI's
_BYTES_OF = {
    "image": "image",
    "audio": "audio",
    "video": "video",
    "document": "data",
}  # block → its field
_ASKED = ("query_str", "question", "query")  # what LlamaIndex's templates call the question
_BOUND = (ThinkingBlock, CitationBlock, CachePoint)  # blocks that only their own provider reads
_PROMPT = ("prompt_tokens", "input_tokens", "prompt_token_count", "prompt_eval_count")
_REPLY = ("completion_tokens", "output_tokens", "candidates_token_count", "eval_count")
_CACHED = ("cached_tokens", "cached_content_token_count")
_BESIDE = (
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)  # Anthropic's, not part of its input_tokens


# Messages on their way in


def in_openai_form(message: ChatMessage) -> dict[str, Any]:
    """A message as the router reads it, with who wrote it or what its question is where it is marked so."""
    mark = message.additional_kwargs.get(MARK) or {}
    calls = [block.model_dump() for block in message.blocks if isinstance(block, ToolCallBlock)]
    return {
        "role": _ROLES.get(message.role.value, message.role.value),
        "content": [part for block in message.blocks for part in _parts(block)],
        "tool_calls": calls or message.additional_kwargs.get("tool_calls"),
        "expert": mark.get("expert"),
        "question": mark.get("question"),
    }


def _parts(block: Any) -> Iterator[dict[str, Any]]:
    if isinstance(block, TextBlock):
        yield {"type": "text", "text": block.text}
    elif isinstance(block, CitableBlock):
        for inner in block.content:
            yield from _parts(inner)
    elif isinstance(block, ThinkingBlock):
        yield {"type": "thinking", "thinking": block.content}
    elif not isinstance(block, ToolCallBlock | CachePoint):
        data = getattr(block, _BYTES_OF.get(block.block_type, ""), None)
        kind = {"type": block.block_type}
        yield {**kind, "data": data.decode(errors="replace")} if isinstance(data, bytes) else kind


def asking_of_template(
    messages: Sequence[ChatMessage], values: Mapping[str, Any]
) -> list[ChatMessage]:
    """Messages of a template, of which the last marks the question that the template was filled with."""
    asked = next(
        (v for name in _ASKED if isinstance(v := values.get(name), str) and v.strip()), None
    )
    if asked is None or not messages or messages[-1].role.value != "user":
        return list(messages)
    return [*messages[:-1], marked(messages[-1], {"question": asked.strip()})]


def marked(message: ChatMessage, mark: Mapping[str, Any]) -> ChatMessage:
    """A copy of the message with this mark."""
    return message.model_copy(
        update={"additional_kwargs": {**message.additional_kwargs, MARK: dict(mark)}}
    )


def author(message: ChatMessage) -> str | None:
    """The expert whose reply a message is, as its mark says."""
    mark = message.additional_kwargs.get(MARK)
    return mark.get("expert") if isinstance(mark, Mapping) else None


def portable(messages: Sequence[ChatMessage], expert: str) -> list[ChatMessage]:
    """Messages without our marks, and without what only another expert can read: its reasoning, its objects."""
    return [
        _portable(message, expert) if MARK in message.additional_kwargs else message
        for message in messages
    ]


def _portable(message: ChatMessage, expert: str) -> ChatMessage:
    kept = {key: value for key, value in message.additional_kwargs.items() if key != MARK}
    if author(message) in {None, expert}:
        return message.model_copy(update={"additional_kwargs": kept})
    blocks = [block for block in message.blocks if not isinstance(block, _BOUND)]
    if not any(isinstance(block, ToolCallBlock) for block in blocks):
        blocks += [_call_block(call) for call in kept.get("tool_calls") or ()]
    return ChatMessage(role=message.role, blocks=blocks)


# Tools


@dataclass
class _Described(ToolMetadata):
    parameters: dict[str, Any] = field(default_factory=dict)

    def get_parameters_dict(self) -> dict[str, Any]:
        return self.parameters


class DescribedTool(BaseTool):
    """A tool of which there is only a description in OpenAI's form; the caller of the model calls it."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        function = described.get("function")
        if not isinstance(function, Mapping) or not function.get("name"):
            raise InvalidRequest(
                "tools: each is a LlamaIndex tool, or {'type': 'function', 'function': {'name': …}}"
            )
        parameters = dict(function.get("parameters") or {"type": "object", "properties": {}})
        self._metadata = _Described(
            function.get("description") or "", function["name"], parameters=parameters
        )

    @property
    def metadata(self) -> ToolMetadata:
        """Its description."""
        return self._metadata

    def __call__(self, input: Any) -> ToolOutput:  # noqa: A002
        """Not here."""
        raise NotImplementedError(
            f"{self.metadata.name} is only described here; call it where it is implemented"
        )


def as_tools(tools: Sequence[BaseTool | Mapping[str, Any]] | None) -> list[BaseTool]:
    """LlamaIndex tools of tools in either form.

    Raises:
        InvalidRequest: One has neither form.
    """
    return [tool if isinstance(tool, BaseTool) else DescribedTool(tool) for tool in tools or ()]


def described(tool: BaseTool) -> dict[str, Any]:
    """A tool in OpenAI's form, as it counts among the prompt's tokens."""
    known = tool.metadata
    if type(known) is not ToolMetadata or known.fn_schema is None:
        return known.to_openai_tool(skip_length_check=True)
    function = {
        "name": known.name,
        "description": known.description,
        "parameters": _schema(known.fn_schema),
    }
    return {"type": "function", "function": function}


@lru_cache(maxsize=256)  # it takes longer than the rest of a call
def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    return kind.model_json_schema()


def tool_calls(response: ChatResponse) -> list[ToolSelection]:
    """The calls in a reply, wherever integrations put them; arguments that are still being streamed as far as known."""
    blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    blocks = blocks or [
        _call_block(call) for call in response.message.additional_kwargs.get("tool_calls") or ()
    ]
    return [
        ToolSelection(
            tool_id=b.tool_call_id or "",
            tool_name=b.tool_name,
            tool_kwargs=_arguments(b.tool_kwargs),
        )
        for b in blocks
    ]


def _call_block(call: Any) -> ToolCallBlock:
    """A call in OpenAI's form, as an object or, out of a stored conversation, as plain values."""
    plain = call if isinstance(call, Mapping) else call.model_dump()
    function = plain.get("function") or {}
    return ToolCallBlock(
        tool_call_id=plain.get("id"),
        tool_name=function.get("name") or "",
        tool_kwargs=function.get("arguments") or {},
    )


def _arguments(given: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    try:
        parsed = parse_partial_json(given)
    except (ValueError, TypeError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


# Replies on their way out


def heard(response: Reply, attempt: Attempt) -> Usage | None:
    """Note the whole reply; return the usage it reports."""
    text = response.text if isinstance(response, CompletionResponse) else response.message.content
    attempt.received((text or "") + called_with(response))
    return usage(response)


def called_with(response: Reply) -> str:
    """The arguments of tool calls: an expert's words, too."""
    calls = tool_calls(response) if isinstance(response, ChatResponse) else []
    return "".join(json.dumps(call.tool_kwargs, default=str) for call in calls)


def stamp(response: Reply, attempt: Attempt) -> None:
    """Put the decision record beside the reply, and what a conversation must remember of it into the message."""
    record = attempt.record().to_dict()
    response.additional_kwargs = {**response.additional_kwargs, MARK: record}
    if isinstance(response, ChatResponse):
        response.message = marked(response.message, {key: record[key] for key in _REMEMBERED})


def stamp_piece(response: Reply, attempt: Attempt) -> None:
    """Say on a piece of a stream who speaks."""
    response.additional_kwargs = {
        **response.additional_kwargs,
        MARK: {"expert": attempt.expert.name},
    }


def speaker(response: ChatResponse) -> str | None:
    """The expert who gave a reply, or a piece of one."""
    mark = response.additional_kwargs.get(MARK)
    return mark.get("expert") if isinstance(mark, Mapping) else author(response.message)


def usage(response: Reply) -> Usage | None:
    """Tokens from where LlamaIndex's integrations put them: in the raw reply, else beside the reply."""
    raw = response.raw
    for found in (_get(raw, "usage"), _get(raw, "usage_metadata"), response.additional_kwargs, raw):
        prompt, reply = _first(found, _PROMPT), _first(found, _REPLY)
        if prompt is None or reply is None:
            continue
        beside = [_get(found, key) or 0 for key in _BESIDE]
        cached = (
            _first(found, _CACHED)
            or _first(_get(found, "prompt_tokens_details"), _CACHED)
            or beside[0]
        )
        prompt += sum(beside)
        return Usage(prompt, reply, min(cached, prompt))
    return None


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, Mapping) else getattr(holder, key, None)


def _first(holder: Any, keys: Sequence[str]) -> int | None:
    return next((value for key in keys if isinstance(value := _get(holder, key), int)), None)
