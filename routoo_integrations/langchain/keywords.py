"""The arguments of the chat model beside its router, for type checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypedDict

from langchain_core.caches import BaseCache
from langchain_core.callbacks import Callbacks
from langchain_core.language_models import ModelProfile
from langchain_core.rate_limiters import BaseRateLimiter


class ChatModelKeywords(TypedDict, total=False):
    """Keyword arguments of a chat model other than its router; see :class:`.chat_model.RoutooChatModel`."""

    account: str | None
    max_tokens: int | None
    temperature: float | None
    stop: list[str] | None
    timeout: float | None
    max_retries: int | None
    streaming: bool | None
    question_of: Callable[[str], str] | None
    name: str | None
    cache: BaseCache | bool | None
    verbose: bool | None
    callbacks: Callbacks
    tags: list[str] | None
    metadata: dict[str, Any] | None
    custom_get_token_ids: Callable[[str], list[int]] | None
    rate_limiter: BaseRateLimiter | None
    disable_streaming: bool | Literal["tool_calling"]
    output_version: str | None
    profile: ModelProfile | None
