"""Streams whose HTTP responses are closed where the stream is left.

LlamaIndex's OpenAI leaves them to the garbage collector. That may run while httpcore holds a lock which closing a
response needs, and then the thread waits for itself for ever.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

from llama_index.core.llms import LLM

Piece = TypeVar("Piece")

_RESPONSES: ContextVar[list[Any] | None] = ContextVar("routoo_responses", default=None)
"""Where the responses of the stream that is being read are noted."""


def note_responses(llm: LLM, is_async: bool) -> None:
    """Have the HTTP client of LlamaIndex's ``OpenAI`` note its responses; other LLMs close their own.

    Args:
        llm: About to be called.
        is_async: Whether its async client is.
    """
    get_client = getattr(llm, "_get_aclient" if is_async else "_get_client", None)
    if get_client is None or not getattr(llm, "reuse_client", False):
        return
    http_client = getattr(get_client(), "_client", None)
    hooks = getattr(http_client, "event_hooks", None)
    if hooks is None or http_client is None:
        return
    hook = _anote_response if is_async else _note_response
    if hook not in hooks["response"]:
        http_client.event_hooks = {**hooks, "response": [*hooks["response"], hook]}


def closing_stream(
    open_stream: Callable[[], Generator[Piece, Any, Any]],
) -> Generator[Piece, None, None]:
    """The pieces of a stream; its responses are closed when it is left."""
    responses: list[Any] = []
    pieces = _noting(responses, open_stream)
    try:
        while True:
            try:
                piece = _noting(responses, pieces.__next__)
            except StopIteration:
                return
            yield piece
    finally:
        pieces.close()
        for response in responses:
            response.close()


async def closing_astream(
    open_stream: Callable[[], Awaitable[AsyncGenerator[Piece, Any]]],
) -> AsyncGenerator[Piece, None]:
    """:func:`closing_stream`, async."""
    responses: list[Any] = []
    pieces = await _anoting(responses, open_stream)
    try:
        while True:
            try:
                piece = await _anoting(responses, pieces.__anext__)
            except StopAsyncIteration:
                return
            yield piece
    finally:
        await pieces.aclose()
        for response in responses:
            await response.aclose()


def _noting(responses: list[Any], step: Callable[[], Piece]) -> Piece:
    """What a step of a stream returns; the responses that it receives are noted."""
    token = _RESPONSES.set(responses)
    try:
        return step()
    finally:
        _RESPONSES.reset(token)


async def _anoting(responses: list[Any], step: Callable[[], Awaitable[Piece]]) -> Piece:
    """:func:`_noting`, async."""
    token = _RESPONSES.set(responses)
    try:
        return await step()
    finally:
        _RESPONSES.reset(token)


def _note_response(response: Any) -> None:
    responses = _RESPONSES.get()
    if responses is not None:
        responses.append(response)


async def _anote_response(response: Any) -> None:
    _note_response(response)
