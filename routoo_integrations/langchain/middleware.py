"""``RoutooMiddleware``: the same routing inside an agent that keeps its own models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from routoo_core.calling.attempt import Attempt
from routoo_core.request import RoutedRequest
from routoo_integrations.building import without_overrides
from routoo_integrations.langchain.chat_model import RoutooChatModel
from routoo_integrations.langchain.configured import configured
from routoo_integrations.langchain.messages import heard, portable, stamp


class RoutooMiddleware(AgentMiddleware[Any, Any, Any]):
    """Sends every model call of an agent to the expert that buys the most within the budget.

    ::

        agent = create_agent("openai:gpt-4o", tools, middleware=[RoutooMiddleware(model)])

    The agent's own model is used only by whatever does not pass through its model node. Unlike with ``RoutooChatModel``
    as the agent's model, traces show each expert's run as its own, with its own name.

    Args:
        model: The pool, budget and settings.
    """

    def __init__(self, model: RoutooChatModel) -> None:
        super().__init__()
        self.model = model

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Route one call."""
        for attempt in self.model.router.attempts(self._request(request)):
            with attempt:
                response = handler(self._of_expert(request, attempt))
                reply = _reply(response)
                attempt.settle(heard(reply, attempt))
                stamp(reply, attempt)
                return response
        raise AssertionError("attempts() yields a success or raises")

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """:meth:`wrap_model_call`, async."""
        async for attempt in self.model.router.aattempts(self._request(request)):
            async with attempt:
                response = await handler(self._of_expert(request, attempt))
                reply = _reply(response)
                await attempt.asettle(heard(reply, attempt))
                stamp(reply, attempt)
                return response
        raise AssertionError("aattempts() yields a success or raises")

    def _request(self, request: ModelRequest[Any]) -> RoutedRequest:
        system = [request.system_message] if request.system_message else []
        form, tools = (
            request.response_format,
            [convert_to_openai_tool(tool) for tool in request.tools],
        )
        if isinstance(form, ToolStrategy):
            tools += [
                convert_to_openai_tool(cast("type", spec.schema)) for spec in form.schema_specs
            ]
        told = form.to_model_kwargs() if isinstance(form, ProviderStrategy) else {}
        call = {**configured(None), **request.model_settings, **told, "tools": tools}
        return self.model.routed([*system, *request.messages], call)

    def _of_expert(self, request: ModelRequest[Any], attempt: Attempt) -> ModelRequest[Any]:
        client = self.model.client(attempt.expert)
        said = without_overrides(request.model_settings)
        return request.override(
            model=client.model,
            messages=cast("list[AnyMessage]", portable(request.messages, attempt.expert.name)),
            model_settings={**client.bound, **said, "max_tokens": attempt.max_tokens},
        )


def _reply(response: ModelResponse[Any]) -> BaseMessage:
    return next(message for message in reversed(response.result) if isinstance(message, AIMessage))
