"""What both adapters need to become a Router: experts given as native objects, or built from their settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from routoo_core.budget.pacing import Paced
from routoo_core.config import build_router, make_policy
from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.experts import Expert, Pool
from routoo_core.money import to_nano_usd
from routoo_core.predictor.base import Predictor
from routoo_core.request import Overrides
from routoo_core.router import Router
from routoo_core.selector import Policy

Client = TypeVar("Client")

_OVERRIDES = frozenset({"routoo_account", "routoo_policy", "routoo_expert", "routoo_max_cost"})
OPTIONS = frozenset(inspect.signature(build_router).parameters) - {"pool", "router"}
"""What ``build_router`` may be told beside the experts and the predictor."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_IN_FORCE: ContextVar[Mapping[str, Any]] = ContextVar("routoo_settings", default=_NOTHING)


def as_router(
    router: Router | Predictor | str | Path | None,
    experts: Mapping[str, Any] | Pool | None,
    options: dict[str, Any],
    settings_of: Callable[[Any], dict[str, Any]],
) -> Router:
    """A Router from what a user passes to an adapter.

    Args:
        router: A whole Router; or, with ``experts``, a shipped router's name, a checkpoint's folder or a predictor.
        experts: Name → native model object or Expert.
        options: ``policy``, ``budget``, ``ledger`` …; see ``build_router``.
        settings_of: What a native model object says of itself: settings of its Expert.

    Raises:
        ConfigurationError: Parts are missing or do not fit together.
    """
    if isinstance(router, Router):
        if experts is not None or options:
            raise ConfigurationError(
                "router: a whole Router was given; set experts and options when building it"
            )
        return router
    if router is None or experts is None:
        raise ConfigurationError(
            "give a Router, or experts={name: model} together with router='mmlu-pro' or a folder"
        )
    if unknown := sorted(set(options) - OPTIONS):
        raise ConfigurationError(
            f"{unknown[0]}: unknown; choose among {', '.join(sorted(OPTIONS))}"
        )
    pool = (
        experts
        if isinstance(experts, Pool)
        else Pool([as_expert(*e, settings_of) for e in experts.items()])
    )
    return build_router(pool, router=router, **options)


def as_expert(name: str, model: Any, settings_of: Callable[[Any], dict[str, Any]]) -> Expert:
    """An expert around a native model object; its price is looked up by the model's own name.

    Raises:
        UnknownPrice: Not in the price list; pass ``Expert(name=…, client=model, input_usd_per_1m=…, …)`` instead.
    """
    if isinstance(model, Expert):
        return model if model.name == name else model.model_copy(update={"name": name})
    called = next(
        (v for key in ("model_name", "model") if isinstance(v := getattr(model, key, None), str)),
        name,
    )
    return Expert(**{"name": name, "model": called, "client": model, **settings_of(model)})


def build_clients(
    pool: Pool, kind: type[Any], build: Callable[[Expert], Client], settings: Mapping[str, Any]
) -> dict[str, Client]:
    """The native client of every expert: the object given, else one built from its settings.

    Args:
        pool: The experts.
        kind: What an object given must be.
        build: Builds one from an expert's settings.
        settings: Fields of Expert that the caller sets for all that are built; ``None`` leaves each expert's own.

    Raises:
        ConfigurationError: An object of another framework, or an API key that is not in the environment.
    """
    clients, told = {}, {key: value for key, value in settings.items() if value is not None}
    for expert in pool:
        if expert.client is None:
            expert.check_key()
            clients[expert.name] = build(expert.model_copy(update=told))
        elif isinstance(expert.client, kind):
            clients[expert.name] = expert.client
        else:
            found = type(expert.client).__name__
            raise ConfigurationError(
                f"expert {expert.name!r}: client: {found} is not a {kind.__name__}"
            )
    return clients


@contextmanager
def routoo_settings(
    *,
    account: str | None = None,
    policy: Any = None,
    expert: str | None = None,
    max_cost: str | None = None,
) -> Iterator[None]:
    """Set for every call within the block what a call may set for itself; blocks nest, and a call's own words win.

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
    """
    told = {"account": account, "policy": policy, "expert": expert, "max_cost": max_cost}
    set_here = {f"routoo_{key}": value for key, value in told.items() if value is not None}
    token = _IN_FORCE.set({**_IN_FORCE.get(), **set_here})
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def overrides_of(router: Router, call: Mapping[str, Any], account: str | None) -> Overrides:
    """What a call sets for itself: ``model`` and what starts with ``routoo_``, or what :func:`routoo_settings` did.

    Raises:
        InvalidRequest: An unknown one, or a value that cannot be used.
    """
    own = {key: value for key, value in call.items() if key.startswith("routoo_")}
    given = {**_IN_FORCE.get(), **own}
    if call.get("model") and not own.get("routoo_expert"):
        given["routoo_expert"] = call["model"]
    if unknown := sorted(set(given) - _OVERRIDES):
        raise InvalidRequest(
            f"{unknown[0]}: unknown; a call may set {', '.join(sorted(_OVERRIDES))}"
        )
    try:
        policy, most = given.get("routoo_policy"), given.get("routoo_max_cost")
        return Overrides(
            account=given.get("routoo_account", account),
            policy=None if policy is None else _policy(router, policy),
            expert=_named(router.pool, given.get("routoo_expert")),
            max_cost=None if most is None else to_nano_usd(str(most)),
        )
    except ConfigurationError as error:
        raise InvalidRequest(f"{', '.join(sorted(given))}: {error}") from error


def without_overrides(call: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a call's keyword arguments for the expert."""
    return {
        key: value
        for key, value in call.items()
        if key != "model" and not key.startswith("routoo_")
    }


def asking(
    messages: list[dict[str, Any]], question_of: Callable[[str], str]
) -> list[dict[str, Any]]:
    """Messages in OpenAI's form, the last user's with the question that ``question_of`` finds in its text."""
    last = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        return messages
    content = messages[last].get("content") or ""
    parts = [content] if isinstance(content, str) else [part.get("text") or "" for part in content]
    marked = {**messages[last], "question": question_of("\n".join(filter(None, parts)))}
    return [*messages[:last], marked, *messages[last + 1 :]]


def _policy(router: Router, policy: Any) -> Policy | None:
    """A policy for one call; the router's own where it is asked to pace, since pacing remembers calls."""
    chosen = make_policy(policy)
    if not isinstance(chosen, Paced):
        return chosen
    if not isinstance(router.policy, Paced):
        raise ConfigurationError(
            "a single call cannot be paced unless the router's own policy is 'paced'"
        )
    return None


def _named(pool: Pool, name: str | None) -> str | None:
    """The expert of a name, or the one whose endpoint knows it by that name."""
    if name is None:
        return None
    return next((expert.name for expert in pool if expert.model == name), None) or pool[name].name
