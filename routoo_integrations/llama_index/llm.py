"""``RoutooLLM``: one LlamaIndex LLM over a pool of experts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypedDict, Unpack

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
from llama_index.core.llms.llm import ToolSelection, default_completion_to_prompt
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.tools import BaseTool
from llama_index.core.types import BaseOutputParser, PydanticProgramMode
from pydantic import BaseModel, Field, PrivateAttr

from routoo_core.answer_cache.rule import CacheRule
from routoo_core.arguments import unpriced_arguments
from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import DEFAULT_ALERTS, AlertRule
from routoo_core.budget.ledger import Ledger
from routoo_core.calling.attempts import ReadRequest
from routoo_core.calling.checks import DEFAULT_CHECKS, CheckRule
from routoo_core.calling.driver import arun, astream, run, stream
from routoo_core.experts import Expert, Pool
from routoo_core.latency import LatencyRule
from routoo_core.options import OVERRIDES, SWITCH_MARGIN, RouterOptions
from routoo_core.plans.plan import Plan
from routoo_core.predictor.base import Predictor
from routoo_core.request import RoutedRequest
from routoo_core.router import Router
from routoo_core.selector import Policy, PreferenceRule
from routoo_core.threads import off_loop
from routoo_integrations.building import make_router, read_router, validate_fields
from routoo_integrations.call_arguments import (
    expert_keywords,
    mark_question,
    provider_keywords,
    read_completions,
    read_reply_limit,
    requires_call,
)
from routoo_integrations.call_settings import read_overrides
from routoo_integrations.llama_index.calls import (
    LlamaIndexCall,
    LlamaIndexChat,
    LlamaIndexCompletion,
)
from routoo_integrations.llama_index.clients import (
    LlamaIndexClient,
    check_provider,
    common_completion_format,
    describe_llm,
    make_clients,
)
from routoo_integrations.llama_index.events import send_decision_event
from routoo_integrations.llama_index.messages import (
    mark_template_question,
    response_expert,
    router_messages,
)
from routoo_integrations.llama_index.reading import Response
from routoo_integrations.llama_index.structured import SchemaLLM
from routoo_integrations.llama_index.tools import as_tools, read_tool_calls, tool_definition

_BUILDING_FIELDS = frozenset({"router", "timeout"})
"""Fields that the experts' LLMs are built from."""
_NO_LIMIT = -1
"""What LLMs without a limit on replies say; LlamaIndex then leaves its own default free for the reply."""


class LLMKeywords(TypedDict, total=False):
    """Keyword arguments of an LLM other than its router; see :class:`RoutooLLM`."""

    account: str | None
    max_tokens: int | None
    temperature: float | None
    timeout: float | None
    max_retries: int | None
    question_of: Callable[[str], str] | None
    callback_manager: CallbackManager | None
    rate_limiter: Any
    system_prompt: str | None
    messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None
    completion_to_prompt: Callable[[str], str] | None
    output_parser: BaseOutputParser | None
    pydantic_program_mode: PydanticProgramMode
    query_wrapper_prompt: BasePromptTemplate | None


