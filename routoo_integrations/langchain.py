"""``RoutooChatModel``: a LangChain chat model that is many."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, PrivateAttr

from routoo_core.attempt import Attempt
from routoo_core.errors import ConfigurationError, InvalidRequest, MissingDependency
from routoo_core.experts import Expert, Pool, Usage
from routoo_core.predictor.base import Predictor
from routoo_core.request import RoutedRequest
from routoo_core.router import Router
from routoo_core.tokens import count_tokens
from routoo_integrations.building import NO_KEY, as_router, build_clients, speaks_openai_natively


class RoutooChatModel(BaseChatModel):
    """One chat model over a pool: every call goes to the expert that buys the most within the budget.

    ::

        model = RoutooChatModel.from_toml("routoo.toml")
        reply = model.invoke("Is 91 a prime number?")
        reply.response_metadata["routoo"]["expert"]

    Args:
        router: A Router; or, with ``experts``, a shipped router's name, a checkpoint's folder or a predictor.
        experts: Name → LangChain chat model, or Expert.
        account: Whose budget pays; by default the router's own account.
        max_tokens: Limit on every reply that sets none of its own.
        options: ``policy``, ``budget``, ``ledger``, ``on_exhausted``, ``strict``.

    Raises:
        ConfigurationError: Parts are missing, do not fit together, or an API key is not set.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    router: Router = Field(exclude=True, repr=False)
    account: str | None = None
    max_tokens: int | None = None
    _clients: dict[str, BaseChatModel] = PrivateAttr()

    def __init__(
        self,
        router: Router | Predictor | str | Path | None = None,
        experts: Mapping[str, BaseChatModel | Expert] | Pool | None = None,
        *,
        account: str | None = None,
        max_tokens: int | None = None,
        **options: Any,
    ) -> None:
        fields = set(BaseChatModel.model_fields) & set(options)
        own = {key: options.pop(key) for key in fields}
        super().__init__(  # type: ignore[call-arg]
            router=as_router(router, experts, options), account=account, max_tokens=max_tokens, **own
        )
        self._clients = build_clients(self.router.pool, BaseChatModel, _build_client)  # type: ignore[type-abstract]

    @classmethod
    def from_toml(cls, path: str | Path, **settings: Any) -> Self:
        """Build the model that ``routoo.toml`` describes.

        Raises:
            ConfigurationError: Something in the file is wrong; the message names file, field and remedy.
        """
        return cls(Router.from_toml(path), **settings)

    @property
    def _llm_type(self) -> str:
        return "routoo"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        experts = [(expert.name, expert.model) for expert in self.router.pool]
        return {"router": self.router.predictor.fingerprint, "experts": experts, "policy": repr(self.router.policy)}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": "routoo", "ls_model_name": "routoo"}

    def get_num_tokens(self, text: str) -> int:
        """Count tokens offline (LangChain's default asks a model hub)."""
        return count_tokens(text)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        for attempt in self.router.attempts(self._request(messages, kwargs)):
            with attempt:
                client = self._clients[attempt.expert.name]
                result = client._generate(messages, stop, run_manager, **_call(kwargs, attempt))
                attempt.settle(_heard(result, attempt))
                return _stamped(result, attempt)
        raise AssertionError("attempts() yields a success or raises")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        async for attempt in self.router.aattempts(self._request(messages, kwargs)):
            async with attempt:
                client = self._clients[attempt.expert.name]
                result = await client._agenerate(messages, stop, run_manager, **_call(kwargs, attempt))
                await attempt.asettle(_heard(result, attempt))
                return _stamped(result, attempt)
        raise AssertionError("aattempts() yields a success or raises")

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for attempt in self.router.attempts(self._request(messages, kwargs)):
            with attempt:
                client, usage = self._clients[attempt.expert.name], None
                with closing(_chunks(client, messages, stop, run_manager, _call(kwargs, attempt))) as chunks:
                    for chunk in chunks:
                        usage = _note(chunk, attempt, usage)
                        yield chunk
                attempt.settle(_usage(usage))
                yield _last_chunk(attempt)
                return

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for attempt in self.router.aattempts(self._request(messages, kwargs)):
            async with attempt:
                client, usage = self._clients[attempt.expert.name], None
                async with aclosing(_achunks(client, messages, stop, run_manager, _call(kwargs, attempt))) as chunks:
                    async for chunk in chunks:
                        usage = _note(chunk, attempt, usage)
                        yield chunk
                await attempt.asettle(_usage(usage))
                yield _last_chunk(attempt)
                return

    def _request(self, messages: Sequence[BaseMessage], kwargs: Mapping[str, Any]) -> RoutedRequest:
        try:
            plain = convert_to_openai_messages(list(messages))
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InvalidRequest(f"messages: {error}") from error
        return RoutedRequest.from_messages(
            plain if isinstance(plain, list) else [plain],
            max_tokens=kwargs.get("max_tokens") or self.max_tokens,
            tools=kwargs.get("tools") or (),
            response_format=kwargs.get("response_format"),
            account=self.account,
        )


