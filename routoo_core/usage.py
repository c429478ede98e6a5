"""What a call consumed, in tokens, and where providers report it.

A provider that reports usage in a form of its own takes one function and one line of :data:`USAGE_FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, by every kind that can have a price of its own.

    The first two are totals; each of the others is a part of one of them.

    Attributes:
        prompt_tokens: The whole prompt; 0 where it is not known, since no prompt is empty.
        completion_tokens: Everything the expert wrote, its reasoning included.
        cached_tokens: Part of the prompt that was read from the provider's cache.
        cache_write_tokens: Part of the prompt that was written into the provider's cache, for however long.
        audio_input_tokens: Part of the prompt that was audio.
        reasoning_tokens: Part of the completion that was reasoning.
        audio_output_tokens: Part of the completion that was audio.
        cache_write_1h_tokens: Part of ``cache_write_tokens`` that the cache keeps for an hour.
        cached_audio_tokens: Part of the prompt that was audio and read from the cache.
        image_output_tokens: Part of the completion that was images.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    audio_input_tokens: int = 0
    reasoning_tokens: int = 0
    audio_output_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cached_audio_tokens: int = 0
    image_output_tokens: int = 0


def read_usage(reply: Any) -> Usage | None:
    """The usage that a reply reports, or that is itself a report of usage.

    Objects and plain dictionaries are read alike: replies of OpenAI, Anthropic, Google and Ollama, of LangChain
    (``usage_metadata``) and of LlamaIndex (``raw``, ``additional_kwargs``).

    Returns:
        ``None`` where nothing is reported.
    """
    for report in _reports(reply):
        if report is None:
            continue
        for read_form in USAGE_FORMS:
            usage = read_form(report)
            if usage is not None:
                return usage
    return None


# Where a reply holds its report


def _reports(reply: Any) -> Iterator[Any]:
    """What may be a report of usage, the likeliest first."""
    raw = _field(reply, "raw")  # LlamaIndex: the provider's own reply
    if raw is not None:
        yield _field(raw, "usage")
        yield _field(raw, "usage_metadata")
        yield _field(reply, "additional_kwargs")  # LlamaIndex: what its integrations counted
        yield raw
        return  # every piece of a stream comes by here

    yield _field(reply, "additional_kwargs")
    yield _field(reply, "usage")  # OpenAI, Anthropic
    yield _field(reply, "usage_metadata")  # Google, LangChain
    yield reply


# The forms of a report


def _read_openai(report: Any) -> Usage | None:
    """OpenAI's chat completions and everything that copies them; cached tokens are part of the prompt."""
    totals = _totals(report, "prompt_tokens", "completion_tokens")
    if totals is None:
        return None
    prompt, completion = totals

    details = _field(report, "prompt_tokens_details")
    cached = _count(report, "cached_tokens") or _count(details, "cached_tokens") or 0
    return Usage(prompt, completion, min(cached, prompt))


def _read_anthropic(report: Any) -> Usage | None:
    """Anthropic's messages: tokens read from the cache and written into it come on top of ``input_tokens``."""
    totals = _totals(report, "input_tokens", "output_tokens")
    if totals is None:
        return None
    uncached, completion = totals
    cached = _count(report, "cache_read_input_tokens")
    cache_write = _count(report, "cache_creation_input_tokens")
    if cached is None and cache_write is None:
        return None

    prompt = uncached + (cached or 0) + (cache_write or 0)
    return Usage(prompt, completion, cached or 0, cache_write_tokens=cache_write or 0)


def _read_langchain(report: Any) -> Usage | None:
    """LangChain's ``UsageMetadata``, and OpenAI's responses; cached tokens are part of the input."""
    totals = _totals(report, "input_tokens", "output_tokens")
    if totals is None:
        return None
    prompt, completion = totals

    prompt_details = _field(report, "input_token_details")
    completion_details = _field(report, "output_token_details")
    cached = (
        _count(report, "cached_tokens")
        or _count(prompt_details, "cache_read")
        or _count(_field(report, "input_tokens_details"), "cached_tokens")
        or 0
    )
    return Usage(
        prompt,
        completion,
        min(cached, prompt),
        cache_write_tokens=_count(prompt_details, "cache_creation") or 0,
        audio_input_tokens=_count(prompt_details, "audio") or 0,
        reasoning_tokens=_count(completion_details, "reasoning") or 0,
        audio_output_tokens=_count(completion_details, "audio") or 0,
    )


def _read_google(report: Any) -> Usage | None:
    """Gemini's ``usage_metadata``; cached tokens are part of the prompt."""
    totals = _totals(report, "prompt_token_count", "candidates_token_count")
    if totals is None:
        return None
    prompt, completion = totals

    cached = _count(report, "cached_content_token_count") or 0
    return Usage(prompt, completion, min(cached, prompt))


def _read_ollama(report: Any) -> Usage | None:
    """Ollama's native reply."""
    totals = _totals(report, "prompt_eval_count", "eval_count")
    if totals is None:
        return None
    prompt, completion = totals
    return Usage(prompt, completion)


USAGE_FORMS: tuple[Callable[[Any], Usage | None], ...] = (
    _read_openai,
    _read_anthropic,
    _read_langchain,
    _read_google,
    _read_ollama,
)
"""Readers of one form each, tried in this order; ``None`` means that the report has another form."""


def _totals(report: Any, prompt_name: str, completion_name: str) -> tuple[int, int] | None:
    """Tokens of the prompt and of the completion; ``None`` where a field is absent."""
    prompt = _count(report, prompt_name)
    if prompt is None:
        return None
    completion = _count(report, completion_name)
    if completion is None:
        return None
    return prompt, completion


def _field(holder: Any, name: str) -> Any:
    """A field of an object or of a dictionary; ``None`` where it has none."""
    if isinstance(holder, Mapping):
        return holder.get(name)
    return getattr(holder, name, None)


def _count(holder: Any, name: str) -> int | None:
    """A number of tokens; ``None`` where the field is absent or holds something else."""
    value = _field(holder, name)
    return value if isinstance(value, int) else None
