"""OpenAI's models at Azure, with the limit on a reply under the name that the deployment knows."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_openai import AzureChatOpenAI

from routoo_core.endpoint import ReplyLimitParameter

_REPLY_LIMITS = ("max_tokens", "max_completion_tokens")


class AzureModel(AzureChatOpenAI):
    """LangChain's model of an Azure deployment.

    Attributes:
        reply_limit_parameter: What the deployment calls the limit on a reply.
    """

    reply_limit_parameter: ReplyLimitParameter = "max_tokens"

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        limits = [payload.pop(name) for name in _REPLY_LIMITS if payload.get(name) is not None]
        if limits:
            payload[self.reply_limit_parameter] = min(limits)
        return payload
