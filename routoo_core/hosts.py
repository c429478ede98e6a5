"""Whose machines an address leads to, in the words of the price list (genai-prices)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from genai_prices.types import Provider

PROVIDERS = {
    "amazon_bedrock": "aws",
    "anthropic_bedrock": "aws",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "bedrock_mantle_anthropic": "aws",
    "bedrock_mantle_openai": "aws",
    "gemini": "google",
    "google_anthropic_vertex": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "vertex": "google",
    "xai": "x-ai",
}
"""A provider in LangChain's or LlamaIndex's words → its id in the list, where they differ."""
_DOMAINS = {
    "api.cognitive.microsoft.com": "azure",
    "api.openai.com": "openai",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
    "githubcopilot.com": "github-copilot",
    "mistral.ai": "mistral",
    "models.ai.azure.com": "azure",
    "openai.azure.us": "azure",
    "openrouter.ai": "openrouter",
}
"""Domains whose every host, regional ones too, is one provider's; beside the patterns of the list."""
_HUGGING_FACE = "router.huggingface.co"
_BEDROCK = re.compile(
    r"(?:.+\.)?bedrock-(?:runtime|mantle)(?:-fips)?\.[a-z0-9-]+\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)
_CLIENT_ADDRESSES = (
    "openai_api_base",
    "azure_endpoint",
    "anthropic_api_url",
    "groq_api_base",
    "fireworks_api_base",
    "together_api_base",
    "xai_api_base",
    "openrouter_api_base",
    "api_base",
    "endpoint_url",
    "endpoint",
    "base_url",
)
"""Where the objects of frameworks hold the address they call."""
_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_DEEPEST_BINDING = 8
_CLIENT_PACKAGE = re.compile(r"(?:langchain_|llama_index\.llms\.)(\w+)")
_NO_PROVIDER = ("core", "community", "classic", "openai_like")


def is_web_address(text: str) -> bool:
    """Whether a text is an address that HTTP can call.

    >>> is_web_address("http://127.0.0.1:8000/v1"), is_web_address("ht!tp://host")
    (True, False)
    """
    if _BLANK_OR_CONTROL.search(text):
        return False
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname)
        return is_valid and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is called.

    Attributes:
        base_url: The address; ``None`` for the provider's own.
        provider: Whose protocol it speaks, in LangChain's words; ``None`` where nobody says.
    """

    base_url: str | None = None
    provider: str | None = None

    @property
    def host_name(self) -> str | None:
        """The name of the machine, without port, path and password."""
        if not self.base_url:
            return None
        return _host_and_path(self.base_url)[0] or None


def is_within(host: str, domains: Iterable[str]) -> bool:
    """Whether the name of a machine is one of these domains, or within one."""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def provider_of_address(base_url: str, providers: list[Provider]) -> str | None:
    """The provider, as the price list calls it, behind an address; ``None`` for a gateway or a machine of one's own."""
    host, path = _host_and_path(base_url)
    for domain, provider_id in _DOMAINS.items():
        if is_within(host, [domain]):
            return provider_id
    if _BEDROCK.fullmatch(host):
        return "aws"
    for provider in providers:
        if _leads_to(provider.api_pattern, host, path):
            return provider.id
    return None


def hugging_face_provider(model: str, address: Address) -> str | None:
    """Who serves ``"model:groq"`` at Hugging Face, as the price list calls it; ``None`` at other addresses.

    Hugging Face bills what the provider at the end of the name bills; without one it chooses, at an unknown price.
    """
    if address.host_name != _HUGGING_FACE:
        return None
    return f"huggingface_{model.rpartition(':')[2]}" if ":" in model else "huggingface"


def provider_of_word(word: str, providers: list[Provider]) -> str | None:
    """The provider, as the price list calls it, of a word of LangChain's; ``None`` where the list has none."""
    word = word.strip().lower()
    provider_id = PROVIDERS.get(word, word)
    for provider in providers:
        if provider.id == provider_id:
            return provider_id
    return None


def client_address(client: Any) -> Address:
    """The address at which a framework's own object calls its model; empty where the object does not say."""
    for _ in range(_DEEPEST_BINDING):
        client = getattr(client, "bound", client)  # LangChain: a model with arguments bound to it
    base_url = next(_client_urls(client), None)
    return Address(base_url, _client_provider(client))


def _client_urls(client: Any) -> Iterator[str]:
    inner_client = getattr(client, "root_client", None)
    for holder in (client, inner_client):
        for attribute in _CLIENT_ADDRESSES:
            value = getattr(holder, attribute, None)
            if value is not None and "://" in str(value):
                yield str(value)


def _client_provider(client: Any) -> str | None:
    """By the package of its class, or of the nearest one it derives from."""
    for kind in type(client).__mro__:
        match = _CLIENT_PACKAGE.match(kind.__module__)
        if match and match[1] not in _NO_PROVIDER:
            return match[1]
    return None


def _host_and_path(base_url: str) -> tuple[str, str]:
    """The name of the machine and the path on it, both in a form to compare."""
    url = base_url.strip()
    if "://" not in url:
        url = f"https://{url}"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "", ""
    return host.rstrip("."), parts.path


def _leads_to(pattern: str, host: str, path: str) -> bool:
    """Whether an address fits a pattern of the list with the whole name of its machine."""
    origin = f"https://{host}"
    match = re.match(pattern, f"{origin}/")
    if match is None and ".*" not in pattern:
        match = re.match(pattern, f"{origin}{path}")
    if match is None:
        return False
    # "api.groq.com.example.org" begins like Groq's address and is somebody else's.
    return match.end() >= len(origin) or match[0].endswith(".")
