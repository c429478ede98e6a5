"""What both adapters need to become a Router: experts as native objects, and what one call sets for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from operator import index
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsIndex, TypeVar

from pydantic import BaseModel

from routoo_core.arguments import HOLDERS
from routoo_core.endpoint import Endpoint
from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.experts import Expert, Pool
from routoo_core.model_names import client_model
from routoo_core.money import to_nano_usd
from routoo_core.options import (
    RouterOptions,
    assemble,
    make_policy,
    read_config,
    read_pool,
)
from routoo_core.predictor.base import Predictor
from routoo_core.redaction import looks_like_key
from routoo_core.request import Overrides
from routoo_core.router import Router
from routoo_core.selector import Policy, PreferenceRule
from routoo_core.text import well_formed_value

NativeClient = TypeVar("NativeClient")
DescribeModel = Callable[[Any], dict[str, Any]]
"""What a native model object says of itself: settings of its Expert."""
CheckProvider = Callable[[Expert], None]
"""Refuses an expert whose provider is unknown to a framework, or whose package is not installed."""

_OVERRIDES = frozenset({"routoo_account", "routoo_policy", "routoo_expert", "routoo_max_cost"})
_REPLY_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""What the limit on a reply is called; the names mean the same."""
_COMPLETIONS = ("n", "best_of", "candidate_count", "num_generations")
"""What the number of replies is called; a provider writes, and bills, the largest."""
_NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})
_BLOCK_SETTINGS: ContextVar[Mapping[str, Any]] = ContextVar("routoo_settings", default=_NO_SETTINGS)


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
            "give a Router, or experts={name: model} together with router='mmlu-pro' or a folder"
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


def unknown_provider(expert: Endpoint, known: Iterable[str]) -> ConfigurationError:
    """The error for an expert whose provider nobody knows, with the one that was probably meant."""
    provider = expert.provider or ""
    names = sorted(set(known))
    similar = get_close_matches(provider, names, n=1)
    remedy = f"did you mean {similar[0]!r}?" if similar else f"choose one of {', '.join(names)}"
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


