"""How experts are reached: OpenAI's protocol over HTTP, or a Hugging Face model in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from routoo_core import embedded
from routoo_core.asking.calls import Call, Chat, ClientReply, Likelihood
from routoo_core.errors import ConfigurationError
from routoo_core.experts import NO_KEY, Expert
from routoo_core.failures import another_may_succeed, status_of
from routoo_core.threads import off_loop
from routoo_core.usage import Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PASSING = frozenset({408, 409, 425, 429})


class ExpertClient(Protocol):
    """Asks one expert; failures are exceptions that ``attempt`` can tell apart."""

    async def answer(self, call: Call, max_tokens: int) -> ClientReply:
        """The expert's reply to ``call``, of at most ``max_tokens``."""
        ...


class EndpointClient:
    """An expert behind an endpoint that speaks OpenAI's protocol."""

    def __init__(self, expert: Expert) -> None:
        self.expert = expert
        self._likelihood: Callable[[Likelihood, int], Any] | None = None
        self._choosing = asyncio.Lock()

    @cached_property
    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        key = self.expert.api_key() or (None if self.expert.speaks_openai_natively else NO_KEY)
        return AsyncOpenAI(
            api_key=key, base_url=self.expert.base_url, timeout=self.expert.timeout_s, max_retries=0
        )

    async def answer(self, call: Call, max_tokens: int) -> ClientReply:
        """The reply; see :class:`Client`."""
        if isinstance(call, Chat):
            return await self._chat(call, max_tokens)
        reply: ClientReply = await (await self._way())(call, max_tokens)
        return reply

    async def _chat(self, call: Chat, max_tokens: int) -> ClientReply:
        limit = "max_completion_tokens" if self.expert.speaks_openai_natively else "max_tokens"
        settings = {limit: max_tokens} | (
            {} if call.temperature is None else {"temperature": call.temperature}
        )
        messages: Any = [{"role": role, "content": text} for role, text in call.messages]
        done = await self._client.chat.completions.create(
            model=self.expert.model, messages=messages, **settings
        )  # type: ignore[call-overload]
        return ClientReply(
            _usage(done.usage), (done.choices[0].message.content or "") if done.choices else ""
        )

    async def _way(self) -> Callable[[Likelihood, int], Any]:
        """How this endpoint tells likelihoods; found out once, by a question that costs nothing."""
        async with self._choosing:
            if self._likelihood is None:
                self._likelihood = (
                    self._forced if await self._tokens("a") is not None else self._echoed
                )
        return self._likelihood

    async def _echoed(self, call: Likelihood, _: int) -> ClientReply:
        """Log-probabilities of the prompt's own tokens, as vLLM, SGLang and OpenAI's completions tell them."""
        text = call.context + call.continuation
        done = await self._client.completions.create(
            model=self.expert.model, prompt=text, echo=True, logprobs=1, max_tokens=1, temperature=0
        )
        told = done.choices[0].logprobs if done.choices else None
        start, end = len(call.context), len(text)
        places = (
            list(zip(told.text_offset or (), told.token_logprobs or (), strict=False))
            if told
            else []
        )
        ends = [*(at for at, _ in places), end + 1][1:]
        within = [
            logprob
            for (at, logprob), stop in zip(places, ends, strict=True)
            if stop > start and at < end
        ]
        known = bool(within) and None not in within
        return ClientReply(_usage(done.usage), logprob=sum(within) if known else None)

    async def _forced(self, call: Likelihood, _: int) -> ClientReply:
        """llama.cpp does not score prompts, but tells what it thought of tokens a grammar forced it to write."""
        context = await self._tokens(call.context) or []
        whole = await self._tokens(call.context + call.continuation) or []
        forced = whole[len(context) :]
        grammar = "root ::= " + " ".join(f"<[{token}]>" for token in forced)
        done = await self._client.completions.create(
            model=self.expert.model,
            prompt=whole[: len(context)],
            max_tokens=len(forced),
            logprobs=1,
            temperature=0,
            extra_body={"grammar": grammar, "cache_prompt": True},
        )
        told = getattr(done.choices[0].logprobs, "content", None) or []
        followed = [one["id"] for one in told] == forced
        return ClientReply(
            _usage(done.usage), logprob=sum(one["logprob"] for one in told) if followed else None
        )

    async def _tokens(self, text: str) -> list[int] | None:
        """Tokens by llama.cpp's own ``/tokenize``; ``None`` from any other server."""
        from openai import APIStatusError

        if self.expert.base_url is None:
            return None
        address = self.expert.base_url.rstrip("/").removesuffix("/v1") + "/tokenize"
        try:
            told: Any = await self._client.post(
                address, cast_to=object, body={"content": text, "add_special": True}
            )
        except APIStatusError as error:
            if is_transient(error):
                raise
            return None
        tokens = told.get("tokens") if isinstance(told, Mapping) else None
        return tokens if isinstance(tokens, list) else None


