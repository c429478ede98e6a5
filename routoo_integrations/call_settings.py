"""What one call sets for itself: whose account pays, by which policy, who answers, and for how much at most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from routoo_core.calling.checks import Check
from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.money import to_nano_usd
from routoo_core.options import OVERRIDES
from routoo_core.policies import make_policy
from routoo_core.request import Overrides
from routoo_core.router import Router
from routoo_core.sandbox.probes import LONGEST_PROBE, MOST_PROBES, is_probe
from routoo_core.selector import Policy, PreferenceRule, describe_policy

PREFIX = "routoo_"
"""Begins the names of a call's arguments that are Routoo's."""
_NAMES = frozenset(PREFIX + name for name in OVERRIDES)
_SHOWN_CHARACTERS = 80
_NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})
_BLOCK_SETTINGS: ContextVar[Mapping[str, Any]] = ContextVar("routoo_settings", default=_NO_SETTINGS)


@contextmanager
def routoo_settings(
    *,
    account: str | None = None,
    policy: Any = None,
    expert: str | None = None,
    max_cost: str | None = None,
    check: Check | None = None,
    repair: bool | None = None,
    probes: Sequence[str] | None = None,
    no_cache: bool | None = None,
) -> Iterator[None]:
    """Set for every call within the block what a call may set for itself; blocks nest, and a call's own keywords win.

    ::

        with routoo_settings(account="alice"):
            await agent.run("…")

    It follows the flow of control as Python's context variables do: into coroutines, tasks and workflow runs started
    within the block, which keep it when the block is left.

    Args:
        account: Whose budget pays.
        policy: A policy, its name or table.
        expert: The only one that may answer.
        max_cost: The most a call may cost, USD, a decimal string.
        check: Looks at every reply; see :mod:`routoo_core.checks`.
        repair: Whether the expert of a rejected reply is asked once more, and told what was wrong.
        probes: Python expressions, such as ``slug("A b")``, by whose results plans compare the code of replies.
        no_cache: Whether a call is neither answered from the cache of answers nor stored there.
    """
    settings: dict[str, Any] = {
        "routoo_account": account,
        "routoo_policy": policy,
        "routoo_expert": expert,
        "routoo_max_cost": max_cost,
        "routoo_check": check,
        "routoo_repair": repair,
        "routoo_probes": probes,
        "routoo_no_cache": no_cache,
    }
    changes = {name: value for name, value in settings.items() if value is not None}
    token = _BLOCK_SETTINGS.set({**_BLOCK_SETTINGS.get(), **changes})
    try:
        yield
    finally:
        _BLOCK_SETTINGS.reset(token)


def read_overrides(
    router: Router,
    keywords: Mapping[str, Any],
    account: str | None,
    max_retries: int | None = None,
) -> Overrides:
    """What a call sets for itself: ``model`` and what starts with ``routoo_``, or what :func:`routoo_settings` did.

    Args:
        router: The router that will decide.
        keywords: The call's keyword arguments.
        account: Whose budget pays where the call names nobody.
        max_retries: How often an expert is asked again; ``None`` leaves that to each.

    Raises:
        InvalidRequest: One that is unknown or that the router does not allow, or a value that cannot be used.
    """
    own_settings = _own_settings(keywords)
    _check_allowed(own_settings, router.overrides)
    settings = {**_BLOCK_SETTINGS.get(), **own_settings}
    unknown = sorted(set(settings) - _NAMES)
    if unknown:
        names = ", ".join(sorted(_NAMES))
        raise InvalidRequest(f"{unknown[0]}: unknown; a call may set {names}")
    try:
        return Overrides(
            account=settings.get("routoo_account", account),
            policy=_policy_of_call(router, settings.get("routoo_policy")),
            expert=_resolve_expert(router, settings.get("routoo_expert")),
            max_cost=_max_cost(settings.get("routoo_max_cost")),
            max_retries=max_retries,
            check=_check_of_call(settings.get("routoo_check")),
            repair=_switch_of_call("repair", settings.get("routoo_repair")),
            probes=_probes_of_call(settings.get("routoo_probes")),
            no_cache=bool(_switch_of_call("no_cache", settings.get("routoo_no_cache"))),
        )
    except ConfigurationError as error:
        raise InvalidRequest(f"{', '.join(sorted(settings))}: {error}") from error


def _own_settings(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Which of a call's keyword arguments are Routoo's; ``None`` is not set."""
    settings = {}
    for name, value in keywords.items():
        if name.startswith(PREFIX) and value is not None:
            settings[name] = value
    if keywords.get("model"):
        settings.setdefault("routoo_expert", keywords["model"])
    return settings


