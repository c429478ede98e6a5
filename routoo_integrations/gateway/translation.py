"""Anthropic's messages as OpenAI's chat completions, and replies of those as Anthropic's.

What only Anthropic's own models understand is left out: thinking and its signatures, and marks of the cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routoo_core.text import parse_json
from routoo_core.usage import Usage, read_usage
from routoo_integrations.gateway.events import JsonObject, json_field
from routoo_integrations.gateway.openai_replies import choices_of

_SAME = ("max_tokens", "temperature", "top_p", "stream")
"""Arguments that mean the same under the same name."""
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""OpenAI's reason for an end → Anthropic's."""


class NotTranslatable(ValueError):
    """A part of a call has no form in the other protocol."""


# A call, from Anthropic's form to OpenAI's


def chat_body(body: Mapping[str, Any]) -> JsonObject:
    """A call of messages as one of chat completions; its model is left out.

    Raises:
        NotTranslatable: It has a part that only Anthropic's models know.
    """
    messages: list[JsonObject] = []
    system = _plain_text(body.get("system"))
    if system:
        messages.append({"role": "system", "content": system})
    for message in body["messages"]:
        messages += _chat_messages(message)

    chat: JsonObject = {"messages": messages}
    for name in _SAME:
        if body.get(name) is not None:
            chat[name] = body[name]
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    if body.get("tools"):
        chat["tools"] = [_chat_tool(tool) for tool in body["tools"]]
    chat.update(_chat_tool_choice(body.get("tool_choice")))
    user = json_field(body.get("metadata"), "user_id")
    if isinstance(user, str):
        chat["user"] = user
    form: Any = json_field(body.get("output_config"), "format") or body.get("output_format")
    if json_field(form, "type") == "json_schema":
        schema = {"name": "reply", "schema": form["schema"], "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat


def _chat_messages(message: Mapping[str, Any]) -> Iterator[JsonObject]:
    """The messages that one of Anthropic's becomes: results of tools are messages of their own."""
    role = message.get("role")
    content = message.get("content")
    if not isinstance(content, list):
        yield {"role": role, "content": content}
        return
    if role == "assistant":
        yield _chat_reply(content)
        return
    parts: list[JsonObject] = []
    for block in content:
        if json_field(block, "type") != "tool_result":
            parts += _chat_parts(block)
            continue
        result = block.get("content")
        yield {
            "role": "tool",
            "tool_call_id": block.get("tool_use_id"),
            "content": _plain_text(result),
        }
        parts += _media_of(result)
    if parts:
        yield {"role": role, "content": parts}


def _chat_reply(content: Sequence[Any]) -> JsonObject:
    """An assistant's message."""
    texts = []
    calls = []
    for block in content:
        kind = json_field(block, "type")
        if kind == "text":
            texts.append(str(block.get("text", "")))
        elif kind == "tool_use":
            arguments = json.dumps(block.get("input") or {})
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
    reply: JsonObject = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        reply["tool_calls"] = calls
    return reply


def _chat_parts(block: Any) -> Iterator[JsonObject]:
    """The parts of a user's message that a block becomes."""
    kind = json_field(block, "type")
    if isinstance(block, str):
        yield {"type": "text", "text": block}
    elif kind == "text":
        yield {"type": "text", "text": str(block.get("text", ""))}
    elif kind == "image":
        yield {"type": "image_url", "image_url": {"url": _url_of(block)}}
    elif kind == "document":
        yield _chat_document(block)
    else:
        raise NotTranslatable(f"a block of type {kind!r} is known to Anthropic's models alone")


def _chat_document(block: Mapping[str, Any]) -> JsonObject:
    source = block.get("source")
    if json_field(source, "type") in {"text", "content"}:
        text = json_field(source, "data") or _plain_text(json_field(source, "content"))
        return {"type": "text", "text": str(text)}
    name = block.get("title") or "document.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": _url_of(block)}}


def _url_of(block: Mapping[str, Any]) -> str:
    """The address of a medium; one with the data in it where there is no other."""
    source = block.get("source")
    kind = json_field(source, "type")
    if kind == "url":
        return str(json_field(source, "url"))
    if kind == "base64":
        return f"data:{json_field(source, 'media_type')};base64,{json_field(source, 'data')}"
    raise NotTranslatable(f"a source of type {kind!r} is known to Anthropic's servers alone")


def _media_of(result: Any) -> Iterator[JsonObject]:
    """Images in the result of a tool, which OpenAI's protocol takes from users alone."""
    for block in result if isinstance(result, list) else ():
        if json_field(block, "type") in {"image", "document"}:
            yield from _chat_parts(block)


def _plain_text(content: Any) -> str:
    """The texts of a content, one a line."""
    if isinstance(content, str):
        return content
    texts = []
    for block in content if isinstance(content, list) else ():
        text = json_field(block, "text")
        if isinstance(text, str):
            texts.append(text)
    return "\n".join(texts)


