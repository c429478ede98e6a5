"""What an expert can take and give."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from routoo_core.request import RoutedRequest
from routoo_core.settings import Settings

TYPICAL_OUTPUT_TOKENS = 300
"""What a reply usually takes where nothing better is known."""

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
    """

    context_window: Annotated[int, Field(gt=0)] = 8192
    max_output_tokens: Annotated[int, Field(gt=0)] = 4096
    expected_output_tokens: Annotated[int, Field(gt=0)] | None = None
    capabilities: frozenset[Capability] = frozenset()
    tokens_per_image: Annotated[int, Field(gt=0)] = 2500

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.max_output_tokens > self.context_window:
            raise ValueError(
                f"max_output_tokens {self.max_output_tokens} exceeds context_window {self.context_window}"
            )
        return self

    def lacks(self, needs: frozenset[str]) -> list[str]:
        """Which of the needs it cannot serve, by name."""
        served: set[str] = set(self.capabilities)
        if "json_schema" in served:
            served.add("json_mode")
        return sorted(needs - served)

    def prompt_tokens(self, request: RoutedRequest) -> int:
        """Estimated tokens of the prompt, images included."""
        image_tokens = request.images * self.tokens_per_image
        return request.prompt_tokens + image_tokens

    def prompt_token_bound(self, request: RoutedRequest) -> int:
        """The most tokens the prompt can be, images included."""
        image_tokens = request.images * self.tokens_per_image
        return request.prompt_token_bound + image_tokens
