"""What one call sets for itself: by the name it gives as its model, and by headers that begin with ``Routoo-``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from routoo_core.errors import InvalidRequest
from routoo_core.policies import POLICIES
from routoo_core.request import Overrides
from routoo_core.router import Router
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


def read_steering(
    router: Router,
    model: str,
    headers: Mapping[str, str],
    experts: frozenset[str] | None = None,
) -> Overrides:
    """What a call sets for itself.

    Args:
        router: The router that will decide.
        model: As the body names it: ``routoo``, ``routoo/`` and a policy, or an expert.
        headers: Of the request, their names in lower case.
        experts: Those that may be told of; ``None`` for all.

    Raises:
        CallRefused: Nobody goes by the name of the model.
        InvalidRequest: A header has a value that cannot be used, or that the router does not allow.
    """
    settings = _model_settings(router, model, experts)
    for header, setting in _HEADERS.items():
        value = headers.get(header)
        if value:
            settings[setting] = value
    return read_overrides(router, settings, account=None)


def policy_names(router: Router) -> Iterator[str]:
    """The policies that a call may name."""
    for name in POLICIES:
        try:
            read_overrides(router, {"routoo_policy": name}, account=None)
        except InvalidRequest:
            continue  # it needs settings, learns from calls, or the router allows none
        yield name


def _model_settings(router: Router, model: str, experts: frozenset[str] | None) -> dict[str, str]:
    if model == ROUTER_MODEL:
        return {}
    if model.startswith(_POLICY_PREFIX):
        policy = model.removeprefix(_POLICY_PREFIX)
        if policy not in POLICIES:
            known = [f"{_POLICY_PREFIX}{name}" for name in policy_names(router)]
            raise _unknown_model(model, known)
        return {"routoo_policy": policy}

    names = {expert.name for expert in router.pool} | {expert.model for expert in router.pool}
    if model not in names:
        shown = [expert.name for expert in router.pool if experts is None or expert.name in experts]
        raise _unknown_model(model, [ROUTER_MODEL, *shown])
    return {"routoo_expert": model}


def _unknown_model(model: str, known: list[str]) -> CallRefused:
    message = f"model: {model[:80]!r} is unknown; name one of {', '.join(known)}"
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
