"""What a call consumed, in tokens, and where providers report it.

A provider that reports usage in a form of its own takes one function and one line of :data:`USAGE_FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
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

    def filled(self, estimate: Usage) -> Usage:
        """This usage, with the totals that nothing was said of taken from an estimate."""
        return replace(
            self,
            prompt_tokens=self.prompt_tokens or estimate.prompt_tokens,
            completion_tokens=self.completion_tokens or estimate.completion_tokens,
        )

    def prompt_only(self) -> Usage:
        """The part of this usage that was read, as if nothing had been written."""
        return replace(
            self,
            completion_tokens=0,
            reasoning_tokens=0,
            audio_output_tokens=0,
            image_output_tokens=0,
        )

    def at_least(self, other: Usage) -> Usage:
        """The larger count of each kind: what two reports that both count from the beginning say together."""
        counts = {}
        for kind in fields(self):
            counts[kind.name] = max(getattr(self, kind.name), getattr(other, kind.name))
        return Usage(**counts)

    def plus(self, other: Usage) -> Usage:
        """The sum of each kind: what two reports of different parts say together."""
        counts = {}
        for kind in fields(self):
            counts[kind.name] = getattr(self, kind.name) + getattr(other, kind.name)
        return Usage(**counts)


def read_usage(reply: Any) -> Usage | None:
    """The usage that a reply reports, or that is itself a report of usage.

    Objects and plain dictionaries are read alike: replies of OpenAI, Anthropic, Google, Amazon, Cohere and Ollama, of
    LangChain (``usage_metadata``) and of LlamaIndex (``raw``, ``additional_kwargs``).

    Returns:
        ``None`` where nothing is reported, or only zeros. A total of 0 is one that nothing was said of.
    """
    for report in _reports(reply):
        if report is None:
            continue
        for read_form in USAGE_FORMS:
            usage = read_form(report)
            if usage is not None:
                return usage
    return None


# The reports of one stream


def usage_so_far(earlier: Usage | None, report: Usage | None) -> Usage | None:
    """What a stream has used, by reports that each count from the beginning.

    So do the providers' own: OpenAI's and Google's in every chunk, Anthropic's first of the prompt and last of the
    reply.
    """
    if earlier is None or report is None:
        return report or earlier
    return earlier.at_least(report)


def usage_with_part(earlier: Usage | None, report: Usage | None) -> Usage | None:
    """What a stream has used, by reports of LangChain's chunks, which it adds up.

    Some integrations make parts of what their provider counts from the beginning, others hand it on as it is. A
    report that counts the prompt again counts from the beginning.
    """
    if earlier is None or report is None:
        return report or earlier
    if report.prompt_tokens and report.prompt_tokens >= earlier.prompt_tokens:
        return earlier.at_least(report)
    return earlier.plus(report)


# Where a reply holds its report


def _reports(reply: Any) -> Iterator[Any]:
    """What may be a report of usage, the likeliest first."""
    raw = field_of(reply, "raw")  # LlamaIndex: the provider's own reply
    if raw is not None:
        yield from _own_reports(raw)
        yield field_of(reply, "additional_kwargs")  # LlamaIndex: what its integrations counted
        yield raw
        return  # every piece of a stream comes by here

    yield field_of(reply, "additional_kwargs")
    yield from _own_reports(reply)
    yield reply


def _own_reports(reply: Any) -> Iterator[Any]:
    """Where a provider's own reply, or an event of its stream, holds its report."""
    usage = field_of(reply, "usage")  # OpenAI, Anthropic, Amazon
    yield usage
    yield field_of(usage, "tokens")  # Cohere
    yield field_of(reply, "usage_metadata")  # Google, LangChain
    yield field_of(reply, "usageMetadata")  # Google's JSON
    yield field_of(field_of(reply, "message"), "usage")  # Anthropic: the first event of a stream
    yield field_of(field_of(reply, "response"), "usage")  # OpenAI: the last event of a response


# The forms of a report


def _read_openai(report: Any) -> Usage | None:
    """OpenAI's chat completions and everything that copies them.

    Cached tokens are part of the prompt. Reasoning is part of the completion, but xAI and others count it beside.
    """
    if not _has_any(report, "prompt_tokens", "completion_tokens"):
        return None
    prompt_details = field_of(report, "prompt_tokens_details")
    completion_details = field_of(report, "completion_tokens_details")
    cache_read = (
        _count(report, "cached_tokens")
        or _count(prompt_details, "cached_tokens")
        or _count(report, "prompt_cache_hit_tokens")  # DeepSeek
        or _count(report, "cache_read_input_tokens")  # gateways to Anthropic
    )
    cache_write = (
        _count(prompt_details, "cache_write_tokens")
        or _count(prompt_details, "cache_creation_tokens")
        or _count(report, "cache_creation_input_tokens")
    )
    reasoning = _count(completion_details, "reasoning_tokens") or _count(report, "reasoning_tokens")
    usage = Usage(
        prompt_tokens=_count(report, "prompt_tokens"),
        completion_tokens=_count(report, "completion_tokens"),
        cached_tokens=cache_read,
        cache_write_tokens=cache_write,
        audio_input_tokens=_count(prompt_details, "audio_tokens"),
        reasoning_tokens=reasoning,
        audio_output_tokens=_count(completion_details, "audio_tokens"),
        image_output_tokens=_count(completion_details, "image_tokens"),
    )
    return _whole(usage, _count(report, "total_tokens"))


