"""Connections of an SDK's client, which live in one process and, if they are asynchronous, in one event loop."""

from __future__ import annotations

import inspect
import ssl
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

_DEFAULT_HTTP_CLIENT = "HttpxClientWrapper"
"""How the class names end of the HTTP clients that OpenAI's SDK, Anthropic's and LangChain open by themselves."""


def is_a(client: Any, *class_names: str) -> bool:
    """Whether an object's class has one of these names or derives from one that has; no package need be installed."""
    return any(kind.__name__ in class_names for kind in type(client).__mro__)


def reconnect(client: Any, **settings: Any) -> Any:
    """A copy of an SDK's client that opens its own connections; the client itself if its owner gave it an HTTP client.

    Args:
        client: A client of OpenAI's or Anthropic's SDK, synchronous or not.
        settings: Settings of its HTTP client, if it has others than by default; they say that it is no owner's own.
    """
    if not settings and not type(client._client).__name__.endswith(_DEFAULT_HTTP_CLIENT):
        return client
    kind = _http_client_kind(client)
    http_client = kind(verify=_ssl_context(_http_library(kind)), **settings)
    return client.copy(http_client=http_client)


def socket_transport(client: Any, socket_options: list[Any]) -> Any:
    """A transport for :func:`reconnect` whose connections have these socket options."""
    library = _http_library(_http_client_kind(client))
    kind = library.AsyncHTTPTransport if _is_async(client) else library.HTTPTransport
    return kind(
        verify=_ssl_context(library),
        limits=_sdk(client).DEFAULT_CONNECTION_LIMITS,
        socket_options=socket_options,
    )


def _sdk(client: Any) -> ModuleType:
    return import_module(type(client).__module__.partition(".")[0])


def _is_async(client: Any) -> bool:
    return inspect.iscoroutinefunction(client.close)


def _http_client_kind(client: Any) -> type[Any]:
    """The SDK's class of HTTP clients with its own defaults."""
    sdk = _sdk(client)
    kind: type[Any] = sdk.DefaultAsyncHttpxClient if _is_async(client) else sdk.DefaultHttpxClient
    return kind


def _http_library(kind: type[Any]) -> ModuleType:
    """The library that a class of HTTP clients is of: httpx or its successor."""
    names = [base.__module__.partition(".")[0] for base in kind.__mro__]
    return import_module(next(name for name in names if name.startswith("httpx")))


@lru_cache(maxsize=4)  # reading the certificates takes far longer than all else
def _ssl_context(library: ModuleType) -> ssl.SSLContext:
    context: ssl.SSLContext = library.create_ssl_context()
    return context
