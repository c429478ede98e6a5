"""Which providers LangChain has an integration for, and whether its package is installed."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec

from routoo_core.endpoint import Endpoint
from routoo_core.errors import MissingDependency
from routoo_integrations.building import unknown_provider


def check_package(expert: Endpoint, protocols: Collection[str]) -> None:
    """Refuse an expert whose provider is unknown, or whose integration package is not installed.

    Args:
        expert: Its settings.
        protocols: Providers whose models are built without LangChain's own integrations.

    Raises:
        ConfigurationError: No provider goes by that name.
        MissingDependency: The package is not installed; the message says how to install it.
    """
    if expert.provider is None or expert.provider in protocols:
        return
    packages = _packages(expert)
    name = expert.provider.replace("-", "_").lower()
    if packages and name not in packages:
        raise unknown_provider(expert, [*protocols, *packages])
    package = packages.get(name, "").partition(".")[0]
    if package and find_spec(package) is None:
        pip = package.replace("_", "-")
        raise MissingDependency(package, "langchain", f"call {expert.place}", pip)


def _packages(expert: Endpoint) -> dict[str, str]:
    """Provider → the package that speaks its protocol; empty where LangChain does not list them."""
    try:
        from langchain.chat_models import base
    except ImportError as error:
        raise MissingDependency("langchain", "langchain", f"call {expert.place}") from error
    providers = getattr(base, "_BUILTIN_PROVIDERS", {})
    return {name: str(entry[0]) for name, entry in providers.items()}
