"""OpenAI's responses as chat completions, and replies of those as responses."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routoo_core.usage import Usage, read_usage
from routoo_integrations.gateway.events import JsonObject, json_field
from routoo_integrations.gateway.openai_replies import choices_of
from routoo_integrations.gateway.problems import invalid_request

_OF_RESPONSES = frozenset(
    {
        "background",
        "client_metadata",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "previous_response_id",
        "prompt",
        "reasoning",
        "store",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)
"""Fields that chat completions lack, or have in another form; all others mean the same there."""
_NOT_KEPT = ("background", "conversation", "prompt")
_SHOWN_FIELDS = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
)
"""What a response repeats of its call."""
_DEFAULTS: JsonObject = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}


# A call


def input_items(body: Mapping[str, Any]) -> list[JsonObject]:
    """What a call that has been read adds to its conversation, as a list."""
    content = body["input"]
    if isinstance(content, str):
        return [{"type": "message", "role": "user", "content": content}]
    items: list[JsonObject] = content
    return items


def listed_items(items: Sequence[JsonObject], response_id: str) -> list[JsonObject]:
    """Items of a call's input as they are listed: each with a type, an id and a list of parts."""
    entries = []
    for index, item in enumerate(items):
        kind = item.get("type", "message")
        entry = {"type": kind, "id": f"item_{index}_{response_id}", "status": "completed", **item}
        if kind == "message" and isinstance(item.get("content"), str):
            part = "output_text" if item.get("role") == "assistant" else "input_text"
            entry["content"] = [text_part(part, item["content"])]
        entries.append(entry)
    return entries


