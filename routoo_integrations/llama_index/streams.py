"""Streams whose HTTP responses are closed where the stream is left.

LlamaIndex's OpenAI leaves them to the garbage collector. That may run while httpcore holds a lock which closing a
response needs, and then the thread waits for itself for ever.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import ContextVar
from typing import Any, Generic, Self, TypeVar

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


class ClosingAsyncStream(Generic[Piece]):
    """:func:`closing_stream`, async.

    It is no async generator: a loop that ends closes all of those at once, also one that is being closed already.

    Args:
        open_stream: Opens the stream, when its first piece is asked for.
    """

    def __init__(self, open_stream: Callable[[], Awaitable[AsyncGenerator[Piece, Any]]]) -> None:
        self._open_stream = open_stream
        self._pieces: AsyncGenerator[Piece, Any] | None = None
        self._responses: list[Any] = []
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        """The next piece; a stream that has ended or failed is closed."""
        if self._is_closed:
            raise StopAsyncIteration
        try:
            if self._pieces is None:
                self._pieces = await _anoting(self._responses, self._open_stream)
            return await _anoting(self._responses, self._pieces.__anext__)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close the stream and its responses."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._pieces is not None:
            await self._pieces.aclose()
        for response in self._responses:
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
