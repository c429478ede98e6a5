"""What a call asks, and whether the answer to it may be given again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from routoo_core.answer_cache.rule import CacheRule
from routoo_core.arguments import HOLDERS
from routoo_core.messages import Message
from routoo_core.request import RoutedRequest
from routoo_core.selector import FunctionPolicy, as_policy

LONGEST_QUESTION = 1000
"""Characters of a question that is compared with earlier ones: two long ones never say the same."""
_VERSION = 1
"""Of the keys; another one forgets what is stored."""
_CACHEABLE_NEEDS = frozenset({"json_schema", "json_mode"})
"""What a call may need; tools act, and media are not compared."""
_TOOL_ROLES = frozenset({"tool", "function"})
_TOOL_FIELDS = ("tool_calls", "function_call")
_NEVER = ("tools", "functions", "logprobs", "top_logprobs", "modalities", "audio")
"""Arguments of calls whose answers are not given again."""
_WITHOUT_EFFECT = frozenset(
    {
        "formatted",
        "ls_structured_output_format",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "n",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "user",
    }
)
"""Arguments that do not shape a reply, or that are part of the key by themselves."""
_OF_OURS = frozenset({"expert", "question"})
"""Fields of a message that the router reads: who said something is no part of what was said."""


@dataclass(frozen=True, slots=True)
class CacheQuery:
    """What a call asks of whichever expert answers.

    Attributes:
        messages: The conversation, in OpenAI's form.
        arguments: Those of the call, in OpenAI's words.
    """

    messages: Sequence[Message] = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """The question that a call ends with.

    Attributes:
        text: The question.
        scope: Names everything else that the call asks.
    """

    text: str = field(repr=False)
    scope: str


def may_be_cached(content: CacheQuery, request: RoutedRequest, rule: CacheRule) -> bool:
    """Whether an answer to a call may be stored and given again.

    Args:
        content: What it asks.
        request: The same, as the router reads it.
        rule: The router's.
    """
    overrides = request.overrides
    if overrides.no_cache or request.completions > 1:
        return False
    if overrides.policy is not None and isinstance(as_policy(overrides.policy), FunctionPolicy):
        return False  # two functions cannot be told apart by their names
    if request.unpriced or request.needs - _CACHEABLE_NEEDS:
        return False
    if any(_is_of_tools(message) for message in content.messages):
        return False
    if any(content.arguments.get(name) for name in _NEVER):
        return False
    temperatures = _temperatures(content.arguments)
    if not temperatures:
        return rule.without_temperature
    return all(temperature == 0 for temperature in temperatures)


def key_of(content: CacheQuery, request: RoutedRequest, accounts: Sequence[str]) -> str | None:
    """Names what a call asks: a SHA-256 of its canonical JSON; ``None`` where it has none.

    Args:
        content: What it asks.
        request: The same, as the router reads it.
        accounts: Who pays, and the accounts that is within, innermost first.
    """
    return _digest(_content_of(content, request, accounts))


def question_of(
    content: CacheQuery, request: RoutedRequest, accounts: Sequence[str], vectors: str
) -> AskedQuestion | None:
    """The question that a call ends with, and a name for everything else; ``None`` where it ends with none.

    Args:
        content: What it asks.
        request: The same, as the router reads it.
        accounts: Who pays, and the accounts that is within, innermost first.
        vectors: Names those that questions are compared by.
    """
    identity = _content_of(content, request, accounts)
    messages = identity["messages"]
    last = messages[-1] if messages else {}
    text = last.get("content")
    if last.get("role") != "user" or not isinstance(text, str) or not text.strip():
        return None
    if len(text) > LONGEST_QUESTION:
        return None
    identity["messages"] = [*messages[:-1], {**last, "content": None}]
    scope = _digest({**identity, "vectors": vectors})
    return None if scope is None else AskedQuestion(text, scope)


def _content_of(
    call_content: CacheQuery, request: RoutedRequest, accounts: Sequence[str]
) -> dict[str, Any]:
    """Everything that an answer hangs on."""
    overrides = request.overrides
    experts = overrides.experts
    content: dict[str, Any] = {
        "version": _VERSION,
        "accounts": list(accounts),
        "messages": [_plain_message(message) for message in call_content.messages],
        "arguments": _shaping_arguments(call_content.arguments),
        "max_tokens": request.max_tokens,
        "expert": overrides.expert,
        "experts": None if experts is None else sorted(experts),
        "policy": _policy_in_words(overrides.policy),
    }
    if overrides.probes:  # Keys of calls without any stay as they were.
        content["probes"] = list(overrides.probes)
    return content


def _policy_in_words(policy: Any) -> str | None:
    """A call's own policy with all of its settings; ``None`` for the router's."""
    if policy is None:
        return None
    own = as_policy(policy)
    return f"{own.name} {sorted(own.parameters().items())!r}"


def _digest(content: Any) -> str | None:
    try:
        text = json.dumps(
            content, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError):  # an object, a circle, or no number
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def _is_of_tools(message: Message) -> bool:
    return message.get("role") in _TOOL_ROLES or any(message.get(name) for name in _TOOL_FIELDS)


def _temperatures(arguments: Mapping[str, Any]) -> list[Any]:
    """The temperatures that arguments set, also those that hold further arguments."""
    temperatures = []
    if arguments.get("temperature") is not None:
        temperatures.append(arguments["temperature"])
    for holder in HOLDERS:
        inner_arguments = arguments.get(holder)
        if isinstance(inner_arguments, Mapping):
            temperatures += _temperatures(inner_arguments)
    return temperatures


def _shaping_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    shaping = {}
    for name, value in arguments.items():
        if name not in _WITHOUT_EFFECT and value is not None:
            shaping[name] = value
    return shaping


def _plain_message(message: Message) -> dict[str, Any]:
    """A message without our own fields; a single part of text is the text."""
    plain = {}
    for name, value in message.items():
        if name not in _OF_OURS and value is not None:
            plain[name] = value
    plain["content"] = _plain_content(message.get("content"))
    return plain


def _plain_content(content: Any) -> Any:
    if isinstance(content, list) and len(content) == 1:
        part = content[0]
        if isinstance(part, Mapping) and set(part) == {"type", "text"} and part["type"] == "text":
            return part["text"]
    return content