def _chat_tool(tool: Any) -> JsonObject:
    if not isinstance(json_field(tool, "input_schema"), dict):
        kind = json_field(tool, "type")
        raise NotTranslatable(f"a tool of type {kind!r} is known to Anthropic's models alone")
    function = {"name": tool.get("name"), "parameters": tool["input_schema"]}
    for name in ("description", "strict"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    return {"type": "function", "function": function}


def _chat_tool_choice(choice: Any) -> JsonObject:
    """The arguments that Anthropic's choice of tools becomes."""
    kind = json_field(choice, "type")
    arguments: JsonObject = {}
    if kind == "tool":
        function = {"name": choice.get("name")}
        arguments["tool_choice"] = {"type": "function", "function": function}
    elif kind in _TOOL_CHOICES:
        arguments["tool_choice"] = _TOOL_CHOICES[kind]
    if json_field(choice, "disable_parallel_tool_use"):
        arguments["parallel_tool_calls"] = False
    return arguments


# A reply, from OpenAI's form to Anthropic's


def message_of(completion: Mapping[str, Any]) -> JsonObject:
    """A whole reply as Anthropic's; of several, the first."""
    choice = next(choices_of(completion))
    reply = choice.get("message")
    blocks: list[JsonObject] = []
    text = json_field(reply, "content") or json_field(reply, "refusal")
    if isinstance(text, str):
        blocks.append({"type": "text", "text": text})
    for call in json_field(reply, "tool_calls") or ():
        function = json_field(call, "function") or {}
        blocks.append(
            {
                "type": "tool_use",
                "id": json_field(call, "id"),
                "name": function.get("name"),
                "input": _tool_input(function.get("arguments")),
            }
        )
    return {
        **message_head(completion),
        "content": blocks,
        "stop_reason": STOP_REASONS.get(str(choice.get("finish_reason")), "end_turn"),
        "usage": anthropic_usage(read_usage(completion)),
    }


def _tool_input(arguments: Any) -> JsonObject:
    """The arguments of a tool call; those that are no JSON object as a text."""
    try:
        value = parse_json(arguments or "{}")
    except (ValueError, TypeError):
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def message_head(reply: Mapping[str, Any]) -> JsonObject:
    """What Anthropic says of a message before its content."""
    return {
        "id": f"msg_{reply.get('id', '')}",
        "type": "message",
        "role": "assistant",
        "model": reply.get("model"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": anthropic_usage(None),
    }


def anthropic_usage(usage: Usage | None) -> JsonObject:
    """Usage as Anthropic reports it: what was cached comes on top of the input."""
    if usage is None:
        usage = Usage(0, 0)
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "output_tokens": usage.completion_tokens,
    }


class MessageEvents:
    """Makes Anthropic's events of the chunks of a chat completion."""

    def __init__(self) -> None:
        self._has_begun = False
        self._open_block: int | str | None = None
        self._blocks: dict[int | str, int] = {}
        self._stop_reason = "end_turn"
        self._usage: Usage | None = None

    def of_chunk(self, chunk: JsonObject) -> Iterator[JsonObject]:
        """The events that follow from a chunk."""
        if not self._has_begun:
            self._has_begun = True
            yield {"type": "message_start", "message": message_head(chunk)}
        self._usage = read_usage(chunk) or self._usage
        for choice in choices_of(chunk):
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta")
            text = json_field(delta, "content") or json_field(delta, "refusal")
            if isinstance(text, str) and text:
                yield from self._write("text", {"type": "text", "text": ""})
                yield self._delta("text", {"type": "text_delta", "text": text})
            for call in json_field(delta, "tool_calls") or ():
                yield from self._write_call(call)
            reason = choice.get("finish_reason")
            if reason:
                self._stop_reason = STOP_REASONS.get(str(reason), "end_turn")

    def ending(self) -> Iterator[JsonObject]:
        """The events that end the message."""
        yield from self._close()
        delta = {"stop_reason": self._stop_reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": anthropic_usage(self._usage)}
        yield {"type": "message_stop"}

    def _write_call(self, call: Any) -> Iterator[JsonObject]:
        """The events of a part of a tool call."""
        index = json_field(call, "index") or 0
        function = json_field(call, "function")
        block = {
            "type": "tool_use",
            "id": json_field(call, "id"),
            "name": json_field(function, "name"),
            "input": {},
        }
        yield from self._write(index, block)
        arguments = json_field(function, "arguments")
        if arguments:
            yield self._delta(index, {"type": "input_json_delta", "partial_json": arguments})

    def _write(self, key: int | str, block: JsonObject) -> Iterator[JsonObject]:
        """Open a block, and close the one before, unless it is open."""
        if key in self._blocks and (key != "text" or key == self._open_block):
            return
        yield from self._close()
        self._blocks[key] = self._next_number()
        self._open_block = key
        yield {
            "type": "content_block_start",
            "index": self._blocks[key],
            "content_block": block,
        }

    def _next_number(self) -> int:
        return max(self._blocks.values(), default=-1) + 1

    def _delta(self, key: int | str, delta: JsonObject) -> JsonObject:
        return {"type": "content_block_delta", "index": self._blocks[key], "delta": delta}

    def _close(self) -> Iterator[JsonObject]:
        if self._open_block is not None:
            yield {"type": "content_block_stop", "index": self._blocks[self._open_block]}
            self._open_block = None
