"""``GET /openapi.json``: what the gateway serves, as an OpenAPI document.

Bodies of the providers' protocols are described by the fields that the gateway itself reads. Others are handed on, so
they may be there too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routoo_integrations.gateway.decision_headers import DECISION_HEADERS
from routoo_integrations.gateway.events import JsonObject

OPENAPI_VERSION = "3.1.0"

_JSON = "application/json"
_EVENTS = "text/event-stream"
_TEXT = {"type": "string"}
_ERROR_STATUSES = ("400", "401", "402", "403", "404", "408", "413", "429", "503")
_STEERING = {
    "Routoo-Expert": "The expert that is to answer.",
    "Routoo-Policy": "The policy that ranks the experts.",
    "Routoo-Max-Cost": "The most that the call may cost, in USD.",
    "Routoo-Account": "The account that pays.",
    "Routoo-Probes": "A JSON list of Python expressions by whose results plans compare the code of replies.",
    "Routoo-Cache": "no for a reply that is neither taken from the cache of answers nor stored there.",
}
"""Header of a call → what it sets."""


def _object(required: tuple[str, ...] = (), **properties: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": True,
    }


def _nullable(kind: str, **more: Any) -> JsonObject:
    return {"type": [kind, "null"], **more}


_MODEL = {"type": "string", "minLength": 1, "default": "routoo"}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": _object((), role=_TEXT, content={"type": ["string", "array", "null"]}),
}
_TOKENS = _nullable("integer", minimum=1)
_STREAM = _nullable("boolean")
_TOOLS = _nullable("array", items={"type": "object"})

_SCHEMAS: Mapping[str, JsonObject] = {
    "ChatCompletion": _object(
        ("messages",),
        model=_MODEL,
        messages=_MESSAGES,
        max_tokens=_TOKENS,
        max_completion_tokens=_TOKENS,
        n=_nullable("integer", minimum=1),
        stream=_STREAM,
        stream_options=_nullable("object"),
        tools=_TOOLS,
        response_format=_nullable("object"),
    ),
    "TextCompletion": _object(
        ("prompt",), model=_MODEL, prompt=_TEXT, max_tokens=_TOKENS, stream=_STREAM
    ),
    "Response": _object(
        ("input",),
        model=_MODEL,
        input={"type": ["string", "array"]},
        instructions=_nullable("string"),
        max_output_tokens=_TOKENS,
        stream=_STREAM,
        tools=_TOOLS,
        text=_nullable("object"),
        previous_response_id=_nullable("string"),
        store=_nullable("boolean"),
    ),
    "Message": _object(
        ("messages", "max_tokens"),
        model=_MODEL,
        messages=_MESSAGES,
        system={"type": ["string", "array", "null"]},
        max_tokens={"type": "integer", "minimum": 1},
        stream=_STREAM,
        tools=_TOOLS,
    ),
    "TokenCount": _object(("messages",), model=_MODEL, messages=_MESSAGES, tools=_TOOLS),
    "Embedding": _object(("input",), model=_MODEL, input={"type": ["string", "array"]}),
    "Feedback": _object(
        ("call", "score"), call=_TEXT, score={"type": "number", "minimum": 0, "maximum": 1}
    ),
    "OpenAIError": _object(
        ("error",), error=_object(("message", "type"), message=_TEXT, type=_TEXT)
    ),
    "AnthropicError": _object(
        ("type", "error"),
        type={"const": "error"},
        error=_object(("type", "message"), type=_TEXT, message=_TEXT),
    ),
}


@dataclass(frozen=True)
class Operation:
    """What one address does.

    Attributes:
        method: Of HTTP, in lower case.
        path: The address.
        summary: In a sentence.
        body: The schema of its body; ``None`` for none.
        query: Its parameters behind the address → their schemas.
        is_steered: Whether headers may steer it.
        is_streamed: Whether its reply may be a stream.
        error: The schema of its errors.
        media: The type of what it answers.
        is_open: Whether it needs no key.
    """

    method: str
    path: str
    summary: str
    body: str | None = None
    query: tuple[tuple[str, JsonObject], ...] = ()
    is_steered: bool = False
    is_streamed: bool = False
    error: str = "OpenAIError"
    media: str = _JSON
    is_open: bool = False

    def describe(self) -> JsonObject:
        """As the document has it."""
        parameters = []
        for name in _PATH_PARAMETER.findall(self.path):
            parameters.append({"name": name, "in": "path", "required": True, "schema": _TEXT})
        for name, schema in self.query:
            parameters.append({"name": name, "in": "query", "schema": schema})
        for name, about in _STEERING.items() if self.is_steered else ():
            header = {"name": name, "in": "header", "description": about, "schema": _TEXT}
            parameters.append(header)
        description: JsonObject = {"summary": self.summary, "responses": self._responses()}
        if parameters:
            description["parameters"] = parameters
        if self.body is not None:
            schema = _reference(self.body)
            description["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
        if self.is_open:
            description["security"] = []
        return description

    def _responses(self) -> JsonObject:
        content: JsonObject = {self.media: {}}
        if self.is_streamed:
            content[_EVENTS] = {}
        answer: JsonObject = {"description": "The reply.", "content": content}
        if self.is_streamed:
            headers = {name: {"schema": _TEXT} for name in DECISION_HEADERS}
            answer["headers"] = headers
        responses: JsonObject = {"200": answer}
        for status in _ERROR_STATUSES:
            responses[status] = {
                "description": "The call is refused; nothing is charged.",
                "content": {_JSON: {"schema": _reference(self.error)}},
            }
        return responses


def _call(path: str, summary: str, body: str, error: str = "OpenAIError") -> Operation:
    return Operation(
        "post", path, summary, body=body, is_steered=True, is_streamed=True, error=error
    )


_PATH_PARAMETER = re.compile(r"{(\w+)}")

OPERATIONS = (
    _call("/v1/chat/completions", "A chat completion, whole or streamed.", "ChatCompletion"),
    _call("/v1/completions", "A legacy completion, whole or streamed.", "TextCompletion"),
    _call("/v1/responses", "A response, whole or streamed.", "Response"),
    _call("/v1/messages", "A message, whole or streamed.", "Message", error="AnthropicError"),
    Operation(
        "post",
        "/v1/messages/count_tokens",
        "About how many tokens a prompt has.",
        body="TokenCount",
        error="AnthropicError",
    ),
    Operation("get", "/v1/responses/{id}", "A response that was stored."),
    Operation("delete", "/v1/responses/{id}", "Forget a response that was stored."),
    Operation("get", "/v1/responses/{id}/input_items", "What a stored response answered."),
    Operation("post", "/v1/embeddings", "Vectors of a configured endpoint.", body="Embedding"),
    Operation("get", "/v1/models", "What a call may name as its model."),
    Operation(
        "get",
        "/v1/decisions",
        "Who would answer a prompt, and why.",
        query=(("text", _TEXT), ("model", _TEXT), ("max_tokens", {"type": "integer"})),
        is_steered=True,
    ),
    Operation(
        "post",
        "/v1/decisions",
        "Who would answer a chat, and why.",
        body="ChatCompletion",
        is_steered=True,
    ),
    Operation("post", "/v1/feedback", "How good a reply was.", body="Feedback"),
    Operation("get", "/metrics", "Figures for Prometheus.", media="text/plain"),
    Operation("get", "/openapi.json", "This document."),
    Operation("get", "/health/live", "Whether it lives.", is_open=True),
    Operation("get", "/health/ready", "Whether the ledger answers.", is_open=True),
)
"""Every address but those of the page."""


def openapi_document() -> JsonObject:
    """The document."""
    paths: dict[str, JsonObject] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = operation.describe()
    key = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Routoo's gateway",
            "version": "1",
            "description": "Any client of OpenAI's or Anthropic's protocol, routed under one budget.",
        },
        "paths": paths,
        "components": {"schemas": dict(_SCHEMAS), "securitySchemes": {"key": key}},
        "security": [{"key": []}, {}],
    }


def _reference(schema: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{schema}"}
