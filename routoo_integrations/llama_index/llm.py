"""``RoutooLLM``: a LlamaIndex LLM that is many."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, Self

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.tools import BaseTool
from llama_index.core.types import BaseOutputParser, PydanticProgramMode
from pydantic import BaseModel, Field, PrivateAttr

from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.calling.attempt import Attempt
from routoo_core.experts import Expert, Pool
from routoo_core.latency import LatencyRule
from routoo_core.options import SWITCH_MARGIN, RouterOptions
from routoo_core.predictor.base import Predictor
from routoo_core.request import RoutedRequest
from routoo_core.router import Router
from routoo_core.selector import Policy, PreferenceRule
from routoo_core.threads import off_loop
from routoo_integrations.building import (
    build_clients,
    make_router,
    mark_question,
    read_overrides,
    without_overrides,
)
from routoo_integrations.llama_index.clients import Client, Way, build_client, settings_of
from routoo_integrations.llama_index.events import aannounced, announced
from routoo_integrations.llama_index.messages import (
    as_tools,
    asking_of_template,
    called_with,
    described,
    heard,
    in_openai_form,
    speaker,
    stamp,
    stamp_piece,
    tool_calls,
    usage,
)
from routoo_integrations.llama_index.structured import SchemaLLM

Said = Sequence[ChatMessage] | str
_LIMITS = ("max_tokens", "max_completion_tokens")  # what a call may name its limit on the reply


class RoutooLLM(SchemaLLM):
    """One LLM over a pool: every call goes to the expert that buys the most within the budget.

    ::

        llm = RoutooLLM.from_toml("routoo.toml")
        response = llm.complete("Is 91 a prime number?")
        response.additional_kwargs["routoo"]["expert"]

    One call may set for itself, as keyword arguments or within ``with routoo_settings(…)``: ``routoo_account`` (whose
    budget pays), ``routoo_policy`` (a policy, its name or table), ``routoo_expert`` or ``model`` (the only one that may
    answer), ``routoo_max_cost`` (USD, a decimal string).

    Args:
        router: A Router; or, with ``experts``, a shipped router's name, a checkpoint's folder or a predictor.
        experts: Name → LlamaIndex LLM, or Expert.
        account: Whose budget pays; by default the router's own account.
        max_tokens: Limit on every reply that sets none of its own.
        temperature: Passed to the experts.
        timeout: Seconds for a call, for experts built from their settings, instead of their own ``timeout_s``.
        max_retries: How often these try again before another takes over, instead of their own ``max_retries``.
        question_of: Says what part of the last user message the predictor reads. By default the question that a
            template was filled with, or that stands in one of LlamaIndex's usual prompts; else all of it.
        settings: ``policy``, ``budget``, ``ledger``, ``on_exhausted``, ``strict``, ``latency``, ``switch_margin``; and
            what every LlamaIndex LLM takes: ``callback_manager``, ``system_prompt``, ``rate_limiter`` …

    Raises:
        ConfigurationError: Parts are missing, do not fit together, or an API key is not set.
    """

    router: Router = Field(exclude=True, repr=False)
    account: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    timeout: float | None = None
    max_retries: int | None = None
    question_of: Callable[[str], str] | None = Field(default=None, exclude=True)
    _clients: dict[str, Client] = PrivateAttr()

    def __init__(
        self,
        router: Router | Predictor | str | Path | None = None,
        experts: Mapping[str, LLM | Expert] | Pool | None = None,
        *,
        account: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        question_of: Callable[[str], str] | None = None,
        policy: str | Mapping[str, Any] | Policy | PreferenceRule | None = None,
        budget: Budget | None = None,
        ledger: str | Ledger = "memory://",
        on_exhausted: str = "refuse",
        strict: bool = False,
        latency: LatencyRule | None = None,
        switch_margin: float = SWITCH_MARGIN,
        callback_manager: CallbackManager | None = None,
        rate_limiter: Any = None,
        system_prompt: str | None = None,
        messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None = None,
        completion_to_prompt: Callable[[str], str] | None = None,
        output_parser: BaseOutputParser | None = None,
        pydantic_program_mode: PydanticProgramMode = PydanticProgramMode.DEFAULT,
        query_wrapper_prompt: BasePromptTemplate | None = None,
    ) -> None:
        options = RouterOptions(
            policy=policy,
            budget=budget,
            ledger=ledger,
            on_exhausted=on_exhausted,
            strict=strict,
            latency=latency,
            switch_margin=switch_margin,
        )
        fields: dict[str, Any] = {
            "account": account,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "timeout": timeout,
            "max_retries": max_retries,
            "question_of": question_of,
            "callback_manager": callback_manager,
            "rate_limiter": rate_limiter,
            "system_prompt": system_prompt,
            "messages_to_prompt": messages_to_prompt,
            "completion_to_prompt": completion_to_prompt,
            "output_parser": output_parser,
            "pydantic_program_mode": pydantic_program_mode,
            "query_wrapper_prompt": query_wrapper_prompt,
        }
        # LlamaIndex fills what is left out.
        fields_set = {name: value for name, value in fields.items() if value is not None}
        fields_set["router"] = make_router(router, experts, options, settings_of)
        super().__init__(**fields_set)
        self._build_clients()

    @classmethod
    def from_toml(cls, path: str | Path, **settings: Any) -> Self:
        """Build the LLM that ``routoo.toml`` describes.

        Raises:
            ConfigurationError: Something in the file is wrong; the message names file, field and remedy.
        """
        return cls(Router.from_toml(path), **settings)

    # What LlamaIndex asks of every LLM

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex knows it by."""
        return "RoutooLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What the pool can serve: windows that every expert has; tools if any takes them, for only those are asked."""
        pool = self.router.pool
        window = min(expert.context_window for expert in pool)
        return LLMMetadata(
            context_window=window,
            num_output=self.max_tokens
            or min(window // 2, *(expert.max_output_tokens for expert in pool)),
            is_chat_model=True,
            is_function_calling_model=self._able("tools") > 0,
            model_name="routoo",
        )

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole reply; the decision record is in ``additional_kwargs["routoo"]``."""
        response: ChatResponse = self._whole("chat", messages, kwargs)
        return response

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """:meth:`chat` for a single prompt."""
        response: CompletionResponse = self._whole(
            "complete", prompt, {"formatted": formatted, **kwargs}
        )
        return response

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """:meth:`chat`, async."""
        response: ChatResponse = await self._awhole("achat", messages, kwargs)
        return response

    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """:meth:`complete`, async."""
        response: CompletionResponse = await self._awhole(
            "acomplete", prompt, {"formatted": formatted, **kwargs}
        )
        return response

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The reply in pieces, each of which says who speaks; the last carries the decision record."""
        return self._streamed("stream_chat", messages, kwargs, self.routed(messages, kwargs))

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """:meth:`stream_chat` for a single prompt."""
        arguments = {"formatted": formatted, **kwargs}
        return self._streamed("stream_complete", prompt, arguments, self.routed(prompt, kwargs))

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """:meth:`stream_chat`, async."""
        request = await off_loop(lambda: self.routed(messages, kwargs))
        return self._astreamed("astream_chat", messages, kwargs, request)

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """:meth:`stream_complete`, async."""
        request = await off_loop(lambda: self.routed(prompt, kwargs))
        return self._astreamed(
            "astream_complete", prompt, {"formatted": formatted, **kwargs}, request
        )

    # Tools are handed on as they came: the expert that is chosen prepares them, and reads its own calls

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        asked = [
            ChatMessage(role="user", content=user_msg) if isinstance(user_msg, str) else user_msg
        ]
        return {
            "messages": [*(chat_history or []), *(message for message in asked if message)],
            "tools": list(tools),
            "tool_required": tool_required,
            "allow_parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tool calls in a reply, as the expert reads them whose reply it is.

        Raises:
            ValueError: There are none, and ``error_on_no_tool_call``.
        """
        client = self._clients.get(speaker(response) or "")
        if client and isinstance(client.llm, FunctionCallingLLM):
            return client.llm.get_tool_calls_from_response(
                response, error_on_no_tool_call, **kwargs
            )
        calls = tool_calls(response)
        if not calls and error_on_no_tool_call:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return calls

    # Structured output, by the providers' own schemas where more of the pool can do that than can call a tool

    def _by_schema(self) -> bool:
        default = self.pydantic_program_mode == PydanticProgramMode.DEFAULT
        return default and self._able("json_schema") >= max(1, self._able("tools"))

    # The four ways of a call

    def _whole(self, way: Way, said: Said, kwargs: Mapping[str, Any]) -> Any:
        request = self.routed(said, kwargs)
        if self.rate_limiter:
            self.rate_limiter.acquire()
        for attempt in self.router.attempts(request):
            with announced(attempt):
                response = self._call(way, said, kwargs, attempt)
                attempt.settle(heard(response, attempt))
                stamp(response, attempt)
                return response
        raise AssertionError("attempts() yields a success or raises")

    async def _awhole(self, way: Way, said: Said, kwargs: Mapping[str, Any]) -> Any:
        request = await off_loop(lambda: self.routed(said, kwargs))
        if self.rate_limiter:
            await self.rate_limiter.async_acquire()
        async for attempt in self.router.aattempts(request):
            async with aannounced(attempt):
                response = await self._call(way, said, kwargs, attempt)
                await attempt.asettle(heard(response, attempt))
                stamp(response, attempt)
                return response
        raise AssertionError("aattempts() yields a success or raises")

    def _streamed(
        self, way: Way, said: Said, kwargs: Mapping[str, Any], request: RoutedRequest
    ) -> Generator[Any, None, None]:
        if self.rate_limiter:
            self.rate_limiter.acquire()
        for attempt in self.router.attempts(request):
            with announced(attempt):
                reported, piece = None, None
                with closing(self._call(way, said, kwargs, attempt)) as pieces:
                    for piece in pieces:
                        attempt.received(piece.delta or "")
                        reported = usage(piece) or reported
                        stamp_piece(piece, attempt)
                        yield piece
                if piece is not None and reported is None:
                    attempt.received(called_with(piece))
                attempt.settle(reported)
                if piece is not None:
                    yield _last(piece, attempt)
                return

    async def _astreamed(
        self, way: Way, said: Said, kwargs: Mapping[str, Any], request: RoutedRequest
    ) -> AsyncGenerator[Any, None]:
        if self.rate_limiter:
            await self.rate_limiter.async_acquire()
        async for attempt in self.router.aattempts(request):
            async with aannounced(attempt):
                reported, piece = None, None
                async with aclosing(await self._call(way, said, kwargs, attempt)) as pieces:
                    async for piece in pieces:
                        attempt.received(piece.delta or "")
                        reported = usage(piece) or reported
                        stamp_piece(piece, attempt)
                        yield piece
                if piece is not None and reported is None:
                    attempt.received(called_with(piece))
                await attempt.asettle(reported)
                if piece is not None:
                    yield _last(piece, attempt)
                return

    def routed(self, said: Said, kwargs: Mapping[str, Any]) -> RoutedRequest:
        """The request that messages, or a prompt, and a call's keyword arguments make.

        Raises:
            InvalidRequest: They cannot be routed.
        """
        messages = [ChatMessage(role="user", content=said)] if isinstance(said, str) else said
        plain = [in_openai_form(message) for message in messages]
        if self.question_of:
            plain = mark_question(plain, self.question_of)
        return RoutedRequest.from_messages(
            plain,
            max_tokens=next(filter(None, map(kwargs.get, _LIMITS)), self.max_tokens),
            tools=[described(tool) for tool in as_tools(kwargs.get("tools"))],
            response_format=kwargs.get("response_format"),
            overrides=read_overrides(self.router, kwargs, self.account),
        )

    def client(self, expert: Expert) -> Client:
        """The LLM that answers for an expert."""
        return self._clients[expert.name]

    def _call(self, way: Way, said: Said, kwargs: Mapping[str, Any], attempt: Attempt) -> Any:
        arguments = {
            key: value for key, value in without_overrides(kwargs).items() if key not in _LIMITS
        }
        if self.temperature is not None:
            arguments.setdefault("temperature", self.temperature)
        return self.client(attempt.expert).call(
            way, said, arguments, attempt.max_tokens, self.callback_manager
        )

    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> list[ChatMessage]:
        return asking_of_template(
            super()._get_messages(prompt, **prompt_args), {**prompt.kwargs, **prompt_args}
        )

    def _able(self, capability: str) -> int:
        return sum(capability in expert.capabilities for expert in self.router.pool)

    # Copies share the router, whose budget is one; what crosses into another process builds its own clients

    def _build_clients(self) -> None:
        settings = {"timeout_s": self.timeout, "max_retries": self.max_retries}
        llms = build_clients(self.router.pool, LLM, build_client, settings)
        self._clients = {name: Client(self.router.pool[name], llm) for name, llm in llms.items()}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()

    def __getstate__(self) -> dict[str, Any]:
        state = BaseModel.__getstate__(
            self
        )  # LlamaIndex's own drops whatever does not fit, with a warning
        own = {key: value for key, value in state["__dict__"].items() if key != "callback_manager"}
        return {**state, "__dict__": own, "__pydantic_private__": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        BaseModel.__setstate__(self, state)
        self.__dict__["callback_manager"] = CallbackManager()
        object.__setattr__(self, "__pydantic_private__", {})
        self._build_clients()


def _last(piece: Any, attempt: Attempt) -> Any:
    """The piece after the last: it adds nothing to the reply and carries the decision record."""
    last = piece.model_copy(update={"delta": ""})
    stamp(last, attempt)
    return last
