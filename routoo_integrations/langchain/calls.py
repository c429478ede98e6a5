"""One call of the chat model, as the driver makes it: how an expert is called, and how its reply is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.driver import Reading
from routoo_core.record import DecisionRecord
from routoo_core.usage import read_usage
from routoo_integrations.langchain.clients import LangChainClient
from routoo_integrations.langchain.messages import (
    closing_chunk,
    portable_messages,
    stamp_message,
    written_text,
)


def read_message(message: BaseMessage) -> Reading:
    """What a whole reply says."""
    reported = message.usage_metadata if isinstance(message, AIMessage) else None
    return Reading(written_text(message), read_usage(reported))


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
        client = self.clients[attempt.expert.name]
        return client.generate(
            self._messages_for(attempt), self.run_manager, self._arguments(client, attempt)
        )

    async def asend(self, attempt: Attempt) -> ChatResult:
        """:meth:`send`, async."""
        client = self.clients[attempt.expert.name]
        return await client.agenerate(
            self._messages_for(attempt), self.run_manager, self._arguments(client, attempt)
        )

    def open(self, attempt: Attempt) -> Generator[ChatGenerationChunk, None, None]:
        """The reply of an expert, in chunks."""
        client = self.clients[attempt.expert.name]
        return client.stream(
            self._messages_for(attempt), self.run_manager, self._arguments(client, attempt)
        )

    async def aopen(self, attempt: Attempt) -> AsyncGenerator[ChatGenerationChunk, None]:
        """:meth:`open`, async."""
        client = self.clients[attempt.expert.name]
        return client.astream(
            self._messages_for(attempt), self.run_manager, self._arguments(client, attempt)
        )

    def read(self, reply: ChatResult) -> Reading:
        """What the reply says: the text of every generation, and the usage of all, which each reports."""
        reading = read_message(reply.generations[0].message)
        if len(reply.generations) == 1:
            return reading
        texts = [written_text(generation.message) for generation in reply.generations]
        return replace(reading, text="".join(texts))

    def stamp(self, reply: ChatResult, record: DecisionRecord) -> ChatResult:
        """The reply, its message stamped."""
        stamp_message(reply.generations[0].message, record)
        return reply

    def reader(self, attempt: Attempt) -> ChunkReader:
        """A reader for one stream."""
        return ChunkReader()

    def _messages_for(self, attempt: Attempt) -> list[BaseMessage]:
        return portable_messages(self.messages, attempt.expert.name)

    def _arguments(self, client: LangChainClient, attempt: Attempt) -> dict[str, Any]:
        return client.arguments(self.stop, self.keywords, attempt.max_tokens)


class ChunkReader:
    """Reads the chunks of one stream and adds up the usage they report."""

    def __init__(self) -> None:
        self._usage: UsageMetadata | None = None

    def read(self, piece: ChatGenerationChunk) -> str:
        """The text of a chunk; the chunk no longer says that it is the last, for that one is ours."""
        message = piece.message
        if isinstance(message, AIMessageChunk):
            message.chunk_position = None
            if message.usage_metadata:
                self._usage = add_usage(self._usage, message.usage_metadata)
        return written_text(message)

    def finish(self) -> Reading:
        """The usage of all chunks."""
        return Reading(usage=read_usage(self._usage))

    def last_piece(self, record: DecisionRecord) -> ChatGenerationChunk:
        """The chunk with the record."""
        return closing_chunk(record)
