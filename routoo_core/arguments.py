"""Arguments of a call that may pass to an expert: those that cost nothing, or whose cost is held.

Callers choose the arguments, and the limit has to hold against them too. So what is not listed here reaches an expert
only if its settings allow it (``pass_through``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_SAMPLING = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "min_p",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "presence_penalty",
        "random_seed",
        "repeat_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "stop_sequences",
        "temperature",
        "tfs_z",
        "top_a",
        "top_k",
        "top_logprobs",
        "top_p",
        "typical_p",
    }
)
"""How tokens are drawn, and where a reply stops."""
_COUNTED = frozenset(
    {
        "candidate_count",
        "function_call",
        "functions",
        "n",
        "num_return_sequences",
        "response_format",
        "tool_choice",
        "tool_config",
        "tools",
    }
)
"""What is held for: definitions count as prompt, replies by their number."""
_THINKING = frozenset(
    {
        "effort",
        "enable_thinking",
        "include_reasoning",
        "include_thoughts",
        "reasoning",
        "reasoning_effort",
        "reasoning_format",
        "think",
        "thinking",
        "thinking_budget",
        "thinking_level",
        "verbosity",
    }
)
"""How much is thought: within the limit on the reply."""
_FORM = frozenset(
    {
        "allow_parallel_tool_calls",
        "audio",
        "disable_parallel_tool_use",
        "echo",
        "formatted",
        "guided_choice",
        "guided_json",
        "guided_regex",
        "ls_structured_output_format",
        "modalities",
        "parallel_tool_calls",
        "response_modalities",
        "safe_prompt",
        "safety_settings",
        "strict",
        "structured_output_format",
        "tool_required",
    }
)
"""What a reply is made of; kinds of tokens that cost more are held for."""
_TRANSPORT = frozenset(
    {
        "cache_control",
        "include",
        "keep_alive",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "stream",
        "stream_options",
        "stream_usage",
        "timeout",
        "user",
    }
)
"""How it is sent, kept and marked."""
MAY_PASS = _SAMPLING | _COUNTED | _THINKING | _FORM | _TRANSPORT
"""Arguments that may pass in any protocol: each means the same in all that know it."""

HOLDERS = ("extra_body", "model_kwargs", "additional_kwargs")
"""Arguments of a call, and fields of a model, that hold further arguments for the provider."""
_USUAL_TIERS = frozenset({"auto", "default", "flex", "standard", "standard_only"})
"""Values of ``service_tier`` at which the list price is not exceeded."""
_OWN_TOOL_TYPES = frozenset({"custom", "function"})
"""Types of tools that the caller runs; others are run by the provider, at a price."""


def unpriced_arguments(arguments: Mapping[str, Any]) -> frozenset[str]:
    """The arguments of a call that may cost more than is held for it.

    Args:
        arguments: Of the call, without the limit on its reply; ``None`` is not set.

    Returns:
        Their names; a tool that the provider runs is ``tools.`` and its type.

    >>> sorted(unpriced_arguments({"temperature": 0, "prediction": "…", "tools": [{"type": "web_search"}]}))
    ['prediction', 'tools.web_search']
    """
    names: set[str] = set()
    for name, value in arguments.items():
        if value is None:
            continue
        if name in HOLDERS and isinstance(value, Mapping):
            names |= unpriced_arguments(value)
        elif name == "service_tier":
            if not isinstance(value, str) or value not in _USUAL_TIERS:
                names.add(name)
        elif name == "tools" and isinstance(value, Iterable):
            names |= _provider_tools(value)
        elif name not in MAY_PASS:
            names.add(name)
    return frozenset(names)


def _provider_tools(tools: Iterable[Any]) -> set[str]:
    """Tools that the provider runs."""
    names = set()
    for tool in tools:
        if not isinstance(tool, Mapping) or "function" in tool:
            continue
        kind = tool.get("type")
        if kind is None and "name" not in tool:
            kind = next(iter(tool), None)  # Google's have their name as the key
        is_own = isinstance(kind, str) and kind in _OWN_TOOL_TYPES
        if kind is not None and not is_own:
            names.add(f"tools.{kind}")
    return names
