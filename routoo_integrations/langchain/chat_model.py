"""``RoutooChatModel``: a LangChain chat model over a pool of experts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Unpack

from langchain_core.caches import BaseCache
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field, PrivateAttr

from routoo_core.answer_cache.rule import CacheRule
from routoo_core.arguments import unpriced_arguments
from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import DEFAULT_ALERTS, AlertRule
from routoo_core.budget.ledger import Ledger
from routoo_core.calling.checks import DEFAULT_CHECKS, CheckRule
from routoo_core.calling.driver import arun, astream, run, stream
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert, Pool
from routoo_core.latency import LatencyRule
from routoo_core.options import OVERRIDES, SWITCH_MARGIN, RouterOptions
from routoo_core.plans.plan import Plan
from routoo_core.predictor.base import Predictor
from routoo_core.request import RoutedRequest
from routoo_core.router import Router
from routoo_core.selector import Policy, PreferenceRule
from routoo_core.text import well_formed_value
from routoo_core.threads import off_loop
from routoo_core.tokens import count_tokens, encode
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
from routoo_integrations.langchain.calls import ChatCall
from routoo_integrations.langchain.clients import LangChainClient, make_clients
from routoo_integrations.langchain.configured import ConfiguredChatModel
from routoo_integrations.langchain.errors import errors_as_langchain
from routoo_integrations.langchain.keywords import ChatModelKeywords
from routoo_integrations.langchain.messages import openai_messages, uncharged
from routoo_integrations.langchain.profiles import describe_model, pool_profile, pool_provider
from routoo_integrations.langchain.protocols import check_provider
from routoo_integrations.langchain.structured import (
    Method,
    OutputForm,
    check_tool_choice,
    preferred_method,
    structured_model,
)
from routoo_integrations.langchain.tools import BoundTool, Tool, counted_arguments

_CALL_FIELDS = ("account", "max_tokens", "temperature", "stop")
_OWN_FIELDS = (*_CALL_FIELDS, "timeout", "max_retries", "streaming")
_CLIENT_FIELDS = frozenset({"router", "timeout"})


class RoutooChatModel(ConfiguredChatModel):
    """One chat model over a pool of experts: every call goes to the expert that buys the most within the budget.

    ::

        model = RoutooChatModel.from_toml("routoo.toml")
        reply = model.invoke("Is 91 a prime number?")
        reply.response_metadata["routoo"]["expert"]

    One call may set for itself, in ``config={"configurable": {…}}``, by ``bind`` or as keyword arguments:
    ``routoo_account`` (whose budget pays), ``routoo_policy`` (a policy, its name or table), ``routoo_expert`` or
    ``model`` (the only one that may answer), ``routoo_max_cost`` (USD, a decimal string).

    Args:
        router: A Router; or, with ``experts``, a shipped router's name, a checkpoint's folder or a predictor.
        experts: Name → LangChain chat model or other runnable, ``"provider:model"``, or Expert.
        account: Whose budget pays; by default the router's own account.
        max_tokens: Limit on every reply that sets none of its own.
        temperature: Passed to the experts.
        stop: Stop sequences of every call that sets none of its own.
        timeout: Seconds for a call, for experts built from their settings, instead of their own ``timeout_s``.
        max_retries: How often an expert is asked again before another takes over, instead of its own ``max_retries``.
        streaming: Stream from the expert even where the whole reply is asked for.
        question_of: Says what part of the last user message the predictor reads. By default the question in a retrieval
            prompt of a usual shape, else all of it.
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
        name: As for every LangChain chat model; so are the keywords after it.

    Raises:
        ConfigurationError: Parts are missing, do not fit together, or an API key is not set.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    router: Router = Field(exclude=True, repr=False)
    account: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float | None = None
    stop: list[str] | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    max_retries: Annotated[int, Field(ge=0)] | None = None
    streaming: bool = False
    question_of: Callable[[str], str] | None = Field(default=None, exclude=True, repr=False)
    _clients: dict[str, LangChainClient] = PrivateAttr()
    _provider: str = PrivateAttr()

    def __init__(
        self,
        router: Router | Predictor | str | Path | None = None,
        experts: Mapping[str, Runnable[Any, Any] | str | Expert] | Pool | None = None,
        *,
        account: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        stop: list[str] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        streaming: bool | None = None,
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
        name: str | None = None,
        cache: BaseCache | bool | None = None,
        verbose: bool | None = None,
        callbacks: Callbacks = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        custom_get_token_ids: Callable[[str], list[int]] | None = None,
        rate_limiter: BaseRateLimiter | None = None,
        disable_streaming: bool | Literal["tool_calling"] = False,
        output_version: str | None = None,
        profile: ModelProfile | None = None,
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
            "stop": stop,
            "timeout": timeout,
            "max_retries": max_retries,
            "streaming": streaming,
            "question_of": question_of,
            "name": name,
            "cache": cache,
            "verbose": verbose,
            "callbacks": callbacks,
            "tags": tags,
            "metadata": metadata,
            "custom_get_token_ids": custom_get_token_ids,
            "rate_limiter": rate_limiter,
            "disable_streaming": disable_streaming,
            "output_version": output_version,
            "profile": profile,
        }
        # LangChain fills what is left out, some of it from the environment.
        fields_set = {name: value for name, value in fields.items() if value is not None}
        fields_set["router"] = make_router(router, experts, options, describe_model, check_provider)
        super().__init__(**fields_set)
        self._build_clients()
        if not any(client.streams for client in self._clients.values()):
            self.disable_streaming = True  # LangChain then treats a reply as whole

    @classmethod
    def from_toml(cls, path: str | Path, **keywords: Unpack[ChatModelKeywords]) -> Self:
        """Build the model that ``routoo.toml`` describes.

        Args:
            path: The file.
            keywords: What the model takes beside its router.

        Raises:
            ConfigurationError: Something in the file is wrong; the message names file, field and remedy.
        """
        return cls(read_router(path, check_provider), **keywords)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the model that :meth:`to_config` described.

        Raises:
            ConfigurationError: Something in it is wrong.
        """
        keywords = dict(config)
        router = Router.from_config(keywords.pop("router"))
        return cls(router, **keywords)

    def to_config(self) -> dict[str, Any]:
        """Everything as plain JSON values; keys stay in the environment.

        Raises:
            ConfigurationError: A part is an object that cannot be written as configuration.
        """
        if self.question_of is not None:
            raise ConfigurationError(
                "question_of: a function cannot be written down; set it where the model is built"
            )
        return {"router": self.router.to_config(), **self._set_fields(_OWN_FIELDS)}

    def _set_fields(self, names: Sequence[str]) -> dict[str, Any]:
        """Those of these fields that are set."""
        fields = {}
        for name in names:
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        return fields

    # What LangChain asks of every chat model

    @property
    def _llm_type(self) -> str:
        """Its experts', if they are of one type: middleware goes by it to know what a provider takes."""
        first, *others = [client.model._llm_type for client in self._clients.values()]
        return first if all(other == first for other in others) else "routoo"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "router": self.router.predictor.fingerprint,
            "experts": [(expert.name, expert.model) for expert in self.router.pool],
            "policy": repr(self.router.policy),
            **self._set_fields(_CALL_FIELDS[1:]),
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self._provider
        params["ls_model_name"] = kwargs.get("model") or kwargs.get("routoo_expert") or "routoo"
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        """What the pool can serve: a call that needs something goes to an expert that has it."""
        return pool_profile(self.router.pool)

    def get_num_tokens(self, text: str) -> int:
        """Count tokens offline (LangChain's default asks a model hub)."""
        return count_tokens(text)

    def get_token_ids(self, text: str) -> list[int]:
        """The text's tokens in o200k_base, offline."""
        return encode(text)

    def batch(self, inputs: list[LanguageModelInput], *args: Any, **kwargs: Any) -> list[AIMessage]:
        """Many whole replies; all prompts are predicted in one pass."""
        self._foresee(inputs)
        return super().batch(inputs, *args, **kwargs)

    async def abatch(
        self, inputs: list[LanguageModelInput], *args: Any, **kwargs: Any
    ) -> list[AIMessage]:
        """:meth:`batch`, async."""
        await off_loop(lambda: self._foresee(inputs))
        return await super().abatch(inputs, *args, **kwargs)

    def _foresee(self, inputs: Sequence[LanguageModelInput]) -> None:
        requests = []
        for prompt in inputs:
            with suppress(ValueError, NotImplementedError):  # its own call reports what is wrong
                requests.append(self.routed_request(self._convert_input(prompt).to_messages(), {}))
        self.router.foresee(requests)

    def _convert_cached_generations(self, cache_val: list[Generation]) -> list[ChatGeneration]:
        """An answer from LangChain's cache was not charged, and its record says so."""
        return [uncharged(reply) for reply in super()._convert_cached_generations(cache_val)]

    # Tools and structured output: the expert that is chosen binds them by its own methods

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A model that may call tools; only experts that can are candidates.

        Args:
            tools: Tools, functions, Pydantic or TypedDict classes, or schemas.
            tool_choice: ``"auto"``, ``"any"`` (or ``"required"``, ``True``), ``"none"``, or a tool's name.
            strict: Whether the provider must keep to the schemas.
            kwargs: Passed to the experts, such as ``parallel_tool_calls``.

        Raises:
            ValueError: ``tool_choice`` names none of the tools.
        """
        bound_tools = [BoundTool(tool, strict) for tool in tools]
        if isinstance(tool_choice, str):
            check_tool_choice(tool_choice, bound_tools)
        if tool_choice:
            kwargs["tool_choice"] = "any" if tool_choice is True else tool_choice
        if strict is not None:
            kwargs["strict"] = strict
        return self.bind(tools=bound_tools, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Method | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """A model whose replies have the form of ``schema``.

        Args:
            schema: A Pydantic or TypedDict class, or a JSON schema; optional for ``json_mode``.
            method: ``json_schema`` and ``json_mode`` use the providers' own, ``function_calling`` a tool; by default
                whichever of the first and the last more experts of the pool can do.
            include_raw: Return ``{"raw": message, "parsed": …, "parsing_error": …}`` and raise no parsing error.
            strict: Whether the provider must keep to the schema.
            kwargs: Passed to the experts.

        Raises:
            ValueError: Unknown method, or no schema for a method that needs one.

        Calls of it raise ``ReplyRefused`` where the expert refuses to answer; with ``include_raw`` that is the
        ``parsing_error``.
        """
        method = method or preferred_method(self.router.pool)
        return structured_model(self, OutputForm(schema, method, strict, kwargs), include_raw)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, run_manager, kwargs)
        with errors_as_langchain():
            return run(self.router, self.routed_request(messages, kwargs), call)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, run_manager, kwargs)
        with errors_as_langchain():
            return await arun(self.router, lambda: self.routed_request(messages, kwargs), call)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk, None, None]:
        call = self._call(messages, stop, run_manager, kwargs)
        with errors_as_langchain():
            yield from stream(self.router, self.routed_request(messages, kwargs), call)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        call = self._call(messages, stop, run_manager, kwargs)
        chunks = astream(self.router, lambda: self.routed_request(messages, kwargs), call)
        with errors_as_langchain():
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    def routed_request(
        self, messages: Sequence[BaseMessage], keywords: Mapping[str, Any]
    ) -> RoutedRequest:
        """The request that messages and a call's keyword arguments make.

        Raises:
            InvalidRequest: They cannot be routed.
        """
        plain = openai_messages(messages)
        if self.question_of:
            plain = mark_question(plain, self.question_of)
        arguments = counted_arguments(keywords)
        return RoutedRequest.from_messages(
            plain,
            max_tokens=read_reply_limit(arguments, self.max_tokens),
            completions=read_completions(arguments),
            tools=[*(arguments.get("tools") or ()), *(arguments.get("functions") or ())],
            must_call=requires_call(arguments),
            response_format=arguments["response_format"],
            unpriced=unpriced_arguments(provider_keywords(arguments)),
            caches_prompt=bool(arguments.get("cache_control")),
            overrides=read_overrides(self.router, arguments, self.account, self.max_retries),
        )

    def client(self, expert: Expert) -> LangChainClient:
        """The model that answers for an expert."""
        return self._clients[expert.name]

    def expert_keywords(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """A call's keyword arguments for the expert; its limit on the reply is the attempt's."""
        return expert_keywords(keywords, self.temperature)

    def stop_of(self, stop: list[str] | None) -> list[str] | None:
        """A call's stop sequences, else the model's own."""
        sequences: list[str] | None = well_formed_value(stop or self.stop or None)
        return sequences

    def _call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: Any,
        keywords: Mapping[str, Any],
    ) -> ChatCall:
        """The call as experts are sent it."""
        arguments = self.expert_keywords(keywords)
        return ChatCall(self._clients, messages, self.stop_of(stop), arguments, run_manager)

    # Copies share the router, whose budget is one; what crosses into another process builds its own clients

    def _build_clients(self) -> None:
        settings = {"timeout_s": self.timeout}
        self._clients = make_clients(self.router.pool, settings)
        providers = [client.traced_as.get("ls_provider") for client in self._clients.values()]
        self._provider = pool_provider(providers)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with these fields changed, checked as the constructor checks them; it shares the router.

        Raises:
            ValidationError: A field is unknown, or its value is of the wrong type or out of range.
        """
        names = set(update or ())
        copy = super().model_copy(update=update)
        validate_fields(copy, names)
        if names & _CLIENT_FIELDS:
            copy._build_clients()
        return copy

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        private = dict(state["__pydantic_private__"] or {})
        private.pop("_clients", None)
        return {**state, "__pydantic_private__": private}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._build_clients()