def chat_body_of(body: Mapping[str, Any], history: Sequence[JsonObject] = ()) -> JsonObject:
    """A call of responses as one of chat completions.

    Args:
        body: The call.
        history: The items of the conversation that it goes on from.

    Raises:
        CallRefused: It asks for what is kept or run by OpenAI's own servers, or has not the protocol's form.
    """
    for name in _NOT_KEPT:
        if body.get(name):
            raise invalid_request(
                f"{name}: nothing is kept here between calls; send the whole conversation as 'input'"
            )
    chat = {name: value for name, value in body.items() if name not in _OF_RESPONSES}
    chat["messages"] = list(_messages_of(body, history))
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if body.get("tools"):
        chat["tools"] = [_tool_of(tool) for tool in _list_of(body["tools"], "tools")]
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    if choice is not None and chat.get("tools"):
        chat["tool_choice"] = choice

    chat.update(_text_arguments(body.get("text")))
    effort = json_field(body.get("reasoning"), "effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    return chat


def _text_arguments(text: Any) -> JsonObject:
    """The arguments that say what the text of a reply is to be like."""
    arguments: JsonObject = {}
    form = json_field(text, "format")
    if json_field(form, "type") == "json_schema":
        schema = {name: value for name, value in form.items() if name != "type"}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif json_field(form, "type") == "json_object":
        arguments["response_format"] = form
    verbosity = json_field(text, "verbosity")
    if verbosity is not None:
        arguments["verbosity"] = verbosity
    return arguments


def _messages_of(body: Mapping[str, Any], history: Sequence[JsonObject]) -> Iterator[JsonObject]:
    instructions = body.get("instructions")
    if instructions:
        yield {"role": "system", "content": instructions}
    content = body.get("input")
    if isinstance(content, str):
        content = [{"role": "user", "content": content}]
    calls: list[JsonObject] = []
    items = [*history, *_list_of(content, "input")]
    for index, item in enumerate(items, start=-len(history)):
        if not isinstance(item, dict):
            raise invalid_request(f"input[{index}]: it is no item")
        kind = item.get("type", "message")
        if kind == "function_call":
            calls.append(_call_of(item))
            continue
        if calls:
            yield {"role": "assistant", "content": None, "tool_calls": calls}
            calls = []
        if kind == "message":
            yield {"role": item.get("role"), "content": _content_of(item.get("content"), index)}
        elif kind == "function_call_output":
            output = _text_of(item.get("output"))
            yield {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
        elif kind != "reasoning":  # which only its own model can read
            raise invalid_request(f"input[{index}]: items of type {kind!r} are not understood here")
    if calls:
        yield {"role": "assistant", "content": None, "tool_calls": calls}


def _content_of(content: Any, index: int) -> Any:
    """The content of a message; texts of it are kept as they are."""
    if isinstance(content, str):
        return content
    parts = []
    for part in _list_of(content, f"input[{index}].content"):
        kind = json_field(part, "type")
        if kind in ("input_text", "output_text"):  # a tuple: it may be a list
            parts.append({"type": "text", "text": part.get("text", "")})
        elif kind == "refusal":
            parts.append({"type": "refusal", "refusal": part.get("refusal", "")})
        elif kind == "input_image":
            image = {"url": part.get("image_url")}
            if part.get("detail"):
                image["detail"] = part["detail"]
            parts.append({"type": "image_url", "image_url": image})
        elif kind == "input_file":
            fields = ("file_data", "file_id", "filename")
            parts.append({"type": "file", "file": {n: part[n] for n in fields if n in part}})
        elif kind == "input_audio":
            parts.append(part)
        else:
            raise invalid_request(f"input[{index}].content: parts of type {kind!r} are unknown")
    return parts


def _text_of(output: Any) -> str:
    if isinstance(output, str):
        return output
    texts = []
    for part in output if isinstance(output, list) else ():
        text = json_field(part, "text")
        if isinstance(text, str):
            texts.append(text)
    return "\n".join(texts)


def _call_of(item: Mapping[str, Any]) -> JsonObject:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _tool_of(tool: Any) -> JsonObject:
    """A tool; those that OpenAI runs are left as they are, so that no expert is sent them unasked."""
    if json_field(tool, "type") != "function":
        return tool if isinstance(tool, dict) else {"type": str(tool)}
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": function}


def _list_of(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise invalid_request(
            f"{name}: give a text or a list" if name == "input" else f"{name}: give a list"
        )
    return value


# A reply


def response_head(body: Mapping[str, Any], response_id: str, model: Any) -> JsonObject:
    """A response before there is anything in it.

    Args:
        body: The call.
        response_id: The response's.
        model: Who answers.
    """
    head: JsonObject = {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        **_DEFAULTS,
    }
    for name in _SHOWN_FIELDS:
        if body.get(name) is not None:
            head[name] = body[name]
    return head


def final_response(
    head: JsonObject, output: list[JsonObject], reason: Any, usage: Usage | None
) -> JsonObject:
    """A response that is whole.

    Args:
        head: As it began.
        output: Everything in it.
        reason: OpenAI's reason for the end of a chat completion.
        usage: As reported.
    """
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
    return {
        **head,
        "status": "incomplete" if incomplete else "completed",
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "output": output,
        "usage": response_usage(usage),
    }


def response_of(
    body: Mapping[str, Any], response_id: str, completion: Mapping[str, Any]
) -> JsonObject:
    """A whole reply as a response; of several choices, the first."""
    head = response_head(body, response_id, completion.get("model"))
    choice = next(choices_of(completion))
    message = choice.get("message")
    output: list[JsonObject] = []
    parts = []
    if isinstance(json_field(message, "content"), str):
        parts.append(text_part("output_text", json_field(message, "content")))
    if isinstance(json_field(message, "refusal"), str):
        parts.append(text_part("refusal", json_field(message, "refusal")))
    if parts:
        output.append(message_item(f"msg_{response_id}", parts, "completed"))
    for number, call in enumerate(json_field(message, "tool_calls") or ()):
        function = json_field(call, "function") or {}
        item_id = f"fc_{number}_{response_id}"
        item = call_item(item_id, json_field(call, "id"), function.get("name"), "completed")
        output.append({**item, "arguments": function.get("arguments") or ""})
    return final_response(head, output, choice.get("finish_reason"), read_usage(completion))


def message_item(item_id: str, parts: list[JsonObject], status: str) -> JsonObject:
    """A message of a response."""
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": parts,
    }


def text_part(kind: str, text: str) -> JsonObject:
    """A part of a message: ``input_text``, ``output_text`` or ``refusal``."""
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    if kind == "input_text":
        return {"type": "input_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(item_id: str, call_id: Any, name: Any, status: str) -> JsonObject:
    """A call of a tool, without its arguments."""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": "",
        "status": status,
    }


def response_usage(usage: Usage | None) -> JsonObject | None:
    """Usage as responses report it."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