def _read_anthropic(report: Any) -> Usage | None:
    """Anthropic's messages: tokens read from the cache and written into it come on top of ``input_tokens``."""
    if not _has_any(report, "cache_read_input_tokens", "cache_creation_input_tokens"):
        return None
    if not _has_any(report, "input_tokens", "output_tokens"):
        return None
    cache_read = _count(report, "cache_read_input_tokens")
    by_duration = field_of(report, "cache_creation")
    cache_write_1h = _count(by_duration, "ephemeral_1h_input_tokens")
    cache_write_5m = _count(by_duration, "ephemeral_5m_input_tokens")
    cache_write = max(
        _count(report, "cache_creation_input_tokens"), cache_write_1h + cache_write_5m
    )
    usage = Usage(
        prompt_tokens=_count(report, "input_tokens") + cache_read + cache_write,
        completion_tokens=_count(report, "output_tokens"),
        cached_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=_count(field_of(report, "output_tokens_details"), "thinking_tokens"),
        cache_write_1h_tokens=cache_write_1h,
    )
    return _whole(usage)


def _read_langchain(report: Any) -> Usage | None:
    """LangChain's ``UsageMetadata``, and OpenAI's responses; cached tokens are part of the input."""
    if not _has_any(report, "input_tokens", "output_tokens"):
        return None
    prompt_details = field_of(report, "input_token_details")
    completion_details = field_of(report, "output_token_details")
    own_prompt_details = field_of(report, "input_tokens_details")  # OpenAI's responses
    own_completion_details = field_of(report, "output_tokens_details")
    cache_read = (
        _count(report, "cached_tokens")
        or _count_in_any_tier(prompt_details, "cache_read")
        or _count(own_prompt_details, "cached_tokens")
    )
    cache_write_1h = _count(prompt_details, "ephemeral_1h_input_tokens")
    cache_write_5m = _count(prompt_details, "ephemeral_5m_input_tokens")
    cache_write = max(
        _count_in_any_tier(prompt_details, "cache_creation")
        or _count(own_prompt_details, "cache_write_tokens"),
        cache_write_1h + cache_write_5m,
    )
    reasoning = _count_in_any_tier(completion_details, "reasoning") or _count(
        own_completion_details, "reasoning_tokens"
    )
    usage = Usage(
        prompt_tokens=_count(report, "input_tokens"),
        completion_tokens=_count(report, "output_tokens"),
        cached_tokens=cache_read,
        cache_write_tokens=cache_write,
        audio_input_tokens=_count(prompt_details, "audio"),
        reasoning_tokens=reasoning,
        audio_output_tokens=_count(completion_details, "audio"),
        cache_write_1h_tokens=cache_write_1h,
        image_output_tokens=_count(completion_details, "image"),
    )
    return _whole(usage, _count(report, "total_tokens"))


def _read_google(report: Any) -> Usage | None:
    """Gemini's usage; cached tokens are part of the prompt, thoughts come on top of the candidates."""
    names = _GOOGLE_NAMES if _has_any(report, *_GOOGLE_NAMES.totals) else _GOOGLE_JSON_NAMES
    if not _has_any(report, *names.totals):
        return None
    thoughts = _count(report, names.thoughts)
    usage = Usage(
        prompt_tokens=_count(report, names.prompt) + _count(report, names.tool_use),
        completion_tokens=_count(report, names.candidates) + thoughts,
        cached_tokens=_count(report, names.cached),
        audio_input_tokens=_count_of_modality(report, names.prompt_details, "AUDIO"),
        reasoning_tokens=thoughts,
        audio_output_tokens=_count_of_modality(report, names.candidates_details, "AUDIO"),
        cached_audio_tokens=_count_of_modality(report, names.cached_details, "AUDIO"),
        image_output_tokens=_count_of_modality(report, names.candidates_details, "IMAGE"),
    )
    return _whole(usage, _count(report, names.total))


