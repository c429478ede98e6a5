"""``RoutooChatModel``, and middleware for agents, which needs ``langchain`` and is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from routoo_core.extras import needed_to

with needed_to("use RoutooChatModel"):
    from routoo_integrations.langchain.chat_model import RoutooChatModel

if TYPE_CHECKING:
    from routoo_integrations.langchain.middleware import RoutooMiddleware
    from routoo_integrations.langchain.prompt_caching import RoutooPromptCaching

__all__ = ["RoutooChatModel", "RoutooMiddleware", "RoutooPromptCaching"]

_MODULES = {"RoutooMiddleware": "middleware", "RoutooPromptCaching": "prompt_caching"}
"""Name → the module that it is loaded from."""


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
