"""The answers of a fake endpoint to ``/completions``, in the JSON of OpenAI's protocol and of llama.cpp's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from routoo_core.testing.bills import JsonObject, openai_usage
from routoo_core.testing.replies import WORD, Reply
from routoo_core.usage import Usage

_FORCED_TOKEN = re.compile(r"<\[(\d+)\]>")
"""A token in a grammar of llama.cpp."""


class TextAnswer:
    """The answer to a call of ``/completions``.

    With log-probabilities of the prompt's words where it is to be echoed, or of the tokens that a grammar forces.

    Attributes:
        tokens: What it bills.
    """

    def __init__(self, reply: Reply, body: Mapping[str, Any]) -> None:
        self._reply = reply
        self._body = body
        self._words, self._finish_reason = reply.words(body)
        grammar = body.get("grammar", "")
        self._forced_tokens = [int(token) for token in _FORCED_TOKEN.findall(grammar)]
        self.tokens = Usage(len(body["prompt"]), len(self._forced_tokens or self._words))

    def whole(self) -> JsonObject:
        """The answer at once."""
        choice = {
            "index": 0,
            "text": "".join(self._words),
            "logprobs": self._logprobs(),
            "finish_reason": self._finish_reason,
        }
        return {
            "id": "cmpl-fake",
            "object": "text_completion",
            "created": 1_700_000_000,
            "model": self._body["model"],
            "choices": [choice],
            "usage": openai_usage(self.tokens),
        }

    def _logprobs(self) -> JsonObject | None:
        logprob = self._reply.logprob
        if logprob is None:
            return None
        if self._forced_tokens:
            return _logprobs_of_tokens(self._forced_tokens, logprob)
        if self._body.get("echo"):
            return _logprobs_of_words(self._body["prompt"], logprob)
        return None


def _logprobs_of_words(prompt: str, logprob: float) -> JsonObject | None:
    """As vLLM, SGLang and OpenAI's completions report them of an echoed prompt; the first has none."""
    words = list(WORD.finditer(prompt))
    if not words:
        return None
    return {
        "tokens": [word[0] for word in words],
        "token_logprobs": [None] + [logprob] * (len(words) - 1),
        "text_offset": [word.start() for word in words],
    }


def _logprobs_of_tokens(tokens: Sequence[int], logprob: float) -> JsonObject:
    """As llama.cpp reports them."""
    content = []
    for token in tokens:
        content.append({"id": token, "token": chr(token), "logprob": logprob})
    return {"content": content}
