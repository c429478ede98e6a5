"""Refusals: what an expert said instead of an answer, and the structured call that waits for an object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse

from routoo_core.errors import ReplyRefused
from routoo_core.usage import field_of

_WATCH: ContextVar[RefusalWatch | None] = ContextVar("routoo_refusals", default=None)


class RefusalWatch:
    """The refusals in the calls that a structured call makes; LlamaIndex's programs see only that there is no object.

    ::

        watch = RefusalWatch()
        with watch.calls():
            program()
        watch.check()
    """

    def __init__(self) -> None:
        self._refusals: list[ReplyRefused] = []

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Watch the calls made in the block; an error after a refusal becomes that refusal.

        Raises:
            ReplyRefused: The block failed after an expert refused.
        """
        token = _WATCH.set(self)
        try:
            yield
        except Exception as error:
            self.check(error)
            raise
        finally:
            _WATCH.reset(token)

    def add(self, expert: str, refusal: str) -> None:
        """Note a refusal."""
        self._refusals.append(ReplyRefused(expert, refusal))

    def check(self, cause: Exception | None = None) -> None:
        """Raise the last refusal, if there was one.

        Args:
            cause: What the refusal led to.

        Raises:
            ReplyRefused: An expert refused.
        """
        if self._refusals:
            raise self._refusals[-1] from cause


def note_refusal(expert: str, refusal: str) -> None:
    """Tell the structured call that is being made, if any, that an expert refused; no words are no refusal."""
    watch = _WATCH.get()
    if refusal and watch is not None:
        watch.add(expert, refusal)


def refusal_text(response: ChatResponse | CompletionResponse) -> str:
    """What the expert said instead of an answer, or what a piece of a stream adds to it; empty where it did not refuse.

    OpenAI's integration drops a refusal from the message; the provider's own reply has it.
    """
    choices = field_of(response.raw, "choices")
    if isinstance(choices, list) and choices:
        message = field_of(choices[0], "message") or field_of(choices[0], "delta")
        refusal = field_of(message, "refusal")
        return refusal if isinstance(refusal, str) else ""
    if isinstance(response, CompletionResponse):
        return ""
    refusal = response.message.additional_kwargs.get("refusal")  # OpenAI's responses
    if isinstance(refusal, str):
        return refusal
    if field_of(response.raw, "stop_reason") == "refusal":  # Anthropic
        return response.message.content or "no words"
    return ""