class RoutooLLM(SchemaLLM):
    """One LLM over a pool of experts: every call goes to the expert that buys the most within the budget.

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
        max_tokens: Limit on every reply that sets none of its own, at least 1.
        temperature: Passed to the experts.
        timeout: Seconds for a call, for experts built from their settings, instead of their own ``timeout_s``.
        max_retries: How often an expert is asked again before another takes over, instead of its own ``max_retries``.
        question_of: Says what part of the last user message the predictor reads. By default the question that a
            template was filled with, or that stands in one of LlamaIndex's usual prompts; else all of it.
        policy: Ranks the experts: a policy, its name or table; by default ``match_best``.
        budget: What may be spent; by default everything is booked and nothing limited.
        ledger: ``memory://``, ``sqlite:///path``, ``redis://…``, or a ledger.
        on_exhausted: When nothing is affordable: ``refuse``, ``cheapest``, or an expert's name.
        strict: Refuse calls without ``max_tokens``.
        latency: What slow experts lose by it.
        switch_margin: Predicted quality by which another expert must be better than that of the turn before.
        overrides: What a call may set for itself; by default all of :data:`routoo_core.options.OVERRIDES`.
        min_reply_tokens: Without ``max_tokens``, the budget must pay for so many, or the call is refused.
        alerts: When to say that an account has spent much of its limit, and to whom.
        checks: What of its replies is checked.
        answer_cache: Which answers are stored and given again; by default none.
        plans: Ways to ask several experts in one call, objects or tables by name.
        callback_manager: As for every LlamaIndex LLM; so are the keywords after it.

    Raises:
        ConfigurationError: Parts are missing, do not fit together, or an API key is not set.
        ValidationError: A value is of the wrong type or out of range.
    """

    router: Router = Field(exclude=True, repr=False)
    account: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    max_retries: Annotated[int, Field(ge=0)] | None = None
    question_of: Callable[[str], str] | None = Field(default=None, exclude=True)
    _clients: dict[str, LlamaIndexClient] = PrivateAttr()

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
        overrides: Iterable[str] = OVERRIDES,
        min_reply_tokens: int = 0,
        alerts: AlertRule = DEFAULT_ALERTS,
        checks: CheckRule = DEFAULT_CHECKS,
        answer_cache: CacheRule | None = None,
        plans: Sequence[Plan] | Mapping[str, Any] = (),
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
            overrides=overrides,
            min_reply_tokens=min_reply_tokens,
            alerts=alerts,
            checks=checks,
            cache=answer_cache,
            plans=plans,
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
        fields_set["router"] = make_router(router, experts, options, describe_llm, check_provider)
        super().__init__(**fields_set)
        self._build_clients()
        completion_format = common_completion_format(self._clients.values())
        if completion_to_prompt is None and completion_format is not None:
            self.completion_to_prompt = completion_format

    @classmethod
    def from_toml(cls, path: str | Path, **keywords: Unpack[LLMKeywords]) -> Self:
        """Build the LLM that ``routoo.toml`` describes.

        Args:
            path: The file.
            keywords: What the LLM takes beside its router.

        Raises:
            ConfigurationError: Something in the file is wrong; the message names file, field and remedy.
        """
        return cls(read_router(path, check_provider), **keywords)

    # What LlamaIndex asks of every LLM

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex knows it by."""
        return "RoutooLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """The pool's abilities: the smallest context window, and tools if any expert has them."""
        return LLMMetadata(
            context_window=min(expert.context_window for expert in self.router.pool),
            num_output=self.max_tokens or _NO_LIMIT,
            is_chat_model=common_completion_format(self._clients.values()) is None,
            is_function_calling_model=self._count_experts_with("tools") > 0,
            model_name="routoo",
        )

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole reply; the decision record is in ``additional_kwargs["routoo"]``."""
        request = self.routed_request(messages, kwargs)
        call = self._chat_call(messages, kwargs)
        return self._run(request, call)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """:meth:`chat` for a single prompt."""
        request = self.routed_request(prompt, kwargs)
        call = self._completion_call(prompt, formatted, kwargs)
        return self._run(request, call)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """:meth:`chat`, async."""
        call = self._chat_call(messages, kwargs)
        return await self._arun(lambda: self.routed_request(messages, kwargs), call)

    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """:meth:`complete`, async."""
        call = self._completion_call(prompt, formatted, kwargs)
        return await self._arun(lambda: self.routed_request(prompt, kwargs), call)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The reply in pieces. Each piece names its expert; the last one carries the decision record."""
        request = self.routed_request(messages, kwargs)
        call = self._chat_call(messages, kwargs)
        return self._stream(request, call)

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """:meth:`stream_chat` for a single prompt."""
        request = self.routed_request(prompt, kwargs)
        call = self._completion_call(prompt, formatted, kwargs)
        return self._stream(request, call)

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """:meth:`stream_chat`, async."""
        request = await self._arouted(messages, kwargs)
        call = self._chat_call(messages, kwargs)
        return await self._astream(request, call)

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """:meth:`stream_complete`, async."""
        request = await self._arouted(prompt, kwargs)
        call = self._completion_call(prompt, formatted, kwargs)
        return await self._astream(request, call)

    # The four ways of a call; the rate limiter is asked once for each, as by every LlamaIndex LLM

    def _run(self, request: RoutedRequest, call: LlamaIndexCall[Response]) -> Response:
        if self.rate_limiter:
            self.rate_limiter.acquire()
        return run(self.router, request, call, on_end=send_decision_event)

    async def _arun(self, read_request: ReadRequest, call: LlamaIndexCall[Response]) -> Response:
        if self.rate_limiter:
            await self.rate_limiter.async_acquire()
        return await arun(self.router, read_request, call, on_end=send_decision_event)

    def _stream(
        self, request: RoutedRequest, call: LlamaIndexCall[Response]
    ) -> Generator[Response, None, None]:
        if self.rate_limiter:
            self.rate_limiter.acquire()
        return stream(self.router, request, call, on_end=send_decision_event)

    async def _astream(
        self, request: RoutedRequest, call: LlamaIndexCall[Response]
    ) -> AsyncGenerator[Response, None]:
        if self.rate_limiter:
            await self.rate_limiter.async_acquire()
        return astream(self.router, lambda: request, call, on_end=send_decision_event)

    def routed_request(
        self, messages: Sequence[ChatMessage] | str, keywords: Mapping[str, Any]
    ) -> RoutedRequest:
        """The request that messages, or a prompt, and a call's keyword arguments make.

        Raises:
            InvalidRequest: They cannot be routed.
        """
        if isinstance(messages, str):
            messages = [ChatMessage(role="user", content=messages)]
        plain_messages = router_messages(messages)
        if self.question_of:
            plain_messages = mark_question(plain_messages, self.question_of)
        definitions = [tool_definition(tool) for tool in as_tools(keywords.get("tools"))]
        return RoutedRequest.from_messages(
            plain_messages,
            max_tokens=read_reply_limit(keywords, self.max_tokens),
            completions=read_completions(keywords),
            tools=[*definitions, *(keywords.get("functions") or ())],
            must_call=requires_call(keywords),
            response_format=keywords.get("response_format"),
            unpriced=unpriced_arguments(provider_keywords(keywords)),
            overrides=read_overrides(self.router, keywords, self.account, self.max_retries),
        )

    async def _arouted(
        self, messages: Sequence[ChatMessage] | str, keywords: Mapping[str, Any]
    ) -> RoutedRequest:
        return await off_loop(lambda: self.routed_request(messages, keywords))

    def _chat_call(
        self, messages: Sequence[ChatMessage], keywords: Mapping[str, Any]
    ) -> LlamaIndexChat:
        arguments = self._expert_keywords(keywords)
        return LlamaIndexChat(self._clients, self.callback_manager, arguments, messages)

    def _completion_call(
        self, prompt: str, formatted: bool, keywords: Mapping[str, Any]
    ) -> LlamaIndexCompletion:
        own_format = self.completion_to_prompt or default_completion_to_prompt
        if not formatted and own_format is not default_completion_to_prompt:
            prompt = own_format(prompt)
            formatted = True
        arguments = {"formatted": formatted, **self._expert_keywords(keywords)}
        return LlamaIndexCompletion(self._clients, self.callback_manager, arguments, prompt)

    def _expert_keywords(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """A call's keyword arguments for the expert; its limit on the reply is the attempt's."""
        return expert_keywords(keywords, self.temperature)

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
        messages = list(chat_history or [])
        if isinstance(user_msg, str):
            messages.append(ChatMessage(role="user", content=user_msg))
        elif user_msg:
            messages.append(user_msg)
        return {
            "messages": messages,
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
        client = self._clients.get(response_expert(response) or "")
        if client and isinstance(client.llm, FunctionCallingLLM):
            return client.llm.get_tool_calls_from_response(
                response, error_on_no_tool_call, **kwargs
            )
        selections = read_tool_calls(response)
        if not selections and error_on_no_tool_call:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return selections

    # Structured output, by the providers' own schemas where more of the pool can do that than can call a tool

    def _uses_schemas(self) -> bool:
        if self.pydantic_program_mode != PydanticProgramMode.DEFAULT:
            return False
        with_schemas = self._count_experts_with("json_schema")
        return with_schemas > 0 and with_schemas >= self._count_experts_with("tools")

    def _count_experts_with(self, capability: str) -> int:
        count = 0
        for expert in self.router.pool:
            if capability in expert.capabilities:
                count += 1
        return count

    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> list[ChatMessage]:
        messages = super()._get_messages(prompt, **prompt_args)
        variables = {**prompt.kwargs, **prompt_args}
        return mark_template_question(messages, variables)

    # Copies share the router, whose budget is one; what crosses into another process builds its own clients

    def client(self, expert: Expert) -> LlamaIndexClient:
        """The LLM that answers for an expert."""
        return self._clients[expert.name]

    def _build_clients(self) -> None:
        settings = {"timeout_s": self.timeout}
        self._clients = make_clients(self.router.pool, settings)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with these fields changed, checked as the constructor checks them; it shares the router.

        Raises:
            ValidationError: A field is unknown, or its value is of the wrong type or out of range.
        """
        copy = super().model_copy(update=update)
        names = set(update or ())
        validate_fields(copy, names)
        if names & _BUILDING_FIELDS:
            copy._build_clients()
        return copy

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()

    def __getstate__(self) -> dict[str, Any]:
        state = BaseModel.__getstate__(self)  # LlamaIndex's drops what does not fit, with a warning
        fields = dict(state["__dict__"])
        fields.pop("callback_manager", None)
        return {**state, "__dict__": fields, "__pydantic_private__": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        BaseModel.__setstate__(self, state)
        self.__dict__["callback_manager"] = CallbackManager()
        object.__setattr__(self, "__pydantic_private__", {})
        self._build_clients()
