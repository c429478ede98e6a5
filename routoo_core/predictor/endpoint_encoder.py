"""An encoder behind an OpenAI-compatible embedding endpoint: ``https://HOST/v1#MODEL`` in ``EncoderSettings``.

What the endpoint charges for vectors is in no budget: it is paid before a call is routed, also for calls that are
refused then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from routoo_core.endpoint import Endpoint
from routoo_core.errors import ConfigurationError, PredictionFailed, PromptUnreadable
from routoo_core.lifetimes import PerProcess
from routoo_core.predictor.base import Vectors
from routoo_core.tokens import count_tokens

if TYPE_CHECKING:
    from openai import OpenAI

SCHEMES = ("https", "http")
KEY_VARIABLE = "EMBEDDING_API_KEY"
"""Holds the key of an endpoint that is not OpenAI's own; that one has ``OPENAI_API_KEY``."""
TIMEOUT_S = 10.0
"""Every call waits for its vector, and the calls behind it wait too."""
_BATCH = 128
"""Texts in one request."""
_REFUSALS = frozenset({400, 413, 422})
"""Statuses of an endpoint that is up, and refuses what it is sent."""
_NO_KEY = "none"
"""The client wants a key; local servers do not look at it."""


class EndpointEncoder:
    """Vectors of an embedding endpoint.

    Args:
        endpoint: Where it is, and the model's name there.
        max_tokens: Longer texts keep their head and their tail.
    """

    def __init__(self, endpoint: Endpoint, max_tokens: int) -> None:
        self.endpoint = endpoint
        self.max_tokens = max_tokens
        self._client = PerProcess(self._connect)

    @cached_property
    def dim(self) -> int:
        """Length of a vector; the endpoint is asked for one to learn it."""
        return len(self.encode(["How long is a vector?"])[0])

    @property
    def fingerprint(self) -> str:
        """The address and the model. A change of the weights behind them cannot be seen."""
        return f"{self.endpoint.base_url}#{self.endpoint.model}"

    def encode(
        self, prompts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Vectors:
        """Encode texts; thread-safe, float32, shape (prompts, dim).

        Raises:
            PromptUnreadable: The endpoint refused a text.
            PredictionFailed: It failed, or answered with something else than a vector for each text.
        """
        parts = []
        for start in range(0, len(prompts), _BATCH):
            texts = [self._shorten(prompt) for prompt in prompts[start : start + _BATCH]]
            parts.append(self._ask(texts))
            if progress:
                progress(len(texts))
        if not parts:
            return np.empty((0, self.dim), dtype=np.float32)
        return np.concatenate(parts)

    def _ask(self, texts: list[str]) -> Vectors:
        from openai import APIStatusError, OpenAIError

        try:
            answer = self._client.get().embeddings.create(model=self.endpoint.model, input=texts)
        except OpenAIError as error:
            if isinstance(error, APIStatusError) and error.status_code in _REFUSALS:
                raise PromptUnreadable(
                    f"encoder {self.fingerprint}: the endpoint refused a text with status {error.status_code}; if it "
                    f"was too long, train with an encoder.max_tokens below {self.max_tokens}"
                ) from None
            # The provider's own words may quote a prompt, of another account even, or the key.
            raise PredictionFailed(
                f"encoder {self.fingerprint}: {type(error).__name__}; is the endpoint up, the model's name right, and "
                f"{self.endpoint.key_variable or KEY_VARIABLE} set if it needs a key?"
            ) from None
        items = sorted(answer.data, key=lambda item: item.index)
        lengths = {len(item.embedding) for item in items}
        if len(items) != len(texts) or len(lengths) != 1:
            raise PredictionFailed(
                f"encoder {self.fingerprint}: {len(items)} vectors of lengths {sorted(lengths)} for "
                f"{len(texts)} texts; name a model that gives one vector for each text"
            )
        vectors = np.array([item.embedding for item in items], dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise PredictionFailed(
                f"encoder {self.fingerprint}: a vector holds numbers that are not finite"
            )
        return vectors

    def _shorten(self, prompt: str) -> str:
        """The text within the limit; endpoints refuse empty ones."""
        tokens = count_tokens(prompt)
        if tokens <= self.max_tokens:
            return prompt or " "
        limit = len(prompt) * self.max_tokens // tokens
        head = limit // 2
        return prompt[:head] + prompt[head - limit :]

    def _connect(self) -> OpenAI:
        from openai import OpenAI

        return OpenAI(
            base_url=self.endpoint.base_url,
            api_key=self.endpoint.api_key() or _NO_KEY,
            timeout=TIMEOUT_S,
            max_retries=0,
        )


def read_endpoint_encoder(model: str, max_tokens: int) -> EndpointEncoder:
    """The encoder that ``https://HOST/v1#MODEL`` names.

    Args:
        model: The address, a ``#`` and the model's name.
        max_tokens: Of a text.

    Raises:
        ConfigurationError: A part is missing or holds a key, or OpenAI's key is not set.
    """
    address, _, name = model.partition("#")
    if not name:
        raise ConfigurationError(
            f"encoder.model: {model!r} names no model; write its name behind the address, as in "
            "'https://api.openai.com/v1#text-embedding-3-small'"
        )
    values = {"name": "encoder.model", "model": name, "base_url": address}
    endpoint = Endpoint.read("encoder.model", values)
    if endpoint.key_variable is None and os.environ.get(KEY_VARIABLE):
        endpoint = endpoint.model_copy(update={"api_key_env": KEY_VARIABLE})
    endpoint.check_key()
    return EndpointEncoder(endpoint, max_tokens)
