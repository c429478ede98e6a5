"""One call of the LLM, as the driver makes it: how an expert is called, and how its response is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM

from routoo_core.answer_cache.answers import StoredAnswer
from routoo_core.answer_cache.query import CacheQuery
from routoo_core.calling.attempt import Attempt
from routoo_core.calling.readings import AsyncStream, Reading
from routoo_core.calling.recall import CachedAnswer
from routoo_core.record import DecisionRecord
from routoo_core.text import well_formed
from routoo_integrations.call_arguments import without_parameters
from routoo_integrations.llama_index.cached_answers import (
    cached_raw,
    cached_usage,
    query_messages,
)
from routoo_integrations.llama_index.clients import LlamaIndexClient
from routoo_integrations.llama_index.events import send_record_event
from routoo_integrations.llama_index.messages import portable_chat_messages, stamp_response
from routoo_integrations.llama_index.reading import (
    PieceReader,
    Response,
    read_response,
)
from routoo_integrations.llama_index.refusals import note_refusal, refusal_text
from routoo_integrations.llama_index.streams import (
    ClosingAsyncStream,
    closing_stream,
    note_responses,
)
from routoo_integrations.llama_index.tools import as_tools, well_formed_tool

_TOOL_KEYWORDS = ("tool_choice", "tool_required", "allow_parallel_tool_calls")
"""Keyword arguments that mean nothing without tools."""


@dataclass(frozen=True, slots=True)
class LlamaIndexCall(ABC, Generic[Response]):
    """A call that LlamaIndex made of ``RoutooLLM``.

    It is delegated as a whole, so that LlamaIndex's events, spans and token counts are those of one LLM.

    Attributes:
        clients: Expert → the LLM behind it.
        callbacks: LlamaIndex's, told of the call.
        keywords: Keyword arguments for the expert's LLM.
    """

    clients: Mapping[str, LlamaIndexClient]
    callbacks: CallbackManager
    keywords: Mapping[str, Any]

    method: ClassVar[str]
    """The LLM's method that is delegated to; the async and the streaming ones are named after it."""

    def send(self, attempt: Attempt) -> Response:
        """The whole response of an expert."""
        response: Response = self._delegate(attempt, self.method)
        return response

    async def asend(self, attempt: Attempt) -> Response:
        """:meth:`send`, async."""
        response: Response = await self._delegate(attempt, f"a{self.method}", is_async=True)
        return response

    def open(self, attempt: Attempt) -> Generator[Response, None, None]:
        """The response of an expert, in pieces."""
        return closing_stream(lambda: self._delegate(attempt, f"stream_{self.method}"))

    async def aopen(self, attempt: Attempt) -> AsyncStream[Response]:
        """:meth:`open`, async."""
        method = f"astream_{self.method}"
        return ClosingAsyncStream(lambda: self._delegate(attempt, method, is_async=True))

    def read(self, reply: Response) -> Reading:
        """What a whole response says."""
        return read_response(reply)

    def stamp(self, reply: Response, record: DecisionRecord) -> Response:
        """The response, marked with its decision record."""
        note_refusal(record.expert or "", refusal_text(reply))
        stamp_response(reply, record)
        return reply

    def cache_query(self) -> CacheQuery:
        """What the call asks, for the cache of answers."""
        return CacheQuery(self._messages(), self.keywords)

    def cached_reply(self, hit: CachedAnswer) -> Response:
        """A response from the cache, stamped; its event says that nothing was spent."""
        response = self._response(hit.answer)
        stamp_response(response, hit.record)
        send_record_event(hit.record)
        return response

    def cached_piece(self, hit: CachedAnswer) -> Response:
        """A response from the cache as one piece, stamped."""
        piece = self.cached_reply(hit)
        return piece.model_copy(update={"delta": hit.answer.text})

    @abstractmethod
    def _messages(self) -> list[dict[str, Any]]:
        """What is asked, in OpenAI's form."""

    @abstractmethod
    def _response(self, answer: StoredAnswer) -> Response:
        """An answer from the cache as a response."""

    def reader(self, attempt: Attempt) -> PieceReader[Response]:
        """A reader for one stream."""
        marks_end = self._client(attempt).marks_stream_end
        return PieceReader(attempt.expert.name, marks_end and not attempt.expert.silent_stream_end)

    def _delegate(self, attempt: Attempt, method: str, is_async: bool = False) -> Any:
        """Call a method of the expert's LLM; what it returns depends on the method."""
        client = self._client(attempt)
        max_tokens = attempt.max_tokens
        withheld = attempt.withheld
        with attempt.preparation():
            llm = client.llm_for_call(max_tokens, self.callbacks, withheld, is_async)
            note_responses(llm, is_async)
            keywords = without_parameters(self.keywords, attempt.foreign_arguments)
            keywords = client.arguments(keywords, max_tokens, withheld)
        return self._invoke(llm, method, keywords, attempt)

    def _client(self, attempt: Attempt) -> LlamaIndexClient:
        return self.clients[attempt.expert.name]

    @abstractmethod
    def _invoke(self, llm: LLM, method: str, keywords: dict[str, Any], attempt: Attempt) -> Any:
        """Call a method of an LLM with what the call says."""


