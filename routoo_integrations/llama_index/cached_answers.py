"""Answers from Routoo's cache in LlamaIndex's form, and what a call asks in words that the cache compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage

from routoo_core.answer_cache.answers import StoredAnswer
from routoo_integrations.call_arguments import other_keywords
from routoo_integrations.llama_index.messages import MARK_KEY, router_messages

_REPLY_FIELDS = frozenset({MARK_KEY, "refusal"})
"""Additional keywords of a reply that are not sent back."""


def query_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Messages in OpenAI's form, with all of what an expert may read in them."""
    plain_messages = []
    for message, plain in zip(messages, router_messages(messages), strict=True):
        extra = other_keywords(message.additional_kwargs, _REPLY_FIELDS)
        if extra:
            plain["additional_kwargs"] = extra
        plain_messages.append(plain)
    return plain_messages


def cached_raw(answer: StoredAnswer) -> dict[str, Any]:
    """What stands in the place of the provider's own reply."""
    raw: dict[str, Any] = {"model": answer.answered_model or answer.model}
    if answer.end:
        raw["finish_reason"] = answer.end
    return raw


def cached_usage(answer: StoredAnswer) -> dict[str, Any]:
    """The tokens that the answer took when it was written, where LlamaIndex's LLMs put them."""
    usage = answer.usage
    if usage is None:
        return {}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
