"""``RoutooDecisionEvent``: every call tells LlamaIndex's instrumentation once what was decided and what it cost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events import BaseEvent

from routoo_core.calling.attempt import Attempt

dispatcher = get_dispatcher(__name__)


class RoutooDecisionEvent(BaseEvent):
    """A call was routed and settled; ``record`` is the decision record."""

    record: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """The name instrumentation knows it by."""
        return "RoutooDecisionEvent"


@contextmanager
def announced(attempt: Attempt) -> Iterator[None]:
    """``with attempt``, and the event after it, unless the next candidate takes the call over."""
    try:
        with attempt:
            yield
    finally:
        _announce(attempt)


@asynccontextmanager
async def aannounced(attempt: Attempt) -> AsyncIterator[None]:
    """:func:`announced`, async."""
    try:
        async with attempt:
            yield
    finally:
        _announce(attempt)


def _announce(attempt: Attempt) -> None:
    if attempt.error is None:
        dispatcher.event(RoutooDecisionEvent(record=attempt.record().to_dict()))
