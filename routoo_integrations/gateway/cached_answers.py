"""Answers from the cache as chat completions, which every caller's protocol has a form for."""

from __future__ import annotations

import secrets
import time
from typing import Any

from routoo_core.answer_cache.answers import StoredAnswer
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.openai_replies import openai_usage

_ID_BYTES = 12
_WHOLE = "stop"
"""Why every answer in the cache ended, in OpenAI's word."""


def cached_completion(answer: StoredAnswer) -> JsonObject:
    """A whole reply; its usage is what the answer took when it was written."""
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _WHOLE}
    return _completion(answer, "chat.completion", choice)


def cached_chunk(answer: StoredAnswer) -> JsonObject:
    """The same as the only chunk of a stream."""
    delta = {"role": "assistant", "content": answer.text}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": _WHOLE}
    return _completion(answer, "chat.completion.chunk", choice)


def _completion(answer: StoredAnswer, kind: str, choice: dict[str, Any]) -> JsonObject:
    completion: JsonObject = {
        "id": f"chatcmpl-{secrets.token_hex(_ID_BYTES)}",
        "object": kind,
        "created": int(time.time()),
        "model": answer.answered_model or answer.model,
        "choices": [choice],
    }
    if answer.usage is not None:
        completion["usage"] = openai_usage(answer.usage)
    return completion
