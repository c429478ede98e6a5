"""Experts behind an endpoint that speaks OpenAI's protocol over HTTP."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any

from routoo_core.asking.calls import Call, Chat, ClientReply
from routoo_core.asking.likelihoods import LikelihoodProtocol, choose_likelihood_protocol
from routoo_core.endpoint import NO_KEY
from routoo_core.experts import Expert
from routoo_core.usage import read_usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class EndpointClient:
    """Calls an expert over HTTP.

    Chats are chat completions. Likelihoods are asked for in a way that the endpoint supports.
    """

    def __init__(self, expert: Expert) -> None:
        self.expert = expert
        self._likelihood: LikelihoodProtocol | None = None
        self._likelihood_lock = asyncio.Lock()

    @cached_property
    def _api(self) -> AsyncOpenAI:
        from openai import AsyncAzureOpenAI, AsyncOpenAI

        settings: dict[str, Any] = {
            "api_key": self.expert.api_key() or NO_KEY,
            "timeout": self.expert.timeout_s,
            "max_retries": 0,
        }
        if self.expert.is_azure:
            return AsyncAzureOpenAI(**settings, **self.expert.azure_settings)
        return AsyncOpenAI(base_url=self.expert.base_url, **settings)

    async def answer(self, call: Call, max_tokens: int) -> ClientReply:
        """The reply; see :class:`~routoo_core.asking.calls.ExpertClient`."""
        if isinstance(call, Chat):
            return await self._chat(call, max_tokens)
        protocol = await self._likelihood_protocol()
        return await protocol.answer(call)

    async def _chat(self, call: Chat, max_tokens: int) -> ClientReply:
        settings: dict[str, Any] = {self.expert.limits_replies_by: max_tokens}
        if call.temperature is not None:
            settings["temperature"] = call.temperature
        messages: Any = [{"role": role, "content": text} for role, text in call.messages]
        completion = await self._api.chat.completions.create(
            model=self.expert.model, messages=messages, **settings
        )

        text = ""
        if completion.choices:
            text = completion.choices[0].message.content or ""
        return ClientReply(read_usage(completion), text)

    async def _likelihood_protocol(self) -> LikelihoodProtocol:
        """The way in which this endpoint reports likelihoods, probed once."""
        async with self._likelihood_lock:
            if self._likelihood is None:
                self._likelihood = await choose_likelihood_protocol(self.expert, self._api)
        return self._likelihood
