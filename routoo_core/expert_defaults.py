"""What an expert's table leaves out and the catalogue knows: model, address, key, window, limit and capabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routoo_core.catalogue.entries import ModelFacts
from routoo_core.catalogue.providers import endpoint_settings, is_own_endpoint
from routoo_core.catalogue.store import open_catalogue
from routoo_core.limits import Limits

_USUAL_REPLY = 32_768
"""The most tokens of a reply, where the catalogue does not know a model's own limit."""
_TOOLS_SINCE = "2025-01"
_TOOL_PROVIDERS = frozenset({"openai", "anthropic", "google", "mistral", "xai"})
_WHERE = ("provider", "base_url", "client")


def catalogue_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for an expert that its table does not have.

    A table that says where its expert is called keeps that. One that is only a name is called at its provider's.

    Args:
        values: The table, with the expert's ``name``.
    """
    if values.get("client") is not None:
        return {}
    name = str(values.get("model") or values.get("name") or "")
    if not name:
        return {}
    facts = open_catalogue().find(name)
    defaults: dict[str, Any] = {}
    if not any(values.get(field) for field in _WHERE):
        defaults.update(endpoint_settings(name, facts))
    if facts is not None:
        defaults.update(_limits_of(facts))
    for field, value in values.items():
        # A model that is just the expert's name was written by nobody.
        is_written = value is not None and not (field == "model" and value == values.get("name"))
        if is_written:
            defaults.pop(field, None)
    return _consistent(defaults, values)


def catalogue_prices(values: Mapping[str, Any]) -> dict[str, Any]:
    """List prices by the catalogue, where the price list has none; empty where it has none either.

    They are those of the model's own provider, so an expert that is called elsewhere does not get them.

    Args:
        values: The table, with what :func:`catalogue_defaults` added.
    """
    facts = open_catalogue().find(str(values.get("model")))
    if facts is None or facts.input_usd_per_1m is None or facts.output_usd_per_1m is None:
        return {}
    if not is_own_endpoint(facts, values.get("provider"), values.get("base_url")):
        return {}
    return {
        "input_usd_per_1m": repr(facts.input_usd_per_1m),
        "output_usd_per_1m": repr(facts.output_usd_per_1m),
    }


def _limits_of(facts: ModelFacts) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if facts.context_window:
        limits["context_window"] = facts.context_window
    if facts.max_output_tokens:
        limits["max_output_tokens"] = facts.max_output_tokens
    elif facts.context_window:
        limits["max_output_tokens"] = min(_USUAL_REPLY, facts.context_window // 2)
    if facts.calls_tools or (facts.calls_tools is None and _is_recent_chat_model(facts)):
        limits["capabilities"] = ["tools"]
    return limits


def _is_recent_chat_model(facts: ModelFacts) -> bool:
    """Every chat model of these providers since then calls tools."""
    is_recent = facts.release is not None and facts.release >= _TOOLS_SINCE
    return is_recent and facts.provider in _TOOL_PROVIDERS


def _consistent(defaults: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A reply never longer than the window."""
    table = {**defaults, **{name: value for name, value in values.items() if value is not None}}
    fields = Limits.model_fields
    window = table.get("context_window", fields["context_window"].default)
    reply = table.get("max_output_tokens", fields["max_output_tokens"].default)
    if isinstance(window, int) and isinstance(reply, int) and reply > window:
        if "max_output_tokens" in defaults:
            defaults["max_output_tokens"] = window
        elif "context_window" in defaults:
            del defaults["context_window"]
    return defaults
