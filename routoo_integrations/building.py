"""What both adapters need to become a Router: experts as native objects, and the clients that call them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from routoo_core.endpoint import Endpoint
from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.experts import Expert, Pool
from routoo_core.model_names import client_model
from routoo_core.options import (
    RouterOptions,
    assemble,
    read_config,
    read_pool,
)
from routoo_core.predictor.base import Predictor
from routoo_core.redaction import looks_like_key
from routoo_core.router import Router
from routoo_integrations.call_arguments import read_completions

NativeClient = TypeVar("NativeClient")
DescribeModel = Callable[[Any], dict[str, Any]]
"""What a native model object says of itself: settings of its Expert."""
CheckProvider = Callable[[Expert], None]
"""Refuses an expert whose provider is unknown to a framework, or whose package is not installed."""


def make_router(
    router: Router | Predictor | str | Path | None,
    experts: Mapping[str, Any] | Pool | None,
    options: RouterOptions,
    describe_model: DescribeModel,
    check_provider: CheckProvider,
) -> Router:
    """A Router from what a user passes to an adapter.

    Args:
        router: A whole Router; or, with ``experts``, a shipped checkpoint's name, a folder or a predictor.
        experts: Name → native model object or Expert.
        options: Policy, budget, ledger and the rest.
        describe_model: What a native model object says of itself.
        check_provider: Refuses an expert that the framework cannot call.

    Raises:
        ConfigurationError: Parts are missing or do not fit together.
    """
    if isinstance(router, Router):
        if experts is not None or options != RouterOptions():
            raise ConfigurationError(
                "router: a whole Router was given; set experts and options when building it"
            )
        return router
    if router is None or experts is None:
        raise ConfigurationError(
            "give a Router, or experts={name: model} together with router='general-fast' or a folder"
        )
    pool = experts if isinstance(experts, Pool) else make_pool(experts, describe_model)
    check_experts(pool, check_provider)
    return Router.from_parts(assemble(pool, router, options))


def read_router(path: str | Path, check_provider: CheckProvider) -> Router:
    """The router that ``routoo.toml`` describes; whether its experts can be called is checked before it is loaded.

    Args:
        path: The file.
        check_provider: Refuses an expert that the framework cannot call.

    Raises:
        ConfigurationError: Something in the file is wrong; the message names file, field and remedy.
    """
    pool = read_pool(path, read_config(path))
    check_experts(pool, check_provider)
    return Router.from_toml(path, pool=pool)


def check_experts(pool: Pool, check_provider: CheckProvider) -> None:
    """Refuse experts that could not be called: their provider or their key is missing.

    Raises:
        ConfigurationError: The message names file, expert and remedy.
    """
    for expert in pool:
        if expert.client is None:
            check_provider(expert)
            expert.check_key()


def unknown_provider(expert: Endpoint, names: Iterable[str]) -> ConfigurationError:
    """The error for an expert with an unknown provider; it suggests the provider that was probably meant."""
    provider = expert.provider or ""
    candidates = sorted(set(names))
    similar = get_close_matches(provider, candidates, n=1)
    remedy = (
        f"did you mean {similar[0]!r}?" if similar else f"choose one of {', '.join(candidates)}"
    )
    name = "its value" if looks_like_key(provider) else repr(provider)
    return ConfigurationError(f"{expert.place}: provider: {name} is unknown; {remedy}")


def make_pool(experts: Mapping[str, Any], describe_model: DescribeModel) -> Pool:
    """A pool of native model objects and Experts, each under its key.

    Raises:
        UnknownPrice: A model is not in the price list; see :func:`make_expert`.
    """
    pool = []
    for name, model in experts.items():
        pool.append(make_expert(name, model, describe_model))
    return Pool(pool)


def make_expert(name: str, model: Any, describe_model: DescribeModel) -> Expert:
    """An expert around a native model object; its price is looked up by where it calls and its own name.

    Raises:
        UnknownPrice: Not in the price list; pass ``Expert(name=…, client=model, input_usd_per_1m=…, …)`` instead.
    """
    if isinstance(model, Expert):
        return model if model.name == name else model.model_copy(update={"name": name})
    settings = {"name": name, "model": client_model(model) or name, "client": model}
    settings.update(describe_model(model))
    return Expert(**settings)


def build_clients(
    pool: Pool,
    kind: type[Any],
    build: Callable[[Expert], NativeClient],
    settings: Mapping[str, Any],
) -> dict[str, NativeClient]:
    """The native client of every expert: the object given, else one built from its settings.

    Args:
        pool: The experts.
        kind: What an object given must be.
        build: Builds one from an expert's settings.
        settings: Fields of Expert that the caller sets for all that are built; ``None`` leaves each expert's own.

    Raises:
        ConfigurationError: An object of another framework, or an API key that is not in the environment.
    """
    changes: dict[str, Any] = {"max_retries": 0}  # the driver asks again, and books each try
    for name, value in settings.items():
        if value is not None:
            changes[name] = value
    clients = {}
    for expert in pool:
        if expert.client is None:
            expert.check_key()
            clients[expert.name] = build(expert.model_copy(update=changes))
        elif isinstance(expert.client, kind):
            _check_completions(expert.name, expert.client)
            clients[expert.name] = expert.client
        else:
            raise ConfigurationError(
                f"{expert.place}: client: {type(expert.client).__name__} is not a {kind.__name__}"
            )
    return clients


def validate_fields(model: BaseModel, names: Iterable[str]) -> None:
    """Check fields of a copy as the constructor checks them; pydantic copies without checking.

    Raises:
        ValidationError: A value is of the wrong type or out of range.
    """
    for name in names:
        model.__pydantic_validator__.validate_assignment(model, name, getattr(model, name))


def _check_completions(expert: str, client: Any) -> None:
    """Refuse a native model object that asks for several replies in every call: the router would hold too little.

    Raises:
        ConfigurationError: It does.
    """
    while client is not None:
        fields = getattr(client, "__dict__", {})
        for settings in (fields, fields.get("kwargs")):
            if not isinstance(settings, Mapping):
                continue
            try:
                completions = read_completions(settings)
            except InvalidRequest as error:
                raise ConfigurationError(f"expert {expert!r}: {error}") from error
            if completions > 1:
                raise ConfigurationError(
                    f"expert {expert!r}: its model asks for {completions} replies in every call; take 'n' out of the "
                    "model and pass it with the call, as model.invoke(…, n=2)"
                )
        client = fields.get("bound")
