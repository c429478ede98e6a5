"""What both adapters need to become a Router: experts given as native objects, or built from their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from routoo_core.config import build_router
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert, Pool
from routoo_core.predictor.base import Predictor
from routoo_core.router import Router

Client = TypeVar("Client")

NO_KEY = "not-needed"  # OpenAI's client insists on a key; endpoints without authentication ignore it


def as_router(
    router: Router | Predictor | str | Path | None, experts: Mapping[str, Any] | Pool | None, options: dict[str, Any]
) -> Router:
    """A Router from what a user passes to an adapter.

    Args:
        router: A whole Router; or, with ``experts``, a shipped router's name, a checkpoint's folder or a predictor.
        experts: Name → native model object or Expert.
        options: ``policy``, ``budget``, ``ledger``, ``on_exhausted``, ``strict``; see ``build_router``.

    Raises:
        ConfigurationError: Parts are missing or do not fit together.
    """
    if isinstance(router, Router):
        if experts is not None or options:
            raise ConfigurationError("router: a whole Router was given; set experts and options when building it")
        return router
    if router is None or experts is None:
        raise ConfigurationError("give a Router, or experts={name: model} together with router='mmlu-pro' or a folder")
    pool = experts if isinstance(experts, Pool) else Pool([as_expert(*item) for item in experts.items()])
    return build_router(pool, router=router, **options)


def as_expert(name: str, model: Any) -> Expert:
    """An expert around a native model object; its price is looked up by the model's own name.

    Raises:
        UnknownPrice: Not in the price list; pass ``Expert(name=…, client=model, input_usd_per_1m=…, …)`` instead.
    """
    if isinstance(model, Expert):
        return model if model.name == name else model.model_copy(update={"name": name})
    called = next((v for key in ("model_name", "model") if isinstance(v := getattr(model, key, None), str)), name)
    settings: dict[str, Any] = {"name": name, "model": called, "client": model}
    if isinstance(limit := getattr(model, "max_tokens", None), int):
        settings["max_output_tokens"] = limit
    return Expert(**settings)


def build_clients(pool: Pool, kind: type[Client], build: Callable[[Expert], Client]) -> dict[str, Client]:
    """The native client of every expert: the object given, else one built from its settings.

    Raises:
        ConfigurationError: An object of another framework, or an API key that is not in the environment.
    """
    clients = {}
    for expert in pool:
        if expert.client is None:
            if expert.api_key_env and not expert.api_key():
                raise ConfigurationError(
                    f"expert {expert.name!r}: api_key_env: {expert.api_key_env} is not set; export it, or remove the "
                    "expert"
                )
            clients[expert.name] = build(expert)
        elif isinstance(expert.client, kind):
            clients[expert.name] = expert.client
        else:
            found = type(expert.client).__name__
            raise ConfigurationError(f"expert {expert.name!r}: client: {found} is not a {kind.__name__}")
    return clients


def speaks_openai_natively(expert: Expert) -> bool:
    """Whether the endpoint is OpenAI's own, which takes ``max_completion_tokens`` instead of ``max_tokens``."""
    return expert.base_url is None or urlsplit(expert.base_url).hostname == "api.openai.com"
