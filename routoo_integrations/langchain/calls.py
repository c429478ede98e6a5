"""One call of the chat model, as the driver makes it: how an expert is called, and how its reply is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from routoo_core.answer_cache.query import CacheQuery
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.readings import Reading
from routoo_core.calling.recall import CachedAnswer
from routoo_core.errors import NoReply
from routoo_core.failures import MISREAD_ERRORS
from routoo_core.record import DecisionRecord
from routoo_integrations.call_arguments import without_parameters
from routoo_integrations.langchain.cached_answers import (
    cached_metadata,
    query_messages,
    usage_metadata,
)
from routoo_integrations.langchain.clients import LangChainClient
from routoo_integrations.langchain.messages import portable_messages, stamp_generation
from routoo_integrations.langchain.reading import ChunkReader, read_result, read_result_usage


@dataclass(frozen=True)
class ChatCall:
    """A call that LangChain made of ``RoutooChatModel``.

    Attributes:
        clients: Expert → the model behind it.
        messages: The prompt.
        stop: Stop sequences.
        keywords: The call's other arguments, in OpenAI's form.
        run_manager: LangChain's, for this run.
    """

    clients: Mapping[str, LangChainClient]
    messages: list[BaseMessage]
    stop: list[str] | None
    keywords: Mapping[str, Any]
    run_manager: Any

    def send(self, attempt: Attempt) -> ChatResult:
        """The whole reply of an expert."""
        client = self._client(attempt)
        messages, arguments = self._prepare(client, attempt)
        with _rehearsal(attempt, client, messages, arguments):
            result = client.generate(messages, self.run_manager, arguments)
        return _check_result(result, attempt)

    async def asend(self, attempt: Attempt) -> ChatResult:
        """:meth:`send`, async."""
        client = self._client(attempt)
        messages, arguments = self._prepare(client, attempt)
        with _rehearsal(attempt, client, messages, arguments):
            result = await client.agenerate(messages, self.run_manager, arguments)
        return _check_result(result, attempt)

    def open(self, attempt: Attempt) -> Generator[ChatGenerationChunk, None, None]:
        """The reply of an expert, in chunks."""
        client = self._client(attempt)
        messages, arguments = self._prepare(client, attempt)
        with _rehearsal(attempt, client, messages, arguments):
            yield from client.stream(messages, self.run_manager, arguments)

    async def aopen(self, attempt: Attempt) -> AsyncGenerator[ChatGenerationChunk, None]:
        """:meth:`open`, async."""
        return self._achunks(attempt)

    async def _achunks(self, attempt: Attempt) -> AsyncGenerator[ChatGenerationChunk, None]:
        client = self._client(attempt)
        messages, arguments = self._prepare(client, attempt)
        with _rehearsal(attempt, client, messages, arguments):
            async with aclosing(client.astream(messages, self.run_manager, arguments)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def read(self, reply: ChatResult) -> Reading:
        """What the reply says."""
        return read_result(reply)

    def stamp(self, reply: ChatResult, record: DecisionRecord) -> ChatResult:
        """The reply, stamped."""
        client = self.clients[record.attempts[-1].expert]
        stamp_generation(reply.generations[0], record, client.traced_as)
        return reply

    def cache_query(self) -> CacheQuery:
        """What the call asks, for the cache of answers."""
        return CacheQuery(query_messages(self.messages), {**self.keywords, "stop": self.stop})

    def cached_reply(self, hit: CachedAnswer) -> ChatResult:
        """A reply from the cache, stamped."""
        answer = hit.answer
        message = AIMessage(
            content=answer.text,
            response_metadata=cached_metadata(answer),
            usage_metadata=usage_metadata(answer.usage),
        )
        generation = ChatGeneration(message=message)
        self._stamp_cached(generation, hit)
        return ChatResult(generations=[generation])

    def cached_piece(self, hit: CachedAnswer) -> ChatGenerationChunk:
        """A reply from the cache as one chunk, stamped."""
        answer = hit.answer
        message = AIMessageChunk(
            content=answer.text,
            response_metadata=cached_metadata(answer),
            usage_metadata=usage_metadata(answer.usage),
            chunk_position="last",
        )
        chunk = ChatGenerationChunk(message=message)
        self._stamp_cached(chunk, hit)
        return chunk

    def _stamp_cached(self, generation: ChatGeneration, hit: CachedAnswer) -> None:
        client = self.clients[hit.answer.expert]
        stamp_generation(generation, hit.record, client.traced_as)

    def reader(self, attempt: Attempt) -> ChunkReader:
        """A reader for one stream."""
        client = self._client(attempt)
        marks_end = client.marks_stream_end and not attempt.expert.silent_stream_end
        return ChunkReader(marks_end, client.traced_as)

    def _client(self, attempt: Attempt) -> LangChainClient:
        return self.clients[attempt.expert.name].without(attempt.withheld)

    def _prepare(
        self, client: LangChainClient, attempt: Attempt
    ) -> tuple[list[BaseMessage], dict[str, Any]]:
        """The messages and arguments for an expert.

        Raises:
            CallNotPrepared: Its client cannot take them.
        """
        with attempt.preparation():
            messages = portable_messages(self.messages, attempt.expert.name)
            if attempt.follow_up is not None:
                messages += convert_to_messages(attempt.follow_up.messages())
            stop = None if attempt.foreign_arguments else self.stop
            keywords = without_parameters(self.keywords, attempt.foreign_arguments)
            arguments = client.arguments(stop, keywords, attempt.max_tokens)
        return messages, arguments


@contextmanager
def _rehearsal(
    attempt: Attempt,
    client: LangChainClient,
    messages: list[BaseMessage],
    arguments: dict[str, Any],
) -> Iterator[None]:
    """Tell what failed before it was sent from what came back and could not be read; their errors look the same.

    Raises:
        CallNotPrepared: The call cannot be put into its provider's form.
    """
    try:
        yield
    except MISREAD_ERRORS:
        with attempt.preparation():
            client.rehearse(messages, arguments)
        raise


def _check_result(result: ChatResult, attempt: Attempt) -> ChatResult:
    """A result that holds a reply.

    Raises:
        NoReply: It holds none.
    """
    if not result.generations:
        attempt.reported(read_result_usage(result))
        raise NoReply(attempt.expert.name, "no choices")
    return result