@contextmanager
def routoo_settings(
    *,
    account: str | None = None,
    policy: Any = None,
    expert: str | None = None,
    max_cost: str | None = None,
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
    """
    settings = {
        "routoo_account": account,
        "routoo_policy": policy,
        "routoo_expert": expert,
        "routoo_max_cost": max_cost,
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
        InvalidRequest: An unknown one, or a value that cannot be used.
    """
    settings = dict(_BLOCK_SETTINGS.get())
    for name, value in keywords.items():
        if name.startswith("routoo_"):
            settings[name] = value
    if keywords.get("model") and not keywords.get("routoo_expert"):
        settings["routoo_expert"] = keywords["model"]

    unknown = sorted(set(settings) - _OVERRIDES)
    if unknown:
        allowed = ", ".join(sorted(_OVERRIDES))
        raise InvalidRequest(f"{unknown[0]}: unknown; a call may set {allowed}")
    try:
        return Overrides(
            account=settings.get("routoo_account", account),
            policy=_policy_of_call(router, settings.get("routoo_policy")),
            expert=_resolve_expert(router.pool, settings.get("routoo_expert")),
            max_cost=_max_cost(settings.get("routoo_max_cost")),
            max_retries=max_retries,
        )
    except ConfigurationError as error:
        raise InvalidRequest(f"{', '.join(sorted(settings))}: {error}") from error


def provider_keywords(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a call's keyword arguments that the provider reads, without the limit on the reply.

    What is Routoo's own is left out. So is the limit, since the attempt has one.
    """
    rest = {}
    for name, value in without_reply_limits(keywords).items():
        if name != "model" and not name.startswith("routoo_"):
            rest[name] = value
    return rest


def expert_keywords(keywords: Mapping[str, Any], temperature: float | None) -> dict[str, Any]:
    """A call's keyword arguments as an expert is sent them: :func:`provider_keywords`, every text well formed.

    Args:
        keywords: The call's keyword arguments.
        temperature: Where the call sets none.
    """
    arguments = provider_keywords(keywords)
    if temperature is not None:
        arguments.setdefault("temperature", temperature)
    well_formed_arguments: dict[str, Any] = well_formed_value(arguments)
    return well_formed_arguments


# The limit on a reply, and the number of replies


def read_reply_limit(keywords: Mapping[str, Any], default: int | None = None) -> int | None:
    """The limit on the reply that keyword arguments set, by whichever name; of several the smallest.

    Args:
        keywords: A call's keyword arguments.
        default: The limit where they set none.

    Raises:
        InvalidRequest: One is not a whole number of at least 1.
    """
    limits = _positive_numbers(keywords, _REPLY_LIMITS)
    return min(limits) if limits else default


def without_reply_limits(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments without the limit on the reply, by whichever name: the attempt has its own."""
    rest = dict(keywords)
    for name in _REPLY_LIMITS:
        rest.pop(name, None)
    for holder in HOLDERS:
        nested = rest.get(holder)
        if isinstance(nested, Mapping) and not nested.keys().isdisjoint(_REPLY_LIMITS):
            rest[holder] = without_reply_limits(nested)
    return rest


def read_completions(keywords: Mapping[str, Any]) -> int:
    """How many replies keyword arguments ask for; 1 where they do not say.

    Raises:
        InvalidRequest: It is not a whole number of at least 1.
    """
    return max(_positive_numbers(keywords, _COMPLETIONS), default=1)


def _positive_numbers(keywords: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    """The numbers under these names, also in keywords that hold further ones; ``None`` is not set.

    Raises:
        InvalidRequest: One is not a whole number of at least 1.
    """
    numbers = []
    for name in names:
        value = keywords.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            raise InvalidRequest(f"{name}: {value!r} is not a whole number; give one of at least 1")
        number = index(value)
        if number < 1:
            raise InvalidRequest(f"{name}: {number} is below 1; give a larger one or leave it out")
        numbers.append(number)
    for holder in HOLDERS:
        nested = keywords.get(holder)
        if isinstance(nested, Mapping):
            numbers += _positive_numbers(nested, names)
    return numbers


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


def without_parameters(arguments: Mapping[str, Any], parameters: frozenset[str]) -> dict[str, Any]:
    """Arguments of a call without those that an expert does not take."""
    rest = {}
    for name, value in arguments.items():
        if name not in parameters:
            rest[name] = value
    return rest


def mark_question(
    messages: list[dict[str, Any]], question_of: Callable[[str], str]
) -> list[dict[str, Any]]:
    """Messages in OpenAI's form, the last user's with the question that ``question_of`` reads in its text."""
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        if message["role"] == "user":
            marked = {**message, "question": question_of(_text_of(message))}
            return [*messages[:position], marked, *messages[position + 1 :]]
    return messages


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str) and text:
            texts.append(text)
    return "\n".join(texts)


def _policy_of_call(router: Router, policy: Any) -> Policy | PreferenceRule | None:
    """A policy for one call; ``None`` for the router's own, also where a policy is named that learns from calls."""
    if policy is None:
        return None
    call_policy = make_policy(policy)
    if not isinstance(call_policy, Policy) or not call_policy.learns:
        return call_policy
    if type(call_policy) is not type(router.policy):
        name = call_policy.name
        raise ConfigurationError(
            f"a single call cannot be {name} unless the router's own policy is {name!r}"
        )
    return None


def _max_cost(usd: Any) -> int | None:
    """The most a call may cost, nano-USD."""
    return None if usd is None else to_nano_usd(str(usd))


def _resolve_expert(pool: Pool, name: str | None) -> str | None:
    """The expert of a name, or the one whose endpoint knows it by that name."""
    if name is None:
        return None
    if name not in [expert.name for expert in pool]:
        for expert in pool:
            if expert.model == name:
                return expert.name
    return pool[name].name
