"""What may be named as a call's model: the router, the router by another policy, each expert and each plan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from routoo_core.experts import Expert
from routoo_core.router import Router
from routoo_integrations.gateway.events import JsonObject
from routoo_integrations.gateway.steering import ROUTER_MODEL, policy_names

_PRICES = ("input_usd_per_1m", "output_usd_per_1m", "cached_usd_per_1m", "cache_write_usd_per_1m")


def list_models(
    router: Router,
    moment: int,
    experts: frozenset[str] | None = None,
    embeddings: Iterable[Expert] = (),
) -> JsonObject:
    """The models in OpenAI's form, each with what Routoo knows of it.

    Args:
        router: The router.
        moment: When the gateway started, seconds since the epoch.
        experts: Those to list; ``None`` for all.
        embeddings: Endpoints that give vectors.
    """
    models = [_entry(ROUTER_MODEL, moment, {"kind": "router"})]
    for policy in policy_names(router):
        models.append(
            _entry(f"{ROUTER_MODEL}/{policy}", moment, {"kind": "router", "policy": policy})
        )
    for expert in router.pool if "expert" in router.overrides else ():
        if experts is None or expert.name in experts:
            models.append(_entry(expert.name, moment, _describe(expert)))
    for plan in router.plans if "expert" in router.overrides else ():
        if experts is None or plan.experts_asked <= experts:
            models.append(_entry(plan.name, moment, {"kind": "plan", "plan": plan.kind}))
    for endpoint in embeddings:
        models.append(_entry(endpoint.name, moment, _describe_embedding(endpoint)))
    return {"object": "list", "data": models}


def _entry(name: str, moment: int, about: JsonObject) -> JsonObject:
    return {
        "id": name,
        "object": "model",
        "created": moment,
        "owned_by": "routoo",
        "routoo": about,
    }


def _describe_embedding(endpoint: Expert) -> JsonObject:
    return {
        "kind": "embedding",
        "model": endpoint.model,
        "input_usd_per_1m": str(endpoint.input_usd_per_1m),
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
