"""Answers from Routoo's cache in LangChain's form, and what a call asks in words that the cache compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata

from routoo_core.answer_cache.answers import StoredAnswer
from routoo_core.usage import Usage
from routoo_integrations.call_arguments import other_keywords
from routoo_integrations.langchain.messages import RECORD_KEY, openai_messages

_REPLY_FIELDS = frozenset({RECORD_KEY, "refusal", "parsed"})
"""Additional keywords of a reply that are not sent back."""


def query_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Messages in OpenAI's form, with all of what an expert may read in them."""
    plain_messages = []
    for message, plain in zip(messages, openai_messages(messages), strict=True):
        if message.name:
            plain["name"] = message.name
        extra = other_keywords(message.additional_kwargs, _REPLY_FIELDS)
        if extra:
            plain["additional_kwargs"] = extra
        if isinstance(message, AIMessage) and isinstance(message.content, list):
            plain["content"] = _without_places(message.content)
        plain_messages.append(plain)
    return plain_messages


def _without_places(content: Sequence[Any]) -> list[Any]:
    """Content blocks without the ids and places that a provider gave them."""
    blocks = []
    for block in content:
        if isinstance(block, dict):
            block = {name: value for name, value in block.items() if name not in {"id", "index"}}
        blocks.append(block)
    return blocks


def cached_metadata(answer: StoredAnswer) -> dict[str, Any]:
    """What a reply's ``response_metadata`` says of an answer from the cache."""
    metadata: dict[str, Any] = {"model_name": answer.answered_model or answer.model}
    if answer.end:
        metadata["finish_reason"] = answer.end
    return metadata


def usage_metadata(usage: Usage | None) -> UsageMetadata | None:
    """Usage in LangChain's form: what the answer took when it was written."""
    if usage is None:
        return None
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        input_token_details=InputTokenDetails(cache_read=usage.cached_tokens),
        output_token_details=OutputTokenDetails(reasoning=usage.reasoning_tokens),
    )
