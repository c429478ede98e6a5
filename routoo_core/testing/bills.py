"""The bills of a fake endpoint, which its replies may misreport, and the forms in which providers report usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routoo_core.usage import Usage

JsonObject = dict[str, Any]

NOTHING = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class Bill:
    """What one request costs its caller, by the endpoint's own count.

    Attributes:
        request: The body of the request.
        tokens: Billed, by kind; all zero where the endpoint did no work.
        reported: The usage as it was sent, the last where it was sent several times; ``None`` where none was.
    """

    request: Mapping[str, Any]
    tokens: Usage
    reported: Any = None

    @property
    def model(self) -> str:
        """The model that was asked."""
        return str(self.request.get("model", ""))


# Forms of a report, for ``Reply(usage=…)``


def openai_usage(tokens: Usage) -> JsonObject:
    """Tokens as OpenAI reports them: reasoning is part of the completion, details only where there are any."""
    usage: JsonObject = {
        "prompt_tokens": tokens.prompt_tokens,
        "completion_tokens": tokens.completion_tokens,
        "total_tokens": tokens.prompt_tokens + tokens.completion_tokens,
    }
    prompt_details = {
        "cached_tokens": tokens.cached_tokens,
        "audio_tokens": tokens.audio_input_tokens,
    }
    completion_details = {
        "reasoning_tokens": tokens.reasoning_tokens,
        "audio_tokens": tokens.audio_output_tokens,
    }
    for name, details in (
        ("prompt_tokens_details", prompt_details),
        ("completion_tokens_details", completion_details),
    ):
        present = {kind: count for kind, count in details.items() if count}
        if present:
            usage[name] = present
    return usage


def reasoning_beside(tokens: Usage) -> JsonObject:
    """Tokens as xAI reports them: reasoning stands beside the completion, and only the total counts it."""
    usage = openai_usage(tokens)
    usage["completion_tokens"] -= tokens.reasoning_tokens
    return usage


def total_only(tokens: Usage) -> JsonObject:
    """Tokens with a total that exceeds its parts: what was not in the text is counted nowhere else."""
    usage = reasoning_beside(tokens)
    usage.pop("completion_tokens_details", None)
    return usage


def as_floats(tokens: Usage) -> JsonObject:
    """Tokens as numbers with a point, as gateways written in JavaScript and Lua report them."""
    usage = openai_usage(tokens)
    return {name: float(count) for name, count in usage.items() if isinstance(count, int)}


def as_texts(tokens: Usage) -> JsonObject:
    """Tokens as texts of digits."""
    usage = openai_usage(tokens)
    return {name: str(count) for name, count in usage.items() if isinstance(count, int)}
