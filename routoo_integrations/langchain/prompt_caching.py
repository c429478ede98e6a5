"""``RoutooPromptCaching``: has Anthropic's models in a pool cache the prompts of an agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse


class RoutooPromptCaching(AgentMiddleware[Any, Any]):
    """Middleware that asks for a cached prompt in every call of an agent.

    ``AnthropicPromptCachingMiddleware`` asks whether the model is a ``ChatAnthropic``, and a pool is none. This one
    marks every call; experts of other providers are not told, as most of those cache by themselves::

        agent = create_agent(routoo_chat_model, tools, middleware=[RoutooPromptCaching()])

    Args:
        ttl: How long the provider keeps what it caches; an hour costs more.
    """

    def __init__(self, ttl: Literal["5m", "1h"] = "5m") -> None:
        super().__init__()
        self.cache_control = {"type": "ephemeral", "ttl": ttl}

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Any],
    ) -> ModelResponse[Any]:
        """Mark one call."""
        return handler(self._mark(request))  # type: ignore[no-any-return]

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Any],
    ) -> ModelResponse[Any]:
        """:meth:`wrap_model_call`, async."""
        return await handler(self._mark(request))  # type: ignore[no-any-return]

    def _mark(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        settings = {**request.model_settings, "cache_control": self.cache_control}
        return request.override(model_settings=settings)
