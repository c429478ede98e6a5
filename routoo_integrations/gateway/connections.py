"""HTTP to the experts: bodies go out as they are given, and replies come back as they are sent."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from routoo_core.endpoint import AZURE, OPENAI_ADDRESS_VARIABLES, first_set_variable
from routoo_core.errors import ConfigurationError, NoReply
from routoo_core.experts import Expert, Pool
from routoo_core.redaction import scrubbed
from routoo_core.text import parse_json
from routoo_integrations.building import unknown_provider
from routoo_integrations.gateway.events import EventParser, ServerEvent

WireProtocol = Literal["openai", "anthropic"]
"""What an expert speaks: OpenAI's chat completions or Anthropic's messages."""

ANTHROPIC = "anthropic"
ANTHROPIC_VERSION = "2023-06-01"

_PROTOCOLS: dict[str | None, WireProtocol] = {
    None: "openai",
    "openai": "openai",
    AZURE: "openai",
    ANTHROPIC: "anthropic",
}
_OPENAI_ADDRESS = "https://api.openai.com/v1"
_ANTHROPIC_ADDRESS = "https://api.anthropic.com"
_ANTHROPIC_KEY = "ANTHROPIC_API_KEY"
_EVENT_STREAM = "text/event-stream"
_CHAT_PATH = "chat/completions"


class ExpertStatusError(Exception):
    """An expert answered with an error status.

    Attributes:
        status_code: Of HTTP.
        body: JSON values, or a text.
        headers: Of the answer.
    """

    def __init__(self, status_code: int, body: Any, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self.body = body
        self.headers = headers
        super().__init__(f"status {status_code}")


class ExpertStreamError(Exception):
    """An expert's stream said that it failed.

    Attributes:
        body: What it said.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        super().__init__("an error within a stream")


def protocol_of(expert: Expert) -> WireProtocol:
    """What an expert speaks."""
    return _PROTOCOLS[expert.provider]


def check_provider(expert: Any) -> None:
    """Refuse an expert that the gateway cannot call.

    Raises:
        ConfigurationError: Its provider speaks another protocol, or its key is not in the environment.
    """
    if expert.provider not in _PROTOCOLS:
        names = [name for name in _PROTOCOLS if name is not None]
        error = unknown_provider(expert, names)
        raise ConfigurationError(
            f"{error}. The gateway speaks OpenAI's and Anthropic's protocols; most other providers "
            "have an address for OpenAI's: write that as base_url, and leave provider out"
        )
    is_anthropic = expert.provider == ANTHROPIC and not expert.base_url
    if is_anthropic and _anthropic_key(expert) is None:
        raise ConfigurationError(
            f"{expert.place}: api_key_env: {_ANTHROPIC_KEY} is not set; export it, or remove the expert"
        )


def check_pool(pool: Pool) -> None:
    """Refuse a pool with an expert that the gateway cannot call.

    Raises:
        ConfigurationError: The message names the expert and the remedy.
    """
    for expert in pool:
        if expert.client is not None:
            raise ConfigurationError(
                f"{expert.place}: client: the gateway calls experts by their addresses; describe it by its settings"
            )
        check_provider(expert)
        expert.check_key()