@dataclass(frozen=True, slots=True)
class _GoogleNames:
    """Google's names of its counts, as its packages and its JSON spell them."""

    prompt: str
    candidates: str
    thoughts: str
    tool_use: str
    cached: str
    total: str
    prompt_details: str
    candidates_details: str
    cached_details: str

    @property
    def totals(self) -> tuple[str, ...]:
        """Names of totals; every usage report has at least one of them."""
        return self.prompt, self.candidates, self.thoughts, self.total


_GOOGLE_NAMES = _GoogleNames(
    prompt="prompt_token_count",
    candidates="candidates_token_count",
    thoughts="thoughts_token_count",
    tool_use="tool_use_prompt_token_count",
    cached="cached_content_token_count",
    total="total_token_count",
    prompt_details="prompt_tokens_details",
    candidates_details="candidates_tokens_details",
    cached_details="cache_tokens_details",
)
_GOOGLE_JSON_NAMES = _GoogleNames(
    prompt="promptTokenCount",
    candidates="candidatesTokenCount",
    thoughts="thoughtsTokenCount",
    tool_use="toolUsePromptTokenCount",
    cached="cachedContentTokenCount",
    total="totalTokenCount",
    prompt_details="promptTokensDetails",
    candidates_details="candidatesTokensDetails",
    cached_details="cacheTokensDetails",
)


def _read_amazon(report: Any) -> Usage | None:
    """Bedrock's Converse: tokens read from the cache and written into it come on top of ``inputTokens``."""
    if not _has_any(report, "inputTokens", "outputTokens"):
        return None
    cache_read = _count(report, "cacheReadInputTokens")
    cache_write = _count(report, "cacheWriteInputTokens")
    usage = Usage(
        prompt_tokens=_count(report, "inputTokens") + cache_read + cache_write,
        completion_tokens=_count(report, "outputTokens"),
        cached_tokens=cache_read,
        cache_write_tokens=cache_write,
    )
    return _whole(usage, _count(report, "totalTokens"))


def _read_ollama(report: Any) -> Usage | None:
    """Ollama's native reply."""
    if not _has_any(report, "prompt_eval_count", "eval_count"):
        return None
    return _whole(Usage(_count(report, "prompt_eval_count"), _count(report, "eval_count")))


USAGE_FORMS: tuple[Callable[[Any], Usage | None], ...] = (
    _read_openai,
    _read_anthropic,
    _read_langchain,
    _read_google,
    _read_amazon,
    _read_ollama,
)
"""Readers of one form each, tried in this order; ``None`` means that the report has another form or says nothing."""


def _whole(usage: Usage, total: int = 0) -> Usage | None:
    """A usage whose totals hold everything that is said to be part of them.

    Args:
        usage: As reported.
        total: Of prompt and reply together, as reported. Tokens beyond both are the reply's: reasoning, counted beside.

    Returns:
        ``None`` where only zeros were reported, which say nothing.
    """
    completion = usage.completion_tokens
    if usage.reasoning_tokens > completion:
        completion += usage.reasoning_tokens
    completion = max(completion, total - usage.prompt_tokens)
    prompt = usage.prompt_tokens or max(usage.cached_tokens, usage.cache_write_tokens)
    if not prompt and not completion:
        return None
    return replace(
        usage,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=min(usage.cached_tokens, prompt),
    )


def field_of(holder: Any, name: str) -> Any:
    """A field of an object or of a dictionary; ``None`` where it has none."""
    if holder is None:
        return None
    if isinstance(holder, dict | Mapping):  # dict first: an abstract class is slow to ask
        return holder.get(name)
    return getattr(holder, name, None)


def _has_any(report: Any, *names: str) -> bool:
    """Whether a report has one of these fields, with whatever value."""
    if isinstance(report, dict | Mapping):
        return any(name in report for name in names)
    return any(getattr(report, name, None) is not None for name in names)


def _count(holder: Any, name: str) -> int:
    """A number of tokens; 0 where the field is absent, or holds what no number of tokens can be."""
    value = field_of(holder, name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    try:
        return max(0, int(value))
    except (ValueError, OverflowError):
        return 0


def _count_in_any_tier(details: Any, name: str) -> int:
    """A number of tokens, whose name LangChain begins with OpenAI's service tier where one was paid for."""
    return (
        _count(details, name)
        or _count(details, f"priority_{name}")
        or _count(details, f"flex_{name}")
    )


def _count_of_modality(report: Any, name: str, modality: str) -> int:
    """Tokens of one modality in one of Google's lists of them."""
    tokens = 0
    for entry in field_of(report, name) or ():
        kind = field_of(entry, "modality")
        if str(getattr(kind, "value", kind)).upper() == modality:
            tokens += _count(entry, "token_count") or _count(entry, "tokenCount")
    return tokens
