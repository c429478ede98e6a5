"""The arguments of one call: which of them an expert is sent, the limit on its reply, and the number of replies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import index
from typing import Any, SupportsIndex

from routoo_core.arguments import HOLDERS
from routoo_core.errors import InvalidRequest
from routoo_core.text import well_formed_value
from routoo_integrations.call_settings import PREFIX

_REPLY_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""What the limit on a reply is called; the names mean the same."""
_COMPLETIONS = ("n", "best_of", "candidate_count", "num_generations")
"""What the number of replies is called; a provider writes, and bills, the largest."""
_FREE_CHOICES = ("auto", "none")
"""Choices of tools that insist on none."""


def other_keywords(keywords: Mapping[str, Any], left_out: Collection[str]) -> dict[str, Any]:
    """A message's additional keywords that an expert may read: those with a value, without some by name."""
    rest = {}
    for name, value in keywords.items():
        if value and name not in left_out:
            rest[name] = value
    return rest


def provider_keywords(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a call that are for the provider, without the limit on the reply.

    Routoo's own arguments are left out. So is the limit, since the attempt has one.
    """
    rest = {}
    for name, value in without_reply_limits(keywords).items():
        if name != "model" and not name.startswith(PREFIX):
            rest[name] = value
    return rest


def expert_keywords(keywords: Mapping[str, Any], temperature: float | None) -> dict[str, Any]:
    """A call's keyword arguments as an expert is sent them: :func:`provider_keywords`, every text well formed.

    Args:
        keywords: The call's keyword arguments.
        temperature: Where the call sets none.
    """
    arguments = provider_keywords(keywords)
    if temperature is not None:
        arguments.setdefault("temperature", temperature)
    well_formed_arguments: dict[str, Any] = well_formed_value(arguments)
    return well_formed_arguments


def without_parameters(arguments: Mapping[str, Any], parameters: frozenset[str]) -> dict[str, Any]:
    """Arguments of a call without those that an expert does not take."""
    rest = {}
    for name, value in arguments.items():
        if name not in parameters:
            rest[name] = value
    return rest


# The limit on a reply, and the number of replies


def read_reply_limit(keywords: Mapping[str, Any], default: int | None = None) -> int | None:
    """The limit on the reply that keyword arguments set, by whichever name; of several the smallest.

    Args:
        keywords: A call's keyword arguments.
        default: The limit where they set none.

    Raises:
        InvalidRequest: One is not a whole number of at least 1.
    """
    limits = _positive_numbers(keywords, _REPLY_LIMITS)
    return min(limits) if limits else default


def without_reply_limits(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments without the limit on the reply, by whichever name: the attempt has its own."""
    rest = dict(keywords)
    for name in _REPLY_LIMITS:
        rest.pop(name, None)
    for holder in HOLDERS:
        part = rest.get(holder)
        if isinstance(part, Mapping) and not part.keys().isdisjoint(_REPLY_LIMITS):
            rest[holder] = without_reply_limits(part)
    return rest


def read_completions(keywords: Mapping[str, Any]) -> int:
    """How many replies keyword arguments ask for; 1 where they do not say.

    Raises:
        InvalidRequest: It is not a whole number of at least 1.
    """
    return max(_positive_numbers(keywords, _COMPLETIONS), default=1)


def _positive_numbers(keywords: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    """The numbers under these names, also in keywords that hold further ones; ``None`` is not set.

    Raises:
        InvalidRequest: One is not a whole number of at least 1.
    """
    numbers = []
    for name in names:
        value = keywords.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            raise InvalidRequest(f"{name}: {value!r} is not a whole number; give one of at least 1")
        number = index(value)
        if number < 1:
            raise InvalidRequest(f"{name}: {number} is below 1; give a larger one or leave it out")
        numbers.append(number)
    for holder in HOLDERS:
        inner_arguments = keywords.get(holder)
        if isinstance(inner_arguments, Mapping):
            numbers += _positive_numbers(inner_arguments, names)
    return numbers


def requires_call(keywords: Mapping[str, Any]) -> bool:
    """Whether keyword arguments insist on a call of a tool, in any framework's words."""
    choice = keywords.get("tool_choice")
    if isinstance(choice, Mapping):
        tool_subset = choice.get("allowed_tools")
        if isinstance(tool_subset, Mapping):
            return tool_subset.get("mode") == "required"
        return choice.get("mode", choice.get("type")) not in _FREE_CHOICES
    if isinstance(choice, str):
        return choice not in _FREE_CHOICES
    return bool(choice) or bool(keywords.get("tool_required"))


# What the predictor reads


def mark_question(
    messages: list[dict[str, Any]], question_of: Callable[[str], str]
) -> list[dict[str, Any]]:
    """Messages in OpenAI's form, the last user's with the question that ``question_of`` reads in its text."""
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        if message["role"] == "user":
            new_message = {**message, "question": question_of(_text_of(message))}
            return [*messages[:position], new_message, *messages[position + 1 :]]
    return messages


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str) and text:
            texts.append(text)
    return "\n".join(texts)
