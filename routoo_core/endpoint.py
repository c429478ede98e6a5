"""Where an expert is reached, with which key, and how many calls it takes."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from routoo_core.errors import ConfigurationError
from routoo_core.settings import Settings

NO_KEY = "not-needed"
"""OpenAI's client insists on a key; endpoints without authentication ignore this one."""


class Endpoint(Settings):
    """Where an expert is reached.

    Attributes:
        name: What the pool, decisions and records call the expert.
        model: What the endpoint calls it.
        provider: Whose protocol the endpoint speaks, in LangChain's words ("anthropic", "google_genai"); by default
            OpenAI's.
        base_url: The address; by default the provider's own.
        api_key_env: The environment variable that holds the key; ``None`` where no key is needed.
        timeout_s: Seconds after which a call has failed.
        max_retries: How often its client tries again before the router moves on to another expert.
        strict_model: Whether a reply of another model than was asked is refused; else it is booked, with a warning.
        answers_as: Other names by which replies call this very model, such as that of an alias or a deployment.
        unsupported_parameters: Arguments that the model does not take, beyond those that are known or that it refuses.
        silent_stream_end: Whether its streams end without a finish reason and usage, which else means that they were
            cut off.
        requests_per_minute: The most calls that ``routoo score`` starts in a minute.
        tokens_per_minute: The most tokens, of prompts and replies, that it asks for in a minute.
    """

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    provider: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    max_retries: Annotated[int, Field(ge=0)] = 0
    strict_model: bool = False
    answers_as: frozenset[str] = frozenset()
    unsupported_parameters: frozenset[str] = frozenset()
    silent_stream_end: bool = False
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None

    @property
    def speaks_openai_natively(self) -> bool:
        """Whether the endpoint is OpenAI's own, which takes ``max_completion_tokens`` instead of ``max_tokens``."""
        if self.base_url is None:
            return True
        return urlsplit(self.base_url).hostname == "api.openai.com"

    def api_key(self) -> str | None:
        """The key, read from the environment now; ``None`` if the expert needs none or it is not set."""
        if not self.api_key_env:
            return None
        return os.environ.get(self.api_key_env)

    def check_key(self) -> None:
        """Refuse a key that is needed and not there.

        Raises:
            ConfigurationError: It is not in the environment.
        """
        if self.api_key_env and not self.api_key():
            raise ConfigurationError(
                f"expert {self.name!r}: api_key_env: {self.api_key_env} is not set; export it, or remove the expert"
            )
