"""``POST /v1/chat/completions``: what a caller asks, the same for an expert, and the reply for the caller."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from routoo_core.answer_cache.query import CacheQuery
from routoo_core.arguments import unpriced_arguments
from routoo_core.calling.attempt import Attempt
from routoo_core.experts import Expert
from routoo_core.request import Overrides, RoutedRequest
from routoo_integrations.call_arguments import (
    read_completions,
    read_reply_limit,
    requires_call,
    without_parameters,
    without_reply_limits,
)
from routoo_integrations.gateway.anthropic_form import (
    CompletionChunks,
    completion_of,
    messages_body,
)
from routoo_integrations.gateway.authors import Author, Authors, Utterance
from routoo_integrations.gateway.calls import ExpertEvent, ExpertReply
from routoo_integrations.gateway.connections import protocol_of
from routoo_integrations.gateway.events import COMMENT, DONE, JsonObject, ServerEvent
from routoo_integrations.gateway.openai_replies import choices_of
from routoo_integrations.gateway.problems import Problem, invalid_request
from routoo_integrations.gateway.steering import model_of
from routoo_integrations.gateway.translation import NotTranslatable

RECORD_FIELD = "routoo"
"""Where the last event of a stream carries the decision record."""

_NOT_ARGUMENTS = frozenset({"messages", "model"})
_OF_OURS = frozenset({"expert", "plan", "question"})
"""Fields of a message that the router reads, and a caller has no business in."""
_OTHER_LIMIT = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
_LIST_FIELDS = ("tools", "functions")


@dataclass(frozen=True)
class ChatCompletion:
    """A call of chat completions.

    Attributes:
        body: The caller's.
        authors: Read and mark the ids of tool calls.
        model: What the body names as its model.
        is_streamed: Whether the reply is to come in chunks.
        wants_usage: Whether a stream is to report its usage.
    """

    body: JsonObject = field(repr=False)
    authors: Authors
    model: str
    is_streamed: bool
    wants_usage: bool

    @classmethod
    def read(cls, body: JsonObject, authors: Authors) -> ChatCompletion:
        """A call with this body.

        Raises:
            CallRefused: A field has not the form that OpenAI's protocol gives it.
        """
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise invalid_request("messages: give a list of at least one message")
        for index, message in enumerate(messages):
            if not isinstance(message, dict):
                raise invalid_request(f"messages[{index}]: {_kind(message)} is no message")
        for name in _LIST_FIELDS:
            if body.get(name) is not None and not isinstance(body[name], list):
                raise invalid_request(f"{name}: {_kind(body[name])} is no list")

        options = body.get("stream_options") or {}
        if not isinstance(options, dict):
            raise invalid_request(f"stream_options: {_kind(options)} is no object")
        is_streamed = body.get("stream") or False
        if not isinstance(is_streamed, bool):
            raise invalid_request("stream: write true or false")
        return cls(
            body=body,
            authors=authors,
            model=model_of(body),
            is_streamed=is_streamed,
            wants_usage=bool(options.get("include_usage")),
        )

    @property
    def pending_response(self) -> None:
        """Nothing stores its reply: this protocol has no name for it."""
        return

    @staticmethod
    def forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
        """None: OpenAI's protocol says everything in its body."""
        return {}

    # To an expert

    def may_be_answered_by(self, expert: Expert) -> bool:
        """Whether an expert can be sent it: one that speaks the same protocol, or another that has a form for it."""
        return protocol_of(expert) == "openai" or self._messages_form is not None

    def routed_request(self, overrides: Overrides) -> RoutedRequest:
        """The call as the router reads it.

        Raises:
            InvalidRequest: It cannot be routed.
        """
        arguments = without_parameters(without_reply_limits(self.body), _NOT_ARGUMENTS)
        return RoutedRequest.from_messages(
            self._marked_messages(),
            max_tokens=read_reply_limit(self.body),
            completions=read_completions(self.body),
            tools=[*(self.body.get("tools") or ()), *(self.body.get("functions") or ())],
            must_call=requires_call(self.body),
            response_format=self.body.get("response_format"),
            unpriced=unpriced_arguments(arguments),
            caches_prompt=bool(self.body.get("cache_control")),
            overrides=overrides,
        )

    def cache_query(self) -> CacheQuery:
        """What the call asks, for the cache of answers."""
        return CacheQuery(self.body["messages"], without_parameters(self.body, _NOT_ARGUMENTS))

    def body_for(self, attempt: Attempt) -> JsonObject:
        """The caller's own body for an attempt's expert.

        Nothing is changed but the model, the limit on the reply, how a stream reports its usage, and ids of tool calls,
        which are the expert's own again.
        """
        expert = attempt.expert
        if protocol_of(expert) == "anthropic":
            return self._messages_body_for(attempt)
        body = without_reply_limits(self.body)
        body["model"] = expert.model
        body["messages"] = [self._with_own_ids(message) for message in body["messages"]]
        body["messages"] += follow_up_messages(attempt)
        if expert.sent_effort is not None:
            body["reasoning_effort"] = expert.sent_effort
        if self.is_streamed:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        body = without_parameters(body, attempt.withheld | attempt.foreign_arguments)

        limit: str = expert.limits_replies_by
        if limit in attempt.withheld:
            limit = _OTHER_LIMIT[limit]
        body[limit] = attempt.max_tokens
        return body

    @cached_property
    def _messages_form(self) -> JsonObject | None:
        """The call in Anthropic's form; ``None`` where it has a part that has none."""
        messages = [self._with_own_ids(message) for message in self.body["messages"]]
        try:
            return messages_body({**self.body, "messages": messages})
        except (NotTranslatable, TypeError, AttributeError, KeyError):
            return None

    def _messages_body_for(self, attempt: Attempt) -> JsonObject:
        """The call in Anthropic's form for an attempt's expert."""
        expert = attempt.expert
        left_out = attempt.withheld | attempt.foreign_arguments
        body = without_parameters(self._messages_form or {}, left_out)
        body["model"] = expert.model
        body["messages"] = [*body["messages"], *follow_up_messages(attempt)]
        body["max_tokens"] = attempt.max_tokens
        if self.is_streamed:
            body["stream"] = True
        if expert.sent_effort not in {None, "none"}:
            config = body.get("output_config") or {}
            body["output_config"] = {**config, "effort": expert.sent_effort}
        return body

    def note_reply(self, author: Author, text: str) -> None:
        """Remember who answered, so that the conversation's next turn is recognised."""
        self.authors.note_reply(Utterance(self._turns()[-1], text), author)

    def _marked_messages(self) -> list[dict[str, Any]]:
        """The messages, those of assistants with the expert that wrote them, where that is known."""
        messages = []
        unmarked_messages: list[dict[str, Any]] = []
        replies: list[Utterance] = []
        for message, turn in zip(self.body["messages"], self._turns(), strict=False):
            plain = without_parameters(message, _OF_OURS)
            messages.append(plain)
            if message.get("role") != "assistant":
                continue
            expert = self._author_by_ids(message)
            text = _text_of(message)
            if expert is not None:
                plain["expert"] = expert
            elif text:
                unmarked_messages.append(plain)
                replies.append(Utterance(turn, text))
        for plain, author in zip(unmarked_messages, self.authors.of_replies(replies), strict=True):
            if author is not None:
                plain.update(author._asdict())
        return messages

    def _author_by_ids(self, message: Mapping[str, Any]) -> str | None:
        """Who wrote a message, as the ids of its tool calls say."""
        for call in _tool_calls(message):
            expert = self.authors.read(call["id"]).expert
            if expert is not None:
                return expert
        return None

    def _turns(self) -> list[str]:
        """Before each message and behind the last one: everything that was said since the last reply."""
        turns = [""]
        for message in self.body["messages"]:
            if message.get("role") == "assistant":
                turns.append("")
            else:
                turns.append(f"{turns[-1]}\n{_text_of(message)}")
        return turns

    def _with_own_ids(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """A message with the ids that the expert itself gave; the same object where none is marked."""
        call_id = message.get("tool_call_id")
        if isinstance(call_id, str):
            own_id = self.authors.read(call_id).own
            return message if own_id == call_id else {**message, "tool_call_id": own_id}
        if not any(True for _ in _tool_calls(message)):
            return message
        calls = []
        for call in message["tool_calls"]:
            if isinstance(call, dict) and isinstance(call.get("id"), str):
                call = {**call, "id": self.authors.read(call["id"]).own}
            calls.append(call)
        return {**message, "tool_calls": calls}

    # To the caller

    def whole(self, reply: ExpertReply) -> bytes:
        """The body of a whole reply: as it came, but for the ids of tool calls."""
        completion = chat_completion(reply)
        expert = reply.expert.name
        has_calls = mark_calls(completion, "message", self.authors, expert)
        if completion is reply.value and not has_calls:
            return reply.payload
        return json.dumps(completion).encode()

    def writer(self) -> ChatWriter:
        """Writes a streamed reply."""
        return ChatWriter(self.authors, self.wants_usage)


def follow_up_messages(attempt: Attempt) -> list[JsonObject]:
    """The messages added to the call for an expert: about its last reply, or with other experts' answers."""
    messages: list[JsonObject] = []
    if attempt.follow_up is not None:
        messages += attempt.follow_up.messages()
    return messages


def chat_completion(reply: ExpertReply) -> JsonObject:
    """A whole reply as a chat completion: the very object that came, where it is one."""
    if reply.protocol == "openai":
        return reply.value
    return completion_of(reply.value)


class ChatPieces:
    """Makes chunks of chat completions of the events of one stream, whichever protocol they are of."""

    def __init__(self) -> None:
        self._chunks = CompletionChunks()

    def of(self, piece: ExpertEvent) -> Iterator[ExpertEvent]:
        """The pieces that one of the expert's becomes; the last one carries the record, if that did."""
        if piece.protocol == "openai" or piece.event is None:
            yield piece
            return
        pieces = []
        for chunk in self._chunks.of_event(piece.value):
            event = ServerEvent.of(chunk)
            pieces.append(replace(piece, event=event, value=chunk, record=None))
        if piece.record is not None:
            last = pieces.pop() if pieces else replace(piece, event=None, value={})
            pieces.append(replace(last, record=piece.record))
        yield from pieces


@dataclass(frozen=True)
class ChatForm:
    """A call of another protocol of OpenAI's, answered by experts that speak chat.

    Attributes:
        chat: The same as a chat completion.
        authors: Read and mark the ids of tool calls.
    """

    chat: ChatCompletion = field(repr=False)
    authors: Authors

    @property
    def model(self) -> str:
        """What the body names as its model."""
        return self.chat.model

    @property
    def is_streamed(self) -> bool:
        """Whether the reply is to come in events."""
        return self.chat.is_streamed

    def forwarded_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """None; see :meth:`ChatCompletion.forwarded_headers`."""
        return self.chat.forwarded_headers(headers)

    def may_be_answered_by(self, expert: Expert) -> bool:
        """Whether an expert can be sent it; see :meth:`ChatCompletion.may_be_answered_by`."""
        return self.chat.may_be_answered_by(expert)

    def routed_request(self, overrides: Overrides) -> RoutedRequest:
        """The call as the router reads it; see :meth:`ChatCompletion.routed_request`."""
        return self.chat.routed_request(overrides)

    def cache_query(self) -> CacheQuery:
        """The question as the cache of answers reads it; see :meth:`ChatCompletion.asked`."""
        return self.chat.cache_query()

    def body_for(self, attempt: Attempt) -> JsonObject:
        """The call as a chat completion for an attempt's expert."""
        return self.chat.body_for(attempt)

    def note_reply(self, author: Author, text: str) -> None:
        """Remember who answered; see :meth:`ChatCompletion.note_reply`."""
        self.chat.note_reply(author, text)


class ChatWriter:
    """Writes the chunks of a stream as the caller asked for them.

    Usage that was not asked for is left out: some clients do not expect a chunk without a choice. The last chunk of all
    carries the decision record, so the one that may be it is held back.

    Args:
        authors: Mark the ids of tool calls.
        wants_usage: Whether the caller asked for usage.
    """

    sign_of_life = COMMENT

    def __init__(self, authors: Authors, wants_usage: bool) -> None:
        self._authors = authors
        self._wants_usage = wants_usage
        self._pieces = ChatPieces()
        self._waiting: JsonObject | None = None

    def write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from one of the expert's."""
        for chat_piece in self._pieces.of(piece):
            yield from self._write(chat_piece)

    def _write(self, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The events that follow from a chunk."""
        event, chunk = self._own_form(piece)
        if piece.record is not None:
            yield from self._write_last(chunk, piece)
            return
        if chunk is None:
            return
        yield from self._take_waiting()
        if _may_be_last(chunk):
            self._waiting = chunk
        else:
            yield event

    def end(self) -> Iterator[ServerEvent]:
        """What ends a stream that is complete."""
        yield ServerEvent(DONE)

    def fail(self, problem: Problem) -> Iterator[ServerEvent]:
        """What ends a stream that broke off: the error, and no word of an end."""
        yield from self._take_waiting()
        yield ServerEvent.of(problem.openai_body())

    def refusal(self, problem: Problem) -> JsonObject:
        """The body of a reply in the stream's place."""
        return problem.openai_body()

    def _write_last(self, chunk: JsonObject | None, piece: ExpertEvent) -> Iterator[ServerEvent]:
        """The last chunk, with the record; of a chunk that the caller is not shown, the one before has it."""
        assert piece.record is not None  # noqa: S101
        if chunk is None:
            chunk = self._waiting or {"object": "chat.completion.chunk", "choices": []}
            self._waiting = None
        yield from self._take_waiting()
        yield ServerEvent.of({**chunk, RECORD_FIELD: piece.record.to_dict()})

    def _take_waiting(self) -> Iterator[ServerEvent]:
        if self._waiting is not None:
            yield ServerEvent.of(self._waiting)
            self._waiting = None

    def _own_form(self, piece: ExpertEvent) -> tuple[ServerEvent, JsonObject | None]:
        """An event as the caller is sent it, and its chunk; ``None`` where it is sent none."""
        chunk = piece.value
        if piece.event is None:
            return ServerEvent(""), None
        is_changed = mark_calls(chunk, "delta", self._authors, piece.expert.name)
        if not self._wants_usage and "usage" in chunk:
            if not chunk.get("choices"):
                return piece.event, None
            chunk = without_parameters(chunk, frozenset({"usage"}))
            is_changed = True
        return (ServerEvent.of(chunk) if is_changed else piece.event), chunk


def _may_be_last(chunk: JsonObject) -> bool:
    """Whether a chunk ends a choice, or reports the usage of all."""
    choices = list(choices_of(chunk))
    return not choices or any(choice.get("finish_reason") for choice in choices)


def mark_calls(value: JsonObject, holder: str, authors: Authors, expert: str) -> bool:
    """Mark the ids of all tool calls in a reply or a chunk; whether there were any."""
    has_marked = False
    for choice in choices_of(value):
        message = choice.get(holder)
        for call in _tool_calls(message) if isinstance(message, dict) else ():
            call["id"] = authors.mark(call["id"], expert)
            has_marked = True
    return has_marked


def _tool_calls(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The tool calls of a message that have an id."""
    calls = message.get("tool_calls")
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        return
    for call in calls:
        if isinstance(call, dict) and isinstance(call.get("id"), str) and call["id"]:
            yield call


def _text_of(message: Mapping[str, Any]) -> str:
    """The texts of a message."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else ():
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str):
            texts.append(text)
    return "".join(texts)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