def _check_allowed(settings: Mapping[str, Any], overrides: frozenset[str]) -> None:
    """Refuse what a call sets and its router does not allow; a block that the program itself opens may set all.

    Raises:
        InvalidRequest: One is not allowed.
    """
    for name in settings:
        override = name.removeprefix(PREFIX)
        if override in OVERRIDES and override not in overrides:
            names = ", ".join(sorted(overrides)) or "nothing"
            raise InvalidRequest(f"{name}: this router lets a call set {names}; leave it out")


def _policy_of_call(router: Router, policy: Any) -> Policy | PreferenceRule | None:
    """A policy for one call; ``None`` for the router's own, also where a policy is named that learns from calls."""
    if policy is None:
        return None
    call_policy = make_policy(policy)
    if not isinstance(call_policy, Policy) or not call_policy.learns:
        return call_policy
    if describe_policy(call_policy) != describe_policy(router.policy):
        name = call_policy.name
        raise ConfigurationError(
            f"a single call cannot be {name} unless the router's own policy is {name!r}, with the same settings"
        )
    return None


def _check_of_call(check: Any) -> Check | None:
    """A check for one call."""
    if check is not None and not callable(check):
        kind = type(check).__name__
        raise ConfigurationError(
            f"a {kind} is no check; give one of routoo_core.checks or a function"
        )
    own_check: Check | None = check
    return own_check


def _probes_of_call(probes: Any) -> tuple[str, ...]:
    """The expressions by whose results the code of one call's replies is compared."""
    if probes is None:
        return ()
    if isinstance(probes, str) or not isinstance(probes, Sequence):
        kind = type(probes).__name__
        raise ConfigurationError(
            f"a {kind} is no list of probes; give texts such as 'slug(\"A b\")'"
        )
    if len(probes) > MOST_PROBES:
        raise ConfigurationError(f"probes: {len(probes)} are too many; give {MOST_PROBES} at most")
    for probe in probes:
        shown = repr(probe)[:_SHOWN_CHARACTERS]
        if isinstance(probe, str) and len(probe) > LONGEST_PROBE:
            raise ConfigurationError(
                f"probes: {shown} is too long; give {LONGEST_PROBE:,} characters at most"
            )
        if not isinstance(probe, str) or not is_probe(probe):
            raise ConfigurationError(f"probes: {shown} is no Python expression")
    return tuple(probes)


def _switch_of_call(name: str, value: Any) -> bool | None:
    """What is on or off for one call; ``None`` where it does not say."""
    if value is not None and not isinstance(value, bool):
        raise ConfigurationError(f"{name}: {value!r} is neither true nor false")
    return value


def _max_cost(usd: Any) -> int | None:
    """The most a call may cost, nano-USD."""
    return None if usd is None else to_nano_usd(str(usd))


def _resolve_expert(router: Router, name: str | None) -> str | None:
    """The expert or the plan of a name, or the expert whose endpoint knows it by that name."""
    if name is None or any(plan.name == name for plan in router.plans):
        return name
    pool = router.pool
    if name not in [expert.name for expert in pool]:
        for expert in pool:
            if expert.model == name:
                return expert.name
    return pool[name].name
