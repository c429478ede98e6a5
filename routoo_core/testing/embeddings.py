"""The answers of a fake endpoint to ``/embeddings``, in the JSON of OpenAI's protocol."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping
from typing import Any

from routoo_core.testing.bills import JsonObject
from routoo_core.usage import Usage

_DIMENSIONS = 4
_PLACES = 3


class EmbeddingAnswer:
    """The answer to a call of ``/embeddings``: the same vector for the same text, as numbers or in base64.

    A text bills a token for each word, a list of tokens its length.

    Attributes:
        tokens: What it bills.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._inputs = _inputs_of(body["input"])
        self.tokens = Usage(sum(_token_count(text) for text in self._inputs), 0)

    def whole(self) -> JsonObject:
        """The answer at once."""
        data = []
        for index, text in enumerate(self._inputs):
            data.append({"object": "embedding", "index": index, "embedding": self._vector(text)})
        count = self.tokens.prompt_tokens
        return {
            "object": "list",
            "data": data,
            "model": self._body["model"],
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }

    def _vector(self, text: Any) -> list[float] | str:
        digest = hashlib.sha256(repr(text).encode()).digest()
        numbers = [round(byte / 255, _PLACES) for byte in digest[: self._dimensions]]
        if self._body.get("encoding_format") != "base64":
            return numbers
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()

    @property
    def _dimensions(self) -> int:
        return int(self._body.get("dimensions") or _DIMENSIONS)


def _inputs_of(value: Any) -> list[Any]:
    """The inputs of a call, each a text or a list of tokens."""
    is_one = isinstance(value, str) or (bool(value) and isinstance(value[0], int))
    return [value] if is_one else list(value)


def _token_count(text: Any) -> int:
    return len(text.split()) if isinstance(text, str) else len(text)