@dataclass(frozen=True, slots=True)
class LlamaIndexChat(LlamaIndexCall[ChatResponse]):
    """A call of ``chat`` or of its async or streaming form.

    Attributes:
        messages: The conversation.
    """

    messages: Sequence[ChatMessage]

    method: ClassVar[str] = "chat"

    def _messages(self) -> list[dict[str, Any]]:
        return query_messages(self.messages)

    def _response(self, answer: StoredAnswer) -> ChatResponse:
        message = ChatMessage(role="assistant", content=answer.text)
        return ChatResponse(
            message=message, raw=cached_raw(answer), additional_kwargs=cached_usage(answer)
        )

    def _invoke(self, llm: LLM, method: str, keywords: dict[str, Any], attempt: Attempt) -> Any:
        """Call the method, or its sister ``…_with_tools`` where there are tools."""
        with attempt.preparation():
            messages = portable_chat_messages(self.messages, attempt.expert.name)
            if attempt.follow_up is not None:
                messages += [ChatMessage(**turn) for turn in attempt.follow_up.messages()]
            tools = [well_formed_tool(tool) for tool in as_tools(keywords.pop("tools", None))]
        if tools:
            parallel = keywords.pop("parallel_tool_calls", False)
            keywords.setdefault("allow_parallel_tool_calls", parallel)
            tools_method = getattr(llm, f"{method}_with_tools")
            return tools_method(tools, chat_history=messages, **keywords)

        for keyword in _TOOL_KEYWORDS:
            keywords.pop(keyword, None)
        llm_method = getattr(llm, method)
        return llm_method(messages, **keywords)


@dataclass(frozen=True, slots=True)
class LlamaIndexCompletion(LlamaIndexCall[CompletionResponse]):
    """A call of ``complete`` or of its async or streaming form.

    Attributes:
        prompt: The text to complete.
    """

    prompt: str

    method: ClassVar[str] = "complete"

    def _messages(self) -> list[dict[str, Any]]:
        role = "prompt" if self.keywords.get("formatted") else "user"
        return [{"role": role, "content": self.prompt}]

    def _response(self, answer: StoredAnswer) -> CompletionResponse:
        return CompletionResponse(
            text=answer.text, raw=cached_raw(answer), additional_kwargs=cached_usage(answer)
        )

    def _invoke(self, llm: LLM, method: str, keywords: dict[str, Any], attempt: Attempt) -> Any:
        llm_method = getattr(llm, method)
        prompt = self.prompt
        if attempt.follow_up is not None:
            prompt = f"{prompt}\n\n{attempt.follow_up.text()}"
        return llm_method(well_formed(prompt), **keywords)
