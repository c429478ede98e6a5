"""A LangChain model with connections of its own, for one process or one event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from routoo_core.lifetimes import PerLoop, PerProcess
from routoo_integrations.connections import is_a, reconnect, socket_transport

_PARTS = ("bound", "runnable", "first", "last")
_LISTS_OF_PARTS = ("middle", "fallbacks")
"""Fields of LangChain's bindings, retries, fallbacks and sequences that hold other runnables."""


class ModelConnections:
    """The model of an expert for the process and the event loop that call it.

    LangChain shares the connections of its models between all loops; those of an earlier loop fail.

    Args:
        model: The model, with the connections of this process.
        rebuild: Builds another one like it; ``None`` for an object that was given.
    """

    def __init__(self, model: BaseChatModel, rebuild: Callable[[], BaseChatModel] | None) -> None:
        self._model = model
        self._rebuild = rebuild
        self._of_process = PerProcess(self._connect_process, model)
        self._of_loop = PerLoop(self._connect_loop, _close_model)

    def of_process(self) -> BaseChatModel:
        """The model for a synchronous call."""
        return self._of_process.get()

    def of_loop(self) -> BaseChatModel:
        """The model for a call in the running event loop."""
        return self._of_loop.get().model

    def _connect_process(self) -> BaseChatModel:
        """A model for a forked child, which must not write into its parent's connections."""
        if self._rebuild is not None and not _has_known_clients(self._model):
            return self._rebuild()
        model: BaseChatModel = _connect_sync(self._model)
        return model

    def _connect_loop(self) -> _LoopModel:
        model = self.of_process()
        if self._rebuild is not None and not _has_known_clients(model):
            model = self._rebuild()
            return _LoopModel(model, _closers_of(model))
        closers: list[Closer] = []
        return _LoopModel(_connect_async(model, closers), closers)


Closer = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _LoopModel:
    """A model of one event loop, and what closes its connections."""

    model: BaseChatModel
    closers: list[Closer] = field(default_factory=list)


async def _close_model(loop_model: _LoopModel) -> None:
    for close in loop_model.closers:
        await close()


def _closers_of(model: Any) -> list[Closer]:
    """What closes the asynchronous connections of a model that nobody else uses."""
    for client in (model, getattr(model, "async_client", None)):
        close = getattr(client, "aclose", None)
        if close is not None:
            return [close]
    return []


def _has_known_clients(model: Any) -> bool:
    return is_a(model, "BaseChatOpenAI", "ChatAnthropic")


def _connect_sync(model: Any) -> Any:
    """A copy of a model whose synchronous calls open their own connections, or the model itself if it is unknown."""
    if is_a(model, "BaseChatOpenAI"):
        client = _reconnect_openai(model, "root_client", model.http_client)
        if client is model.root_client:
            return model
        changes = {"root_client": client, "client": client.chat.completions}
        return model.model_copy(update=changes)
    if is_a(model, "ChatAnthropic"):
        return with_client(model, "_client", _reconnect_anthropic(model, "_client"))
    return with_parts(model, _connect_sync)


def _connect_async(model: Any, closers: list[Closer]) -> Any:
    """:func:`_connect_sync` of asynchronous calls.

    Args:
        model: The model.
        closers: Takes what closes the connections.
    """
    if is_a(model, "BaseChatOpenAI"):
        client = _reconnect_openai(model, "root_async_client", model.http_async_client)
        if client is model.root_async_client:
            return model
        closers.append(client.close)
        changes = {"root_async_client": client, "async_client": client.chat.completions}
        return model.model_copy(update=changes)
    if is_a(model, "ChatAnthropic"):
        client = _reconnect_anthropic(model, "_async_client")
        if client is not model._async_client:
            closers.append(client.close)
        return with_client(model, "_async_client", client)
    return with_parts(model, lambda part: _connect_async(part, closers))


def _reconnect_openai(model: Any, name: str, http_client: Any) -> Any:
    """The client of a ``BaseChatOpenAI`` on new connections; the same one if the HTTP client is its owner's."""
    client = getattr(model, name)
    proxy = model.openai_proxy
    if client is None or (http_client is not None and not proxy):
        return client
    socket_options = getattr(model, "http_socket_options", None)
    if proxy:
        return reconnect(client, proxy=proxy)
    if socket_options:
        return reconnect(client, transport=socket_transport(client, list(socket_options)))
    return reconnect(client)


def _reconnect_anthropic(model: Any, name: str) -> Any:
    settings: Mapping[str, Any] = {}
    if getattr(model, "anthropic_proxy", None):
        settings = {"proxy": model.anthropic_proxy}
    return reconnect(getattr(model, name), **settings)


def with_client(model: Any, name: str, client: Any) -> Any:
    """A copy of a model with another client where it remembers its own."""
    copy = model.model_copy()
    vars(copy)[name] = client
    return copy


def with_parts(model: Any, connect: Callable[[Any], Any]) -> Any:
    """A copy of a runnable that holds others, each connected; the same one if that changes none of them."""
    fields = vars(model)
    changes: dict[str, Any] = {}
    for name in _PARTS:
        part = fields.get(name)
        if isinstance(part, Runnable):
            new_part = connect(part)
            if new_part is not part:
                changes[name] = new_part
    for name in _LISTS_OF_PARTS:
        parts = fields.get(name)
        if isinstance(parts, list | tuple):
            changes[name] = [connect(part) for part in parts]
    return model.model_copy(update=changes) if changes else model
