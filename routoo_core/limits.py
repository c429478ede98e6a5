"""What an expert can take and give."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self, get_args

from pydantic import Field, model_validator

from routoo_core.request import RoutedRequest
from routoo_core.settings import Settings

TYPICAL_OUTPUT_TOKENS = 300
"""What a reply usually takes where nothing better is known."""
USEFUL_OUTPUT_TOKENS = 64
"""Room for a reply that a window must leave where the caller sets no limit."""

_TOKENIZER_MARGIN_PERCENT = 115
"""What other tokenizers make of a prompt, in percent of the estimate."""
_TEMPLATE_MARGIN = 64
"""Tokens of a chat template beyond the estimate."""

ReplyLimiter = Literal["caller", "expert", "window", "budget"]
"""What sets the limit on a reply: the caller's max_tokens, the expert's own limit, the room in its window, or money."""


class ReplyLimit(NamedTuple):
    """The limit on a reply.

    Attributes:
        tokens: At least 1.
        limited_by: What sets it.
    """

    tokens: int
    limited_by: ReplyLimiter


Capability = Literal["tools", "json_schema", "json_mode", "images", "audio", "files", "video"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


class Limits(Settings):
    """How much an expert reads and writes, and which forms of input and output it knows.

    Attributes:
        context_window: Tokens of prompt and reply together.
        max_output_tokens: The most tokens of a reply.
        expected_output_tokens: What a reply usually takes. By default what the router predicts for the prompt, or
            300 tokens where the router has not learnt lengths.
        capabilities: What it can take and give; ``json_schema`` includes ``json_mode``.
        tokens_per_image: The most that one image is billed as.
        added_prompt_tokens: The most tokens that its client adds to every prompt: a chain's own messages, or tools that
            its owner bound to it.
    """

    context_window: Annotated[int, Field(gt=0)] = 8192
    max_output_tokens: Annotated[int, Field(gt=0)] = 4096
    expected_output_tokens: Annotated[int, Field(gt=0)] | None = None
    capabilities: frozenset[Capability] = frozenset()
    tokens_per_image: Annotated[int, Field(gt=0)] = 2500
    added_prompt_tokens: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.max_output_tokens > self.context_window:
            raise ValueError(
                f"max_output_tokens {self.max_output_tokens} exceeds context_window {self.context_window}"
            )
        return self

    def lacks(self, needs: frozenset[str]) -> list[str]:
        """Which of the needs it cannot serve, by name."""
        if not needs:
            return []
        abilities: set[str] = set(self.capabilities)
        if "json_schema" in abilities:
            abilities.add("json_mode")
        return sorted(needs - abilities)

    def prompt_tokens(self, request: RoutedRequest) -> int:
        """Estimated tokens of the prompt, images included."""
        return request.prompt_tokens + self._added_tokens(request)

    def prompt_token_bound(self, request: RoutedRequest) -> int:
        """The most tokens the prompt can be, images included."""
        return request.prompt_token_bound + self._added_tokens(request)

    def needed_output_tokens(self, request: RoutedRequest) -> int:
        """The reply that the window must have room for: the caller's limit, else a short one that is of use."""
        return min(request.max_tokens or USEFUL_OUTPUT_TOKENS, self.max_output_tokens)

    def reply_limit(self, request: RoutedRequest) -> int:
        """The most tokens that a reply may have, at least 1.

        The caller's limit or the expert's own, and no more than the window has room for. The prompt counts with a
        margin for other tokenizers, since an endpoint refuses a prompt and a limit that exceed its window. A margin
        alone never takes the room of a short reply.
        """
        limit = min(request.max_tokens or self.max_output_tokens, self.max_output_tokens)
        room = self.context_window - self._cautious_prompt_tokens(request)
        if room >= limit:
            return limit
        estimated_room = self.context_window - self.prompt_tokens(request)
        shortest = min(limit, USEFUL_OUTPUT_TOKENS, estimated_room)
        return max(1, room, shortest)

    def reply_limiter(self, request: RoutedRequest) -> ReplyLimiter:
        """What sets :meth:`reply_limit`."""
        request_limit = request.max_tokens or self.max_output_tokens
        if self.reply_limit(request) < min(request_limit, self.max_output_tokens):
            return "window"
        is_callers = request.max_tokens is not None and request.max_tokens <= self.max_output_tokens
        return "caller" if is_callers else "expert"

    def _cautious_prompt_tokens(self, request: RoutedRequest) -> int:
        """Tokens of the prompt as most other tokenizers would count it at most."""
        with_margin = request.prompt_tokens * _TOKENIZER_MARGIN_PERCENT // 100 + _TEMPLATE_MARGIN
        text_tokens = min(with_margin, request.prompt_token_bound)
        return text_tokens + self._added_tokens(request)

    def _added_tokens(self, request: RoutedRequest) -> int:
        """Tokens of the prompt beside its text: images, and what the client adds."""
        return request.images * self.tokens_per_image + self.added_prompt_tokens
