"""Load on a gateway: many streams at once, some left by their callers, some of whose experts die; many whole calls.

The tests run it in small, ``benchmarks/gateway_load.py`` with processes of their own.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from provider_servers import ProviderReply

from routoo_core.testing import Reply
from routoo_core.usage import Usage
from routoo_integrations.gateway.events import DONE, EventParser, ServerEvent

Answered = TypeVar("Answered")

LEFT = "left"
"""The caller went away in the middle."""
ENDED = "ended"
"""The last event is the one that ends a reply in the caller's protocol."""
FAILED = "failed"
"""The last event is the error of the caller's protocol, and no other one is an end."""
CUT = "cut"
"""Neither: the stream just stopped."""

LONGEST_REPLY = 20
PROMPT_TOKENS = 10
_WORDS_BEFORE_DEATH = 5
_NUMBER = re.compile(r"Stream (\d+)")


@dataclass(frozen=True)
class CallerProtocol:
    """How a client streams in one protocol.

    Attributes:
        path: Where it posts.
        limit: Its field for the longest reply.
        prompt: Its field for the conversation.
        is_end: Whether an event ends a reply.
        is_error: Whether an event says that the reply broke off.
    """

    path: str
    limit: str
    prompt: str
    is_end: Callable[[ServerEvent], bool]
    is_error: Callable[[ServerEvent], bool]

    def body(self, text: str, streamed: bool) -> dict[str, Any]:
        """A call."""
        messages = [{"role": "user", "content": text}]
        body = {"model": "routoo", self.prompt: messages, self.limit: LONGEST_REPLY}
        return {**body, "stream": streamed}


def _is_chat_error(event: ServerEvent) -> bool:
    return event.data != DONE and "error" in json.loads(event.data)


CALLERS = {
    "chat": CallerProtocol(
        "/v1/chat/completions",
        "max_tokens",
        "messages",
        lambda event: event.data == DONE,
        _is_chat_error,
    ),
    "responses": CallerProtocol(
        "/v1/responses",
        "max_output_tokens",
        "input",
        lambda event: event.name in {"response.completed", "response.incomplete"},
        lambda event: event.name in {"response.failed", "error"},
    ),
    "messages": CallerProtocol(
        "/v1/messages",
        "max_tokens",
        "messages",
        lambda event: event.name == "message_stop",
        lambda event: event.name == "error",
    ),
}
"""Protocol of the caller → how it streams."""


def dies(number: int) -> bool:
    """Whether the expert of a stream dies in the middle of it: a tenth do."""
    return number % 10 == 0


def is_abandoned(number: int) -> bool:
    """Whether the caller leaves a stream: a third do."""
    return number % 3 == 0


def reply_words(number: int) -> int:
    """How many words the reply of a stream has; one that dies is billed as the longest that it can become."""
    return LONGEST_REPLY if dies(number) else 4 + number % 13


def number_in(body: Any) -> int:
    """Which stream a body that an expert received belongs to."""
    match = _NUMBER.search(json.dumps(body))
    assert match is not None, body
    return int(match[1])


def openai_reply(body: Any) -> Reply:
    """What a stand-in for OpenAI does with a stream: it bills what it would have written, also when it dies.

    It cuts the connection, or says that it failed.
    """
    number = number_in(body)
    words = reply_words(number)
    is_cut = number % 20 == 0
    return Reply(
        "word " * words,
        word_delay_s=0.01,
        prompt_tokens=PROMPT_TOKENS,
        bill=Usage(PROMPT_TOKENS, words),
        usage_at="every chunk",
        drop_after=_WORDS_BEFORE_DEATH if dies(number) and is_cut else None,
        error_after=_WORDS_BEFORE_DEATH if dies(number) and not is_cut else None,
    )


def anthropic_reply(body: Any) -> ProviderReply:
    """:func:`openai_reply` of a stand-in for Anthropic."""
    number = number_in(body)
    words = reply_words(number)
    is_cut = number % 20 == 0
    return ProviderReply(
        "word " * words,
        tokens=Usage(PROMPT_TOKENS, words),
        word_delay_s=0.01,
        error={"type": "overloaded_error", "message": "Overloaded"},
        cut_after=_WORDS_BEFORE_DEATH if dies(number) and is_cut else None,
        error_after=_WORDS_BEFORE_DEATH if dies(number) and not is_cut else None,
    )


async def stream_all(
    address: str, protocol: CallerProtocol, count: int, headers: dict[str, str] | None = None
) -> list[str]:
    """How each of so many streams, all at once, came to its end."""

    async def stream_one(session: aiohttp.ClientSession, number: int) -> str:
        body = protocol.body(f"Stream {number}: how are you today?", streamed=True)
        post = session.post(f"{address}{protocol.path}", json=body, headers=headers)
        async with post as response:
            assert response.status == 200, await response.text()
            if is_abandoned(number):
                await response.content.readany()
                response.close()
                return LEFT
            return ending_of(protocol, await _read_events(response))

    return await _all_at_once(stream_one, count)


async def _all_at_once(
    call: Callable[[aiohttp.ClientSession, int], Awaitable[Answered]], count: int
) -> list[Answered]:
    """What so many numbered calls come to, each on a connection of its own."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return await asyncio.gather(*(call(session, number) for number in range(count)))


async def _read_events(response: aiohttp.ClientResponse) -> list[ServerEvent]:
    parser = EventParser()
    events = []
    async for data in response.content.iter_any():
        events += parser.feed(data)
    return events


def ending_of(protocol: CallerProtocol, events: list[ServerEvent]) -> str:
    """How a stream ended, as its caller sees it."""
    ends = [event for event in events if protocol.is_end(event)]
    if not events:
        return CUT
    if protocol.is_error(events[-1]) and not ends:
        return FAILED
    return ENDED if ends == events[-1:] else CUT


def expected_ending(number: int) -> str:
    """How a stream has to end."""
    if is_abandoned(number):
        return LEFT
    return FAILED if dies(number) else ENDED


async def call_all(
    address: str,
    protocol: CallerProtocol,
    headers: list[dict[str, str]],
    count: int,
) -> list[int]:
    """The statuses of so many whole calls at once, made with each of these headers in turn."""

    async def call(session: aiohttp.ClientSession, number: int) -> int:
        body = protocol.body(f"Stream {number}: how are you today?", streamed=False)
        sent = headers[number % len(headers)]
        post = session.post(f"{address}{protocol.path}", json=body, headers=sent)
        async with post as response:
            await response.read()
            return response.status

    return await _all_at_once(call, count)
