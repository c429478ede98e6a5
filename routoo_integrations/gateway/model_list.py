"""What may be named as a call's model: the router, the router by another policy, and each expert."""

from __future__ import annotations

from typing import Any

from routoo_core.experts import Expert
from routoo_core.router import Router
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.steering import ROUTER_MODEL, policy_names

_PRICES = ("input_usd_per_1m", "output_usd_per_1m", "cached_usd_per_1m", "cache_write_usd_per_1m")


def list_models(router: Router, created: int, experts: frozenset[str] | None = None) -> JsonObject:
    """The models in OpenAI's form, each with what Routoo knows of it.

    Args:
        router: The router.
        created: When the gateway started, seconds since the epoch.
        experts: Those to list; ``None`` for all.
    """
    models = [_entry(ROUTER_MODEL, created, {"kind": "router"})]
    for policy in policy_names(router):
        models.append(
            _entry(f"{ROUTER_MODEL}/{policy}", created, {"kind": "router", "policy": policy})
        )
    for expert in router.pool if "expert" in router.overrides else ():
        if experts is None or expert.name in experts:
            models.append(_entry(expert.name, created, _describe(expert)))
    return {"object": "list", "data": models}


def _entry(name: str, created: int, about: JsonObject) -> JsonObject:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "routoo",
        "routoo": about,
    }


def _describe(expert: Expert) -> JsonObject:
    """Prices, window and capabilities; neither its address nor its key."""
    prices = expert.prices_at()
    about: dict[str, Any] = {
        "kind": "expert",
        "model": expert.model,
        "context_window": expert.context_window,
        "max_output_tokens": expert.max_output_tokens,
        "capabilities": sorted(expert.capabilities),
    }
    for name in _PRICES:
        price = getattr(prices, name, None)
        if price is not None:
            about[name] = str(price)
    return about
