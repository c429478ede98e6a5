"""``POST /v1/messages``: Anthropic's protocol, passed through to its own models and translated for all others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from routoo_core.answer_cache.query import CacheQuery
from routoo_core.arguments import unpriced_arguments
from routoo_core.calling.attempt import Attempt
from routoo_core.experts import Expert
from routoo_core.request import Overrides, RoutedRequest
from routoo_integrations.call_arguments import without_parameters
from routoo_integrations.gateway.anthropic_replies import blocks_of
from routoo_integrations.gateway.authors import Author, Authors
from routoo_integrations.gateway.calls import ExpertEvent, ExpertReply
from routoo_integrations.gateway.chat import RECORD_FIELD, ChatCompletion, follow_up_messages
from routoo_integrations.gateway.connections import protocol_of
from routoo_integrations.gateway.events import JsonObject, ServerEvent
from routoo_integrations.gateway.problems import Problem, invalid_request
from routoo_integrations.gateway.steering import ROUTER_MODEL
from routoo_integrations.gateway.translation import (
    MessageEvents,
    NotTranslatable,
    chat_body,
    message_of,
)

_NOT_ARGUMENTS = frozenset({"messages", "model", "system", "max_tokens", "output_config"})
"""Fields of a body that are counted as prompt or reply, or cost nothing beside those."""
_NOT_COMPARED = (_NOT_ARGUMENTS - {"output_config"}) | {
    "stream",
    "metadata",
    "service_tier",
    "temperature",
}
"""Fields that the same call as a chat completion has as well, or that do not shape a reply."""
_THINKING = frozenset({"thinking", "redacted_thinking"})
_FORWARDED_HEADERS = ("anthropic-beta",)


@dataclass(frozen=True)
class MessagesCall:
    """A call of messages.

    Attributes:
        body: The caller's.
        chat: The same as a chat completion; what has no such form is left out of it.
        authors: Read and mark the ids of tool calls.
        is_translatable: Whether all of it has the form of a chat completion.
    """

    body: JsonObject = field(repr=False)
    chat: ChatCompletion = field(repr=False)
    authors: Authors
    is_translatable: bool

    @classmethod
    def read(cls, body: JsonObject, authors: Authors) -> MessagesCall:
        """A call with this body.

        Raises:
            CallRefused: A field has not the form that Anthropic's protocol gives it.
        """
        _check(body)
        is_translatable = True
        try:
            chat = chat_body(body)
        except NotTranslatable:
            is_translatable = False
            chat = _counted_as_text(body)
        except (KeyError, TypeError, AttributeError) as error:
            raise invalid_request(
                f"messages: they are not in Anthropic's form ({error})"
            ) from error
        chat["model"] = body.get("model", ROUTER_MODEL)
        return cls(body, ChatCompletion.read(chat, authors), authors, is_translatable)

    @property
    def model(self) -> str:
        """What the body names as its model."""
        return self.chat.model

    @property
    def is_streamed(self) -> bool:
        """Whether the reply is to come in events."""
        return self.chat.is_streamed

    @property
    def pending_response(self) -> None:
        """Nothing stores its reply: this protocol has no name for it."""
        return

    @staticmethod
    def forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
        """Headers of a request that say how Anthropic's models are to read its body."""
        return {name: headers[name] for name in _FORWARDED_HEADERS if name in headers}

    # To an expert

    def may_be_answered_by(self, expert: Expert) -> bool:
        """Whether an expert can be sent it: one of Anthropic's if it allows the arguments that may cost more."""
        if protocol_of(expert) == "openai":
            return self.is_translatable
        return expert.is_free or self._unpriced <= expert.pass_through

    def routed_request(self, overrides: Overrides) -> RoutedRequest:
        """The call as the router reads it; see :meth:`ChatCompletion.routed_request`.

        What stands beside the results of tools in one turn is part of them: the tool loop goes on.
        """
        messages: list[JsonObject] = []
        for message in self.chat.body["messages"]:
            follows_results = bool(messages) and messages[-1].get("role") == "tool"
            if follows_results and message.get("role") == "user":
                message = {**message, "role": "tool"}
            messages.append(message)
        routed_chat = replace(self.chat, body={**self.chat.body, "messages": messages})
        return routed_chat.routed_request(overrides)

    def cache_query(self) -> CacheQuery | None:
        """What the call asks, for the cache of answers; ``None`` where chat has no form for it."""
        if not self.is_translatable:
            return None
        content = self.chat.cache_query()
        rest = without_parameters(self.body, _NOT_COMPARED)
        if not rest:
            return content
        return replace(content, arguments={**content.arguments, "anthropic": rest})

    def body_for(self, attempt: Attempt) -> JsonObject:
        """The caller's own body for an expert that speaks Anthropic's protocol, else the translated one."""
        expert = attempt.expert
        if protocol_of(expert) == "openai":
            return self.chat.body_for(attempt)
        body = without_parameters(self.body, attempt.withheld | attempt.foreign_arguments)
        body["model"] = expert.model
        body["max_tokens"] = attempt.max_tokens
        body["messages"] = [self._for_expert(message, expert) for message in self.body["messages"]]
        body["messages"] += follow_up_messages(attempt)
        if expert.sent_effort not in {None, "none"}:
            body["output_config"] = {
                **(body.get("output_config") or {}),
                "effort": expert.sent_effort,
            }
        return body

    @cached_property
    def _unpriced(self) -> frozenset[str]:
        return unpriced_arguments(without_parameters(self.body, _NOT_ARGUMENTS))

    def _for_expert(self, message: JsonObject, expert: Expert) -> JsonObject:
        """A message with the ids of the expert's own, and without the thinking of another."""
        if not isinstance(message.get("content"), list):
            return message
        writers = set()
        for block in blocks_of(message):
            if block.get("type") == "tool_use" and isinstance(block.get("id"), str):
                writers.add(self.authors.read(block["id"]).expert)
        is_foreign = bool(writers - {expert.name, None})
        content = []
        for block in message["content"]:
            kind = block.get("type") if isinstance(block, dict) else None
            if not (is_foreign and kind in _THINKING):
                content.append(self._with_own_id(block))
        return {**message, "content": content}

    def _with_own_id(self, block: Any) -> Any:
        for name in ("id", "tool_use_id"):
            if isinstance(block, dict) and isinstance(block.get(name), str):
                own_id = self.authors.read(block[name]).own
                if own_id != block[name]:
                    return {**block, name: own_id}
        return block

    def note_reply(self, author: Author, text: str) -> None:
        """Remember who answered; see :meth:`ChatCompletion.note_reply`."""
        self.chat.note_reply(author, text)

    # To the caller

    def whole(self, reply: ExpertReply) -> bytes:
        """The body of a whole reply."""
        is_own_form = reply.protocol == "anthropic"
        message = reply.value if is_own_form else message_of(reply.value)
        has_calls = _mark_calls(blocks_of(message), self.authors, reply.expert.name)
        if is_own_form and not has_calls:
            return reply.payload
        return json.dumps(message).encode()

    def writer(self) -> MessagesWriter:
        """Writes a streamed reply."""
        return MessagesWriter(self.authors)


