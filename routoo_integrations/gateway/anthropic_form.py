"""OpenAI's chat completions as Anthropic's messages, and replies of those as completions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from routoo_core.text import parse_json
from routoo_core.usage import Usage, read_usage, usage_so_far
from routoo_integrations.gateway.anthropic_replies import blocks_of
from routoo_integrations.gateway.events import JsonObject, json_field
from routoo_integrations.gateway.openai_replies import openai_usage
from routoo_integrations.gateway.translation import STOP_REASONS, NotTranslatable

_SYSTEM_ROLES = ("system", "developer")
_TOOL_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_ONLY_OPENAIS = ("audio", "functions", "logit_bias", "logprobs", "top_logprobs")
"""Arguments without which a call would ask for something else, and which Anthropic's models do not know."""
_HIGHEST_TEMPERATURE = 1.0
_FINISH_REASONS = {
    **{reason: finish for finish, reason in STOP_REASONS.items() if finish != "function_call"},
    "stop_sequence": "stop",
    "model_context_window_exceeded": "length",
}
"""Anthropic's reason for an end → OpenAI's."""


# A call, from OpenAI's form to Anthropic's


def messages_body(chat: Mapping[str, Any]) -> JsonObject:
    """A chat completion as a call of messages; its model and the limit on its reply are left out.

    Raises:
        NotTranslatable: It has a part that Anthropic's models do not know.
    """
    _check_fields(chat)
    turns: list[JsonObject] = []
    instructions = []
    for message in chat["messages"]:
        if message.get("role") in _SYSTEM_ROLES:
            instructions.append(_plain_text(message.get("content")))
        else:
            _add_turn(turns, *_turn_of(message))

    body: JsonObject = {"messages": turns}
    if instructions:
        body["system"] = "\n\n".join(instructions)
    if isinstance(chat.get("user"), str):
        body["metadata"] = {"user_id": chat["user"]}
    body.update(_sampling_of(chat))
    body.update(_tools_of(chat))
    body.update(_form_of_reply(chat.get("response_format")))
    return body


def _check_fields(chat: Mapping[str, Any]) -> None:
    """Refuse arguments without which a call would ask for something else.

    Raises:
        NotTranslatable: Anthropic's models do not know one of them.
    """
    for name in _ONLY_OPENAIS:
        if chat.get(name):
            raise NotTranslatable(f"{name} is not known to Anthropic's models")
    if (chat.get("n") or 1) != 1:
        raise NotTranslatable("Anthropic's models give one reply")