def _build_client(expert: Expert) -> BaseChatModel:
    try:
        from langchain_openai import ChatOpenAI
        from langchain_openai.chat_models.base import BaseChatOpenAI
    except ImportError as error:
        raise MissingDependency("langchain_openai", "langchain", f"call expert {expert.name!r}") from error
    kind = ChatOpenAI if speaks_openai_natively(expert) else BaseChatOpenAI
    return kind(
        model=expert.model,
        base_url=expert.base_url,
        api_key=expert.api_key() or NO_KEY,  # type: ignore[arg-type]
        max_retries=0,  # the router moves on to another expert instead
        timeout=expert.timeout_s,
        stream_usage=True,
    )


def _call(kwargs: Mapping[str, Any], attempt: Attempt) -> dict[str, Any]:
    return {**kwargs, "max_tokens": attempt.max_tokens}


def _heard(result: ChatResult, attempt: Attempt) -> Usage | None:
    """Note the whole reply; return the usage it reports."""
    message = result.generations[0].message
    attempt.received(str(message.text))
    return _usage(message.usage_metadata if isinstance(message, AIMessage) else None)


def _note(chunk: ChatGenerationChunk, attempt: Attempt, usage: UsageMetadata | None) -> UsageMetadata | None:
    """Note a chunk on its way to the caller; the last one is ours to send."""
    attempt.received(chunk.text)
    if not isinstance(chunk.message, AIMessageChunk):
        return usage
    chunk.message.chunk_position = None
    reported = chunk.message.usage_metadata
    return add_usage(usage, reported) if reported else usage


def _usage(reported: UsageMetadata | None) -> Usage | None:
    if not reported:
        return None
    cached = reported.get("input_token_details", {}).get("cache_read") or 0
    return Usage(reported["input_tokens"], reported["output_tokens"], min(cached, reported["input_tokens"]))


def _stamped(result: ChatResult, attempt: Attempt) -> ChatResult:
    record = attempt.record()
    result.generations[0].message.response_metadata["routoo"] = record
    result.llm_output = {**(result.llm_output or {}), "routoo": record}
    return result


def _last_chunk(attempt: Attempt) -> ChatGenerationChunk:
    metadata = {"routoo": attempt.record()}
    return ChatGenerationChunk(message=AIMessageChunk(content="", chunk_position="last", response_metadata=metadata))


def _chunks(
    client: BaseChatModel,
    messages: list[BaseMessage],
    stop: list[str] | None,
    run_manager: CallbackManagerForLLMRun | None,
    call: dict[str, Any],
) -> Generator[ChatGenerationChunk, None, None]:
    """The expert's stream; of an expert that cannot stream, the whole reply as one chunk."""
    if type(client)._stream is BaseChatModel._stream:
        yield _as_chunk(client._generate(messages, stop, run_manager, **call))
    else:
        yield from client._stream(messages, stop, run_manager, **call)


async def _achunks(
    client: BaseChatModel,
    messages: list[BaseMessage],
    stop: list[str] | None,
    run_manager: AsyncCallbackManagerForLLMRun | None,
    call: dict[str, Any],
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """:func:`_chunks`, async."""
    kind, base = type(client), BaseChatModel
    if kind._stream is base._stream and kind._astream is base._astream:
        yield _as_chunk(await client._agenerate(messages, stop, run_manager, **call))
        return
    async for chunk in client._astream(messages, stop, run_manager, **call):
        yield chunk


def _as_chunk(result: ChatResult) -> ChatGenerationChunk:
    message = result.generations[0].message
    if not isinstance(message, AIMessage):
        raise ConfigurationError(f"the expert replied with a {type(message).__name__}, not an AIMessage")
    return ChatGenerationChunk(
        message=AIMessageChunk(**message.model_dump(exclude={"type"})),
        generation_info=result.generations[0].generation_info,
    )