class MessagesWriter:
    """Writes a stream as Anthropic's events; the last one carries the decision record.

    Args:
        authors: Mark the ids of tool calls.
    """

    sign_of_life = ServerEvent.of({"type": "ping"}, "ping").encode()

    def __init__(self, authors: Authors) -> None:
        self._authors = authors
        self._message_events = MessageEvents()

    def write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from one of the expert's."""
        if piece.protocol == "anthropic":
            yield self._own_event(piece)
            return
        events = list(self._message_events.of_chunk(piece.value) if piece.event is not None else ())
        if piece.record is not None:
            events += self._message_events.ending()
            events[-1][RECORD_FIELD] = piece.record.to_dict()
        for event in events:
            self._mark(event, piece.expert.name)
            yield ServerEvent.of(event, event["type"])

    def end(self) -> Iterator[ServerEvent]:
        """Nothing: Anthropic's last event has been sent."""
        yield from ()

    def fail(self, problem: Problem) -> Iterator[ServerEvent]:
        """The error, and no ``message_stop``."""
        yield ServerEvent.of(problem.anthropic_body(), "error")

    def refusal(self, problem: Problem) -> JsonObject:
        """The body of a reply in the stream's place."""
        return problem.anthropic_body()

    def _own_event(self, piece: ExpertEvent) -> ServerEvent:
        """An event of Anthropic's as it came, but for ids of tool calls and the record."""
        value = piece.value
        is_marked = self._mark(value, piece.expert.name)
        if piece.record is not None:
            value = {**(value or {"type": "message_stop"}), RECORD_FIELD: piece.record.to_dict()}
        elif piece.event is not None and not is_marked:
            return piece.event
        name = value.get("type")
        return ServerEvent.of(value, name if isinstance(name, str) else None)

    def _mark(self, event: JsonObject, expert: str) -> bool:
        block = event.get("content_block")
        return isinstance(block, dict) and _mark_calls(iter([block]), self._authors, expert)


def count_tokens(body: JsonObject, authors: Authors) -> int:
    """How many tokens a body's prompt has, about.

    Raises:
        CallRefused: A field has not the form that Anthropic's protocol gives it.
        InvalidRequest: It cannot be routed.
    """
    call = MessagesCall.read({"max_tokens": 1, **body}, authors)
    return call.routed_request(Overrides()).prompt_tokens


def _check(body: JsonObject) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid_request("messages: give a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise invalid_request(f"messages[{index}]: it is no message")
    if body.get("max_tokens") is None:
        raise invalid_request("max_tokens: Anthropic's protocol requires it")
    if body.get("tools") is not None and not isinstance(body["tools"], list):
        raise invalid_request("tools: give a list")


def _counted_as_text(body: JsonObject) -> JsonObject:
    """A chat with as much to count as a body that cannot be translated, which Anthropic's own models are sent."""
    chat: JsonObject = {"messages": [dict(message) for message in body["messages"]]}
    if body.get("system"):
        chat["messages"].insert(0, {"role": "system", "content": body["system"]})
    for name in ("max_tokens", "stream", "tools"):
        if body.get(name) is not None:
            chat[name] = body[name]
    return chat


def _mark_calls(blocks: Iterator[JsonObject], authors: Authors, expert: str) -> bool:
    """Mark the ids of all tool calls; whether there were any."""
    has_marked = False
    for block in blocks:
        if block.get("type") == "tool_use" and isinstance(block.get("id"), str):
            block["id"] = authors.mark(block["id"], expert)
            has_marked = True
    return has_marked