def _sampling_of(chat: Mapping[str, Any]) -> JsonObject:
    """How tokens are drawn, and where the reply stops."""
    arguments: JsonObject = {}
    if chat.get("temperature") is not None:
        arguments["temperature"] = min(_HIGHEST_TEMPERATURE, chat["temperature"])
    if chat.get("top_p") is not None:
        arguments["top_p"] = chat["top_p"]
    stop = chat.get("stop")
    if stop:
        arguments["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    return arguments


def _form_of_reply(form: Any) -> JsonObject:
    """The form that a reply must have.

    Raises:
        NotTranslatable: It is JSON without a schema.
    """
    kind = json_field(form, "type")
    if kind in {None, "text"}:
        return {}
    if kind != "json_schema":
        raise NotTranslatable("Anthropic's models have no JSON without a schema")
    schema = json_field(json_field(form, "json_schema"), "schema")
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def _add_turn(turns: list[JsonObject], role: str, blocks: list[JsonObject]) -> None:
    """Add blocks to a conversation; those of one role that follow one another are one turn."""
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _turn_of(message: Mapping[str, Any]) -> tuple[str, list[JsonObject]]:
    """The role and the blocks of a message."""
    role = message.get("role")
    if role == "tool":
        result = {
            "type": "tool_result",
            "tool_use_id": message.get("tool_call_id"),
            "content": _plain_text(message.get("content")),
        }
        return "user", [result]
    blocks = list(_blocks_of_content(message.get("content")))
    if role == "user":
        return "user", blocks
    if role != "assistant" or message.get("function_call"):
        raise NotTranslatable(f"a message of role {role!r} is not known to Anthropic's models")
    for call in message.get("tool_calls") or ():
        function = json_field(call, "function")
        blocks.append(
            {
                "type": "tool_use",
                "id": json_field(call, "id"),
                "name": json_field(function, "name"),
                "input": _input_of(json_field(function, "arguments")),
            }
        )
    return "assistant", blocks


def _blocks_of_content(content: Any) -> Iterator[JsonObject]:
    if isinstance(content, str):
        if content:
            yield {"type": "text", "text": content}
        return
    for part in content if isinstance(content, list) else ():
        kind = json_field(part, "type")
        if kind in {"text", "refusal"}:
            text = part.get("text") or part.get("refusal")
            if text:
                yield {"type": "text", "text": text}
        elif kind == "image_url":
            yield {"type": "image", "source": _source_of(json_field(part["image_url"], "url"))}
        elif kind == "file" and json_field(part.get("file"), "file_data"):
            yield {"type": "document", "source": _source_of(part["file"]["file_data"])}
        else:
            raise NotTranslatable(f"a part of type {kind!r} is not known to Anthropic's models")


def _source_of(url: Any) -> JsonObject:
    """Where a medium is, by its address or with the data in it."""
    if not isinstance(url, str):
        raise NotTranslatable("a medium without an address")
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url.removeprefix("data:").partition(",")
    return {"type": "base64", "media_type": head.partition(";")[0], "data": data}


def _input_of(arguments: Any) -> JsonObject:
    try:
        value = parse_json(arguments or "{}")
    except (ValueError, TypeError) as error:
        raise NotTranslatable("arguments of a tool call that are no JSON") from error
    if not isinstance(value, dict):
        raise NotTranslatable("arguments of a tool call that are no object")
    return value


def _tools_of(chat: Mapping[str, Any]) -> JsonObject:
    """Tools, and which of them may or must be called."""
    if not chat.get("tools"):
        return {}
    tools = []
    for tool in chat["tools"]:
        function = json_field(tool, "function")
        if json_field(tool, "type") != "function" or not isinstance(function, dict):
            raise NotTranslatable("tools other than functions are not known to Anthropic's models")
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        own = {"name": function.get("name"), "input_schema": schema}
        for name in ("description", "strict"):
            if function.get(name) is not None:
                own[name] = function[name]
        tools.append(own)

    choice: JsonObject = {}
    tool_choice = chat.get("tool_choice")
    if isinstance(tool_choice, str) and tool_choice in _TOOL_CHOICES:
        choice["type"] = _TOOL_CHOICES[tool_choice]
    elif json_field(tool_choice, "type") == "function":
        choice = {"type": "tool", "name": json_field(json_field(tool_choice, "function"), "name")}
    if chat.get("parallel_tool_calls") is False:
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": tools, "tool_choice": choice} if choice else {"tools": tools}


def _plain_text(content: Any) -> str:
    """The texts of a content, one a line."""
    if isinstance(content, str):
        return content
    texts = (
        [json_field(part, "text") for part in content if json_field(part, "text")]
        if content
        else []
    )
    return "\n".join(str(text) for text in texts)


# A reply, from Anthropic's form to OpenAI's


def completion_of(message: Mapping[str, Any]) -> JsonObject:
    """A whole message as a chat completion."""
    texts = []
    calls = []
    for block in blocks_of(message):
        if block.get("type") == "text":
            texts.append(str(block.get("text", "")))
        elif block.get("type") == "tool_use":
            arguments = _json(block.get("input"))
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
    reply: JsonObject = {"role": "assistant", "content": "".join(texts) or None, "refusal": None}
    if calls:
        reply["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": reply,
        "logprobs": None,
        "finish_reason": _FINISH_REASONS.get(str(message.get("stop_reason")), "stop"),
    }
    return {
        **_envelope(message, "chat.completion"),
        "choices": [choice],
        "usage": openai_usage(read_usage(message)),
    }


class CompletionChunks:
    """Makes the chunks of a chat completion of Anthropic's events."""

    def __init__(self) -> None:
        self._head: JsonObject = {}
        self._usage: Usage | None = None
        self._calls: dict[Any, int] = {}

    def of_event(self, event: JsonObject) -> Iterator[JsonObject]:
        """The chunks that follow from an event."""
        self._usage = usage_so_far(self._usage, read_usage(event))
        kind = event.get("type")
        if kind == "message_start":
            self._head = _envelope(event.get("message") or {}, "chat.completion.chunk")
            yield self._chunk({"role": "assistant", "content": ""})
        elif kind == "content_block_start":
            yield from self._open_block(event)
        elif kind == "content_block_delta":
            yield from self._delta(event)
        elif kind == "message_delta":
            reason = json_field(event.get("delta"), "stop_reason")
            if reason:
                yield self._chunk({}, _FINISH_REASONS.get(str(reason), "stop"))
        elif kind == "message_stop":
            yield {**self._head, "choices": [], "usage": openai_usage(self._usage)}

    def _open_block(self, event: JsonObject) -> Iterator[JsonObject]:
        block = event.get("content_block")
        if json_field(block, "type") != "tool_use":
            return
        number = self._calls.setdefault(event.get("index"), len(self._calls))
        function = {"name": json_field(block, "name"), "arguments": ""}
        call = {"index": number, "id": json_field(block, "id"), "type": "function"}
        yield self._chunk({"tool_calls": [{**call, "function": function}]})

    def _delta(self, event: JsonObject) -> Iterator[JsonObject]:
        delta = event.get("delta")
        kind = json_field(delta, "type")
        if kind == "text_delta":
            yield self._chunk({"content": json_field(delta, "text")})
        elif kind == "input_json_delta" and event.get("index") in self._calls:
            function = {"arguments": json_field(delta, "partial_json")}
            number = self._calls[event.get("index")]
            yield self._chunk({"tool_calls": [{"index": number, "function": function}]})

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head, "choices": [choice]}


def _envelope(message: Mapping[str, Any], kind: str) -> JsonObject:
    return {
        "id": f"chatcmpl-{message.get('id', '')}",
        "object": kind,
        "created": int(time.time()),
        "model": message.get("model"),
    }


def _json(value: Any) -> str:
    return json.dumps(value if value is not None else {})
