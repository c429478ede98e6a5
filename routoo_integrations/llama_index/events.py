"""``RoutooDecisionEvent``: every call tells LlamaIndex's instrumentation once what was decided and what it cost."""

from __future__ import annotations

from typing import Any

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events import BaseEvent

from routoo_core.calling.attempt import Attempt
from routoo_core.record import DecisionRecord

dispatcher = get_dispatcher(__name__)


class RoutooDecisionEvent(BaseEvent):
    """A call was routed and settled.

    Attributes:
        record: The decision record, as plain JSON values.
    """

    record: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """The name instrumentation knows it by."""
        return "RoutooDecisionEvent"


def send_decision_event(attempt: Attempt) -> None:
    """Send the event of a call; the driver's ``on_end`` hook."""
    send_record_event(attempt.record())


def send_record_event(record: DecisionRecord) -> None:
    """Send the event of a decision record."""
    dispatcher.event(RoutooDecisionEvent(record=record.to_dict()))
