"""How endpoints of OpenAI's protocol report the likelihood of a text: a class for each way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from routoo_core.asking.calls import ClientReply, Likelihood
from routoo_core.experts import Expert
from routoo_core.failures import read_failure
from routoo_core.usage import read_usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class LikelihoodProtocol(Protocol):
    """One way in which an endpoint reports log-probabilities of a continuation."""

    async def is_supported(self) -> bool:
        """Whether the endpoint works this way; the question costs nothing."""
        ...

    async def answer(self, call: Likelihood) -> ClientReply:
        """The continuation's log-probability; ``None`` where the endpoint does not report it."""
        ...


class GrammarLikelihood:
    """llama.cpp: a grammar forces it to write the continuation.

    It does not score prompts, but it reports the log-probabilities of tokens that it writes.
    """

    def __init__(self, expert: Expert, api: AsyncOpenAI) -> None:
        self._expert = expert
        self._api = api

    async def is_supported(self) -> bool:
        """Only llama.cpp has ``/tokenize``."""
        return await self._tokenize("a") is not None

    async def answer(self, call: Likelihood) -> ClientReply:
        """The log-probability of the continuation's tokens, which the endpoint is made to write."""
        context = await self._tokenize(call.context) or []
        tokens = await self._tokenize(call.context + call.continuation) or []
        continuation = tokens[len(context) :]
        completion = await self._api.completions.create(
            model=self._expert.model,
            prompt=tokens[: len(context)],
            max_tokens=len(continuation),
            logprobs=1,
            temperature=0,
            extra_body={"grammar": _forcing_grammar(continuation), "cache_prompt": True},
        )

        logprobs = getattr(completion.choices[0].logprobs, "content", None) or []
        token_ids = [token["id"] for token in logprobs]
        logprob = None
        if token_ids == continuation:
            logprob = sum(token["logprob"] for token in logprobs)
        return ClientReply(read_usage(completion), logprob=logprob)

    async def _tokenize(self, text: str) -> list[int] | None:
        """Token ids by llama.cpp's own ``/tokenize``; ``None`` from any other server."""
        from openai import APIStatusError

        if self._expert.base_url is None:
            return None
        address = self._expert.base_url.rstrip("/").removesuffix("/v1") + "/tokenize"
        body = {"content": text, "add_special": True}
        try:
            reply: Any = await self._api.post(address, cast_to=object, body=body)
        except APIStatusError as error:
            if read_failure(error).may_succeed_later:
                raise
            return None
        tokens = reply.get("tokens") if isinstance(reply, Mapping) else None
        return tokens if isinstance(tokens, list) else None


class EchoLikelihood:
    """vLLM, SGLang, OpenAI: completions echo the prompt with log-probabilities of its tokens."""

    def __init__(self, expert: Expert, api: AsyncOpenAI) -> None:
        self._expert = expert
        self._api = api

    async def is_supported(self) -> bool:
        """Every endpoint is assumed to; the first answer shows whether it does."""
        return True

    async def answer(self, call: Likelihood) -> ClientReply:
        """The log-probability of the continuation as a part of the prompt."""
        text = call.context + call.continuation
        completion = await self._api.completions.create(
            model=self._expert.model,
            prompt=text,
            echo=True,
            logprobs=1,
            max_tokens=1,
            temperature=0,
        )

        likelihoods = completion.choices[0].logprobs if completion.choices else None
        logprob = None
        if likelihoods is not None:
            logprob = _sum_between(
                likelihoods.text_offset or (),
                likelihoods.token_logprobs or (),
                len(call.context),
                len(text),
            )
        return ClientReply(read_usage(completion), logprob=logprob)


LIKELIHOODS: dict[str, Callable[[Expert, AsyncOpenAI], LikelihoodProtocol]] = {
    "grammar": GrammarLikelihood,
}
"""Ways that are probed, in this order, before an endpoint is assumed to echo prompts."""


async def choose_likelihood_protocol(expert: Expert, api: AsyncOpenAI) -> LikelihoodProtocol:
    """The first of ``LIKELIHOODS`` that the endpoint supports, else :class:`EchoLikelihood`."""
    for make_protocol in LIKELIHOODS.values():
        protocol = make_protocol(expert, api)
        if await protocol.is_supported():
            return protocol
    return EchoLikelihood(expert, api)


def _forcing_grammar(tokens: Sequence[int]) -> str:
    """A grammar in llama.cpp's form whose only text is these tokens."""
    terminals = [f"<[{token}]>" for token in tokens]
    return "root ::= " + " ".join(terminals)


def _sum_between(
    offsets: Sequence[int], logprobs: Sequence[float | None], start: int, end: int
) -> float | None:
    """The summed log-probabilities of the tokens that overlap characters ``start`` to ``end``.

    ``None`` where there is no such token, or one without a log-probability.
    """
    tokens = list(zip(offsets, logprobs, strict=False))
    if not tokens:
        return None
    token_ends = [offset for offset, _ in tokens[1:]]
    token_ends.append(end + 1)

    inside = []
    for (offset, logprob), token_end in zip(tokens, token_ends, strict=True):
        if offset >= end or token_end <= start:
            continue
        if logprob is None:
            return None
        inside.append(logprob)
    return sum(inside) if inside else None
