"""Policies by their names in routoo.toml."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from typing import Any

from routoo_core.budget.goals import MatchBest, Save
from routoo_core.budget.pacing import Paced
from routoo_core.errors import ConfigurationError
from routoo_core.guarded import Guarded
from routoo_core.selector import (
    Best,
    Cheapest,
    FunctionPolicy,
    Lagrangian,
    Policy,
    PreferenceRule,
    QualityFloor,
    Ratio,
    as_policy,
)
from routoo_core.win_rate import WinRate

DEFAULT_POLICY = "match_best"


def _guarded(default: str, policy: Any = "best", **settings: Any) -> Guarded:
    """A guard around a policy that is given as routoo.toml gives policies."""
    return Guarded(default, policy=as_policy(make_policy(policy)), **settings)


POLICIES: dict[str, Callable[..., Policy | PreferenceRule]] = {
    "paced": Paced,
    "match_best": MatchBest,
    "save": Save,
    "ratio": Ratio,
    "lagrangian": Lagrangian,
    "quality_floor": QualityFloor,
    "best": Best,
    "cheapest": Cheapest,
    "win_rate": WinRate,
    "guarded": _guarded,
}
"""Name in routoo.toml → policy; its other keys there are its keywords."""


def make_policy(
    policy: str | Mapping[str, Any] | Policy | PreferenceRule,
) -> Policy | PreferenceRule:
    """A policy from its name, or from a table such as ``{name = "ratio", alpha = 0.1}``.

    Raises:
        ConfigurationError: Unknown name, or a setting that is unknown, missing or out of range.
    """
    if isinstance(policy, str):
        policy = {"name": policy}
    if isinstance(policy, Policy) or callable(policy):
        return policy
    if not isinstance(policy, Mapping):
        kind = type(policy).__name__
        raise ConfigurationError(
            f"policy: a {kind} is none; give a name, a table with a name, or a policy"
        )

    settings = dict(policy)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in POLICIES:
        raise ConfigurationError(
            f"policy: {name!r} is unknown; choose one of {', '.join(POLICIES)}"
        )
    keywords = {}
    for key, value in settings.items():
        argument = str(key)
        if keyword.iskeyword(argument):  # Python reserves "lambda"
            argument += "_"
        keywords[argument] = value
    try:
        return POLICIES[name](**keywords)
    except TypeError as error:
        problem = (str(error).partition(") ")[2] or str(error)).replace("lambda_", "lambda")
        raise ConfigurationError(f"policy: {name}: {problem}") from error


def policy_table(policy: Policy | PreferenceRule) -> dict[str, Any]:
    """A policy as routoo.toml writes it.

    Raises:
        ConfigurationError: It is an object that cannot be written down.
    """
    policy = as_policy(policy)
    maker = _guarded if type(policy) is Guarded else type(policy)
    for name, kind in POLICIES.items():
        if kind is maker:
            return {"name": name, **_parameter_table(policy)}
    part = policy.function if isinstance(policy, FunctionPolicy) else policy
    kind_name = type(part).__name__
    raise ConfigurationError(
        f"policy: a {kind_name} object cannot be saved to a file; use one of {', '.join(POLICIES)}"
    )


def _parameter_table(policy: Policy) -> dict[str, Any]:
    """A policy's settings; a policy among them as a table of its own."""
    table = {}
    for name, value in policy.parameters().items():
        table[name] = policy_table(value) if isinstance(value, Policy) else value
    return table
