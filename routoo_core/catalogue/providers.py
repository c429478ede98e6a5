"""Where a model is called, with which key, by its provider's name alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from routoo_core.catalogue.entries import ModelFacts
from routoo_core.model_names import BEDROCK_VENDOR


@dataclass(frozen=True, slots=True)
class ProviderEndpoint:
    """How a provider is reached.

    Attributes:
        title: What people call it.
        key: The environment variable that usually holds its key.
        provider: Its protocol in LangChain's words; ``None`` for OpenAI's.
        base_url: Its address; ``None`` for the protocol's own.
        hyphens: Whether it writes the versions of its models with hyphens (``claude-haiku-4-5``).
    """

    title: str
    key: str
    provider: str | None = None
    base_url: str | None = None
    hyphens: bool = False

    def settings(self) -> dict[str, Any]:
        """An expert's settings."""
        values = {
            "provider": self.provider,
            "base_url": self.base_url,
            "api_key_env": self.key,
        }
        return {name: value for name, value in values.items() if value is not None}


ENDPOINTS: dict[str, ProviderEndpoint] = {
    "openai": ProviderEndpoint("OpenAI", "OPENAI_API_KEY", base_url="https://api.openai.com/v1"),
    "anthropic": ProviderEndpoint(
        "Anthropic", "ANTHROPIC_API_KEY", provider="anthropic", hyphens=True
    ),
    "google": ProviderEndpoint("Google", "GOOGLE_API_KEY", provider="google_genai"),
    "mistral": ProviderEndpoint("Mistral", "MISTRAL_API_KEY", base_url="https://api.mistral.ai/v1"),
    "xai": ProviderEndpoint("xAI", "XAI_API_KEY", base_url="https://api.x.ai/v1"),
    "deepseek": ProviderEndpoint(
        "DeepSeek", "DEEPSEEK_API_KEY", base_url="https://api.deepseek.com/v1"
    ),
    "moonshotai": ProviderEndpoint(
        "Moonshot AI", "MOONSHOT_API_KEY", base_url="https://api.moonshot.ai/v1"
    ),
    "z-ai": ProviderEndpoint("Z.AI", "ZAI_API_KEY", base_url="https://api.z.ai/api/paas/v4"),
    "alibaba": ProviderEndpoint(
        "Alibaba",
        "DASHSCOPE_API_KEY",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    ),
    "openrouter": ProviderEndpoint(
        "OpenRouter", "OPENROUTER_API_KEY", base_url="https://openrouter.ai/api/v1"
    ),
    "groq": ProviderEndpoint("Groq", "GROQ_API_KEY", base_url="https://api.groq.com/openai/v1"),
    "together": ProviderEndpoint(
        "Together", "TOGETHER_API_KEY", base_url="https://api.together.xyz/v1"
    ),
    "fireworks": ProviderEndpoint(
        "Fireworks", "FIREWORKS_API_KEY", base_url="https://api.fireworks.ai/inference/v1"
    ),
}
"""Provider → how it is reached."""

_OTHER_WORDS = {
    "gemini": "google",
    "google_genai": "google",
    "mistralai": "mistral",
    "x-ai": "xai",
    "moonshot": "moonshotai",
    "zai": "z-ai",
    "qwen": "alibaba",
    "dashscope": "alibaba",
    "fireworks_ai": "fireworks",
    "together_ai": "together",
}
_HOSTS_NO_OPEN_MODELS = frozenset({"openai"})
"""Their own interface does not serve the models whose weights they publish."""
GATEWAYS = frozenset({"openrouter", "groq", "together", "fireworks"})
"""Providers that serve others' models under names that keep what stands before them."""


def endpoint_settings(name: str, facts: ModelFacts | None) -> dict[str, Any]:
    """Model, protocol, address and key of an expert that is only a name.

    Args:
        name: As people type it: ``gpt-5.5``, ``anthropic/claude-haiku-4.5``, ``openrouter/z-ai/glm-5``.
        facts: The model in the catalogue.

    Returns:
        An expert's settings; empty where nobody says who serves the model.
    """
    if BEDROCK_VENDOR.match(name):
        return {"model": name, "provider": "bedrock_converse"}
    first, _, rest = name.partition("/")
    word = _OTHER_WORDS.get(first.lower(), first.lower())
    if rest and word in GATEWAYS:
        return {"model": rest, **ENDPOINTS[word].settings()}

    provider = word if rest and word in ENDPOINTS else None
    if provider is None and facts is not None:
        provider = facts.provider
    if provider not in ENDPOINTS:
        return {}
    if provider in _HOSTS_NO_OPEN_MODELS and facts is not None and facts.is_open:
        return {}
    endpoint = ENDPOINTS[provider]
    model = name.rpartition("/")[2]
    if endpoint.hyphens:
        model = model.replace(".", "-")
    return {"model": model, **endpoint.settings()}


def is_own_endpoint(facts: ModelFacts, provider: object, base_url: object) -> bool:
    """Whether a model is called at its own provider's.

    Args:
        facts: The model.
        provider: The protocol of its expert, in LangChain's words.
        base_url: The address of its expert.
    """
    endpoint = ENDPOINTS.get(facts.provider or "")
    if endpoint is None:
        return False
    return (endpoint.provider, endpoint.base_url) == (provider or None, base_url or None)
