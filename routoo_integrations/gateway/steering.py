"""What one call sets for itself: by the name it gives as its model, and by headers that begin with ``Routoo-``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.policies import POLICIES
from routoo_core.predictor.batching import without_batching
from routoo_core.predictor.checkpoint_folder import read_algorithm_name
from routoo_core.request import Overrides
from routoo_core.router import Router
from routoo_core.win_rate import WinRate, read_router_name
from routoo_integrations.call_settings import read_overrides
from routoo_integrations.gateway.problems import CallRefused, Problem, invalid_request

ROUTER_MODEL = "routoo"
"""The model that stands for the whole pool; ``routoo/best`` for the pool by another policy."""
_POLICY_PREFIX = f"{ROUTER_MODEL}/"

_HEADERS = {
    "routoo-account": "routoo_account",
    "routoo-expert": "routoo_expert",
    "routoo-max-cost": "routoo_max_cost",
    "routoo-policy": "routoo_policy",
}
"""Header → what a call sets by it."""
_PROBES_HEADER = "routoo-probes"
"""A JSON list of Python expressions, in UTF-8."""
_CACHE_HEADER = "routoo-cache"
"""``no`` for a call that is neither answered from the cache nor stored there."""


def read_steering(
    router: Router,
    model: str,
    headers: Mapping[str, str],
    experts: frozenset[str] | None = None,
) -> Overrides:
    """What a call sets for itself.

    Args:
        router: The router that will decide.
        model: As the body names it: ``routoo``, ``routoo/`` and a policy, ``router-NAME-THRESHOLD``, or an expert.
        headers: Of the request, their names in lower case.
        experts: Those that may be told of; ``None`` for all.

    Raises:
        CallRefused: Nobody goes by the name of the model.
        InvalidRequest: A header has a value that cannot be used, or that the router does not allow.
    """
    settings = _model_settings(router, model, experts)
    cache = headers.get(_CACHE_HEADER)
    if cache:
        settings["routoo_no_cache"] = _refuses_cache(cache)
    probes = headers.get(_PROBES_HEADER)
    if probes:
        settings["routoo_probes"] = _read_probes(probes)
    for header, setting in _HEADERS.items():
        value = headers.get(header)
        if value:
            settings[setting] = value
    return read_overrides(router, settings, account=None)


def _refuses_cache(value: str) -> bool:
    """What the header of the cache says.

    Raises:
        InvalidRequest: It is neither ``yes`` nor ``no``.
    """
    if value not in {"yes", "no"}:
        raise InvalidRequest(f"Routoo-Cache: {value!r} is neither yes nor no")
    return value == "no"


def _read_probes(value: str) -> list[str]:
    """What the header of the probes says.

    Raises:
        InvalidRequest: It is no JSON list.
    """
    try:
        probes = json.loads(value.encode("latin-1").decode())  # as headers arrive
    except (ValueError, RecursionError):
        probes = None
    if not isinstance(probes, list):
        raise InvalidRequest(
            'Routoo-Probes: is no JSON list in UTF-8; give expressions such as ["double(2)", "double(0)"]'
        )
    return probes


def read_embedding_steering(
    router: Router, model: str, headers: Mapping[str, str], experts: frozenset[str] | None
) -> Overrides:
    """What a call of embeddings sets for itself; its endpoint is always named.

    Args:
        router: Of the endpoints.
        model: As the body names it: an endpoint, or the model it stands for.
        headers: Those that count.
        experts: The endpoints that the caller may be told of; ``None`` for all.

    Raises:
        CallRefused: Nobody whom it may call goes by the name of the model.
        InvalidRequest: A header has a value that cannot be used, or that the router does not allow.
    """
    endpoints = [
        endpoint for endpoint in router.pool if experts is None or endpoint.name in experts
    ]
    if not any(model in {endpoint.name, endpoint.model} for endpoint in endpoints):
        raise _unknown_model(model, [endpoint.name for endpoint in endpoints] or ["none"])
    settings: dict[str, Any] = {"routoo_expert": model}
    for header, value in headers.items():
        settings[_HEADERS[header]] = value
    return read_overrides(router, settings, account=None)


def policy_names(router: Router) -> Iterator[str]:
    """The policies that a call may name."""
    for name in POLICIES:
        try:
            read_overrides(router, {"routoo_policy": name}, account=None)
        except InvalidRequest:
            continue  # it needs settings, learns from calls, or the router allows none
        yield name


def _model_settings(router: Router, model: str, experts: frozenset[str] | None) -> dict[str, Any]:
    if model == ROUTER_MODEL:
        return {}
    if model.startswith(_POLICY_PREFIX):
        policy = model.removeprefix(_POLICY_PREFIX)
        if policy not in POLICIES:
            policies = [f"{_POLICY_PREFIX}{name}" for name in policy_names(router)]
            raise _unknown_model(model, policies)
        return {"routoo_policy": policy}

    router_name = read_router_name(model)
    if router_name is not None and router_name.router in _router_names(router):
        win_rate = router_name.policy()
        _check_pair(model, win_rate, router)
        return {"routoo_policy": win_rate}

    names = {expert.name for expert in router.pool} | {expert.model for expert in router.pool}
    names |= {plan.name for plan in router.plans}
    if model not in names:
        expert_names = [
            expert.name for expert in router.pool if experts is None or expert.name in experts
        ]
        raise _unknown_model(model, [ROUTER_MODEL, *expert_names])
    return {"routoo_expert": model}


def _router_names(router: Router) -> frozenset[str]:
    """What ``router-NAME-THRESHOLD`` may call the router: its folder's name, and its algorithm's."""
    folder = getattr(without_batching(router.predictor), "folder", None)
    if not isinstance(folder, Path):
        return frozenset()
    return _names_of(folder)


@lru_cache
def _names_of(folder: Path) -> frozenset[str]:
    """A folder's names, read once: the router that serves was loaded once too."""
    return frozenset({folder.name, str(read_algorithm_name(folder))})


def _check_pair(model: str, policy: WinRate, router: Router) -> None:
    try:
        policy.check_experts(tuple(expert.name for expert in router.pool))
    except ConfigurationError as error:
        raise invalid_request(f"model: {model!r}: {error}") from error


def _unknown_model(model: str, names: list[str]) -> CallRefused:
    message = f"model: {model[:80]!r} is unknown; name one of {', '.join(names)}"
    return CallRefused(Problem(404, "invalid_request_error", message, "model_not_found"))


def model_of(body: Mapping[str, object]) -> str:
    """The model that a body names.

    Raises:
        CallRefused: It names none.
    """
    model = body.get("model", ROUTER_MODEL)
    if not isinstance(model, str) or not model:
        raise invalid_request(f"model: {model!r} is no name; write {ROUTER_MODEL!r}, for example")
    return model
