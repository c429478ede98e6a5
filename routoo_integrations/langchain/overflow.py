"""A prompt that is too long for all, as LangChain's own error: middleware that summarises waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import ContextOverflowError

from routoo_core.errors import ContextWindowExceeded


class PromptTooLong(ContextWindowExceeded, ContextOverflowError):
    """No expert's window can take the prompt.

    Args:
        excluded: Expert name → what it lacks.
    """


@contextmanager
def overflow_as_langchain() -> Iterator[None]:
    """Raise :class:`PromptTooLong` for every ``ContextWindowExceeded`` within the block."""
    try:
        yield
    except ContextWindowExceeded as error:
        raise PromptTooLong(error.excluded) from error
