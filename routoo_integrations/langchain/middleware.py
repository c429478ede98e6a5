"""``RoutooMiddleware``: the same routing inside an agent that keeps its own models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.driver import arun, run
from routoo_core.calling.readings import Reading
from routoo_core.record import DecisionRecord
from routoo_core.request import RoutedRequest
from routoo_integrations.call_arguments import without_parameters
from routoo_integrations.langchain.chat_model import RoutooChatModel
from routoo_integrations.langchain.configured import configured_settings
from routoo_integrations.langchain.errors import errors_as_langchain
from routoo_integrations.langchain.messages import (
    portable_messages,
    stamp_message,
    well_formed_message,
)
from routoo_integrations.langchain.reading import read_message


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
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Any],
    ) -> ModelResponse[Any]:
        """Route one call."""
        call = AgentCall(self.model, request, handler)
        with errors_as_langchain():
            return run(self.model.router, self._routed_request(request), call)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Any],
    ) -> ModelResponse[Any]:
        """:meth:`wrap_model_call`, async."""
        call = AgentCall(self.model, request, handler)
        with errors_as_langchain():
            return await arun(self.model.router, lambda: self._routed_request(request), call)

    def _routed_request(self, request: ModelRequest[Any]) -> RoutedRequest:
        """An agent's request as the router reads it."""
        messages: list[BaseMessage] = [*request.messages]
        if request.system_message:
            messages.insert(0, request.system_message)

        output_form = request.response_format
        tools: list[Any] = [*request.tools]
        if isinstance(output_form, ToolStrategy):
            tools += [spec.schema for spec in output_form.schema_specs]

        keywords = {**configured_settings(None), **request.model_settings}
        if isinstance(output_form, ProviderStrategy):
            keywords.update(output_form.to_model_kwargs())
        keywords["tools"] = tools
        return self.model.routed_request(messages, keywords)


@dataclass(frozen=True)
class AgentCall:
    """A model call of an agent, as the driver makes it.

    Attributes:
        model: The pool.
        request: The agent's request.
        handler: Calls a request's model.
    """

    model: RoutooChatModel
    request: ModelRequest[Any]
    handler: Callable[[ModelRequest[Any]], Any]

    def send(self, attempt: Attempt) -> ModelResponse[Any]:
        """The reply of an expert."""
        with attempt.preparation():
            request = self._request_for(attempt)
        response: ModelResponse[Any] = self.handler(request)
        return response

    async def asend(self, attempt: Attempt) -> ModelResponse[Any]:
        """:meth:`send`, async."""
        with attempt.preparation():
            request = self._request_for(attempt)
        response: ModelResponse[Any] = await self.handler(request)
        return response

    def read(self, reply: ModelResponse[Any]) -> Reading:
        """What the reply says."""
        return read_message(_ai_message(reply))

    def stamp(self, reply: ModelResponse[Any], record: DecisionRecord) -> ModelResponse[Any]:
        """The reply, its message stamped."""
        stamp_message(_ai_message(reply), record)
        return reply

    def _request_for(self, attempt: Attempt) -> ModelRequest[Any]:
        """The request with an expert's model, the arguments that it takes and what of the messages it can read."""
        client = self.model.client(attempt.expert).without(attempt.withheld)
        messages = portable_messages(self.request.messages, attempt.expert.name)
        system_message = self.request.system_message
        if system_message:
            system_message = well_formed_message(system_message)
        settings = self.model.expert_keywords(self.request.model_settings)
        stop = self.model.stop_of(settings.pop("stop", None))
        if attempt.foreign_arguments:
            stop = None
        settings = without_parameters(settings, attempt.foreign_arguments)
        arguments = client.arguments(stop, settings, attempt.max_tokens)
        if arguments.get("stop") is None:
            arguments.pop("stop", None)
        return self.request.override(
            model=client.model,
            system_message=system_message,
            messages=cast("list[AnyMessage]", messages),
            model_settings=arguments,
        )


def _ai_message(response: ModelResponse[Any]) -> AIMessage:
    """The last message of the model in a response."""
    for message in reversed(response.result):
        if isinstance(message, AIMessage):
            return message
    raise TypeError("the handler returned a response without an AIMessage; return the model's own")