@dataclass(frozen=True)
class ExpertAddress:
    """Where an expert's protocol is spoken, and how a caller identifies itself there.

    Attributes:
        url: The whole address.
        headers: Sent with every call; they hold the key.
        key: The key, to be hidden where it is quoted.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    key: str | None = field(repr=False)

    @cached_property
    def proxy(self) -> str | None:
        """The proxy that the environment names for it; ``None`` for none."""
        parts = urlsplit(self.url)
        if proxy_bypass(parts.netloc):
            return None
        proxies = getproxies()
        return proxies.get(parts.scheme) or proxies.get("all")


class ExpertConnections:
    """Calls experts over connections that are kept open; for one event loop.

    Args:
        pool: The experts.
        path: What is asked at those that speak OpenAI's protocol.
    """

    def __init__(self, pool: Pool, path: str = _CHAT_PATH) -> None:
        self.pool = pool
        self._addresses = {expert.name: _address_of(expert, path) for expert in pool}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, expert: Expert, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The whole reply to a body.

        Args:
            expert: Whom to call.
            body: JSON in the expert's own protocol.
            headers: Beside those that the expert is always sent.

        Raises:
            ExpertStatusError: The expert refused or failed.
            aiohttp.ClientError: The connection failed.
            TimeoutError: Nothing came in time.
        """
        async with self._post(expert, body, headers, _whole_timeout(expert.timeout_s)) as response:
            payload: bytes = await response.read()
            self._check_status(expert, response, payload)
            return payload

    async def stream(
        self, expert: Expert, body: bytes, headers: Mapping[str, str]
    ) -> AsyncGenerator[ServerEvent, None]:
        """The events of a streamed reply to a body; arguments and errors as in :meth:`send`.

        Raises:
            NoReply: The reply is no stream.
        """
        async with self._post(expert, body, headers, _stream_timeout(expert.timeout_s)) as response:
            if response.status >= 300:
                self._check_status(expert, response, await response.read())
            if response.content_type != _EVENT_STREAM:
                raise NoReply(expert.name, f"{response.content_type} instead of a stream")
            parser = EventParser()
            async for data in response.content.iter_any():
                for event in parser.feed(data):
                    yield event

    def _post(
        self,
        expert: Expert,
        body: bytes,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> Any:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            # Callers share the connections: a cookie that one call brought goes with no other's.
            jar = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=jar)
        address = self._addresses[expert.name]
        return self._session.post(
            address.url,
            data=body,
            headers={**headers, **address.headers},
            timeout=timeout,
            proxy=address.proxy,
            allow_redirects=False,  # the key is for this address alone
        )

    def _check_status(
        self, expert: Expert, response: aiohttp.ClientResponse, payload: bytes
    ) -> None:
        if 200 <= response.status < 300:
            return
        text = payload.decode(errors="replace")
        text = scrubbed(text, [self._addresses[expert.name].key])
        body: Any = text
        with suppress(ValueError):
            body = parse_json(text)
        headers = {name.lower(): value for name, value in response.headers.items()}
        raise ExpertStatusError(response.status, body, headers)


@lru_cache(maxsize=64)
def _whole_timeout(seconds: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


@lru_cache(maxsize=64)
def _stream_timeout(seconds: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)


def _address_of(expert: Expert, path: str) -> ExpertAddress:
    if protocol_of(expert) == "anthropic":
        return _anthropic_address(expert)
    if expert.is_azure:
        return _azure_address(expert, path)
    base_url = expert.base_url or first_set_variable(OPENAI_ADDRESS_VARIABLES) or _OPENAI_ADDRESS
    key = expert.api_key()
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return ExpertAddress(f"{base_url.rstrip('/')}/{path}", headers, key)


def _azure_address(expert: Expert, path: str) -> ExpertAddress:
    settings = expert.azure_settings
    deployment = quote(settings["azure_deployment"], safe="")
    version = quote(settings["api_version"], safe="")
    base_url = f"{settings['azure_endpoint']}/openai/deployments/{deployment}"
    key = expert.api_key()
    headers = {"Content-Type": "application/json", "api-key": key or ""}
    return ExpertAddress(f"{base_url}/{path}?api-version={version}", headers, key)


def _anthropic_address(expert: Expert) -> ExpertAddress:
    base_url = (expert.base_url or _ANTHROPIC_ADDRESS).rstrip("/").removesuffix("/v1")
    key = _anthropic_key(expert)
    headers = {
        "Content-Type": "application/json",
        "anthropic-version": ANTHROPIC_VERSION,
        "x-api-key": key or "",
    }
    return ExpertAddress(f"{base_url}/v1/messages", headers, key)


def _anthropic_key(expert: Expert) -> str | None:
    if expert.api_key_env:
        return expert.api_key()
    return os.environ.get(_ANTHROPIC_KEY, "").strip() or None