class LocalModel:
    """An expert in this process: ``provider = "huggingface"``.

    Its ``model`` is a folder, a hub id, a ``.gguf`` file or ``embedded:smollm2-135m-instruct``.

    Raises:
        ConfigurationError: The model cannot be loaded.
    """

    def __init__(self, expert: Expert, dtype: str = "float32") -> None:
        self.expert, self._dtype, self._lock = expert, dtype, threading.Lock()

    async def answer(self, call: Call, max_tokens: int) -> ClientReply:
        """The reply; see :class:`Client`."""
        return await off_loop(lambda: self._answer(call, max_tokens))

    def _answer(self, call: Call, max_tokens: int) -> ClientReply:
        with self._lock:
            return (
                self._chat(call, max_tokens) if isinstance(call, Chat) else self._likelihood(call)
            )

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from routoo_core.predictor.encoder import EMBEDDED, best_device, pretrained

        name = self.expert.model
        source, where = pretrained(name)
        try:
            with embedded.quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(source, **where)
                model: Any = AutoModelForCausalLM.from_pretrained(
                    source, dtype=getattr(torch, self._dtype), **where
                )
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"expert {self.expert.name!r}: model {name!r} cannot be loaded ({str(error).splitlines()[0]}); give a "
                f"folder, a hub id that can be reached, or {EMBEDDED}"
            ) from error
        return tokenizer, model.eval().to(device=best_device())

    def _likelihood(self, call: Likelihood) -> ClientReply:
        import torch

        tokenizer, model = self._loaded
        context, whole = (
            tokenizer(text)["input_ids"]
            for text in (call.context, call.context + call.continuation)
        )
        with torch.inference_mode():
            ids = torch.tensor([whole], device=model.device)
            logits = model(ids).logits[0, len(context) - 1 : -1].float()
            told = logits.log_softmax(-1).gather(1, ids[0, len(context) :, None])
        return ClientReply(Usage(len(whole), 0), logprob=float(told.sum()))

    def _chat(self, call: Chat, max_tokens: int) -> ClientReply:
        import torch

        tokenizer, model = self._loaded
        messages = [{"role": role, "content": text} for role, text in call.messages]
        if tokenizer.chat_template:
            prompt = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            prompt = tokenizer("\n\n".join(text for _, text in call.messages), return_tensors="pt")
        prompt = prompt.to(model.device)
        sampling = (
            {"do_sample": True, "temperature": call.temperature}
            if call.temperature
            else {"do_sample": False}
        )
        start = prompt["input_ids"].shape[1]
        with torch.inference_mode():
            written = model.generate(
                prompt["input_ids"],
                attention_mask=prompt["attention_mask"],
                max_new_tokens=max_tokens,
                **sampling,
            )[0, start:]
        return ClientReply(
            Usage(start, len(written)), tokenizer.decode(written, skip_special_tokens=True)
        )


CLIENTS: Mapping[str | None, Callable[[Expert], ExpertClient]] = {
    None: EndpointClient,
    "openai": EndpointClient,
    "huggingface": LocalModel,
}
"""``provider`` of an expert → how it is asked."""


def make_clients(experts: Sequence[Expert]) -> dict[str, ExpertClient]:
    """A client for each expert, by name.

    Raises:
        ConfigurationError: A provider that cannot be asked here, or an API key that is not in the environment.
    """
    for expert in experts:
        expert.check_key()
        if expert.provider not in CLIENTS:
            known = ", ".join(str(name) for name in CLIENTS if name)
            raise ConfigurationError(
                f"expert {expert.name!r}: provider: {expert.provider!r} cannot be scored; choose one of {known}, or "
                "give the base_url of an endpoint that speaks OpenAI's protocol"
            )
    return {expert.name: CLIENTS[expert.provider](expert) for expert in experts}


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    status = status_of(error)
    return another_may_succeed(error) if status is None else status in _PASSING or status >= 500


def _usage(told: Any) -> Usage | None:
    if told is None:
        return None
    details = getattr(told, "prompt_tokens_details", None)
    return Usage(
        told.prompt_tokens, told.completion_tokens, getattr(details, "cached_tokens", None) or 0
    )
