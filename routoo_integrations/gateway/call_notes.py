"""What is noted of one call for the figures and the page; its caller does not wait for that."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.outcomes import Contributed, Failed, Rejected
from routoo_core.record import DecisionRecord
from routoo_core.usage import Usage
from routoo_integrations.gateway.activity import ActivityLog, CallEnd, RefusedCall
from routoo_integrations.gateway.decision_headers import FROM_CACHE
from routoo_integrations.gateway.metrics import GatewayMetrics
from routoo_integrations.gateway.problems import Problem, shown_reason

_ID_BYTES = 8


class CallNotes:
    """Notes of one call that is being answered; for one event loop.

    Args:
        metrics: Count it.
        activity: Remembers it for the page.
        caller: The account of the key that made it; empty without keys.

    Attributes:
        id: Names the call in its reply, in the list of calls and in that of refusals.
        usages: Expert → what it reported.
    """

    def __init__(self, metrics: GatewayMetrics, activity: ActivityLog, caller: str) -> None:
        self.id = secrets.token_hex(_ID_BYTES)
        self.usages: dict[str, Usage] = {}
        self._metrics = metrics
        self._activity = activity
        self._caller = caller
        self._loop = asyncio.get_running_loop()
        self._start_s = time.monotonic()
        self._first_event_s: float | None = None

    def later(self, note: Callable[[], None]) -> None:
        """Note something once the loop has sent what is ready to be sent; may be called in any thread.

        The task that sends it is woken in the loop's next round, so the note waits for the one after that.
        """
        call_soon = self._loop.call_soon
        self._loop.call_soon_threadsafe(call_soon, call_soon, note)

    def note_first_event(self) -> None:
        """Note that the caller of a stream is sent its first event."""
        self._first_event_s = self._elapsed_s()
        self._metrics.note_first_event(self._first_event_s)

    def note_whole_reply(self) -> None:
        """Note that a whole reply is there."""
        self._metrics.note_reply(self._elapsed_s())

    def note_end(self, attempt: Attempt) -> None:
        """Note how the call ended; called in the thread where it does."""
        wait_s = None
        if not isinstance(attempt.outcome, Failed | Rejected | Contributed):
            wait_s = self._elapsed_s() if self._first_event_s is None else self._first_event_s
        ended_at = time.time()

        def note() -> None:
            record = attempt.record()
            self._metrics.note_end(record, self.usages)
            why = attempt.decision.explain()
            self._activity.note(CallEnd(self.id, ended_at, self._caller, wait_s, why, record))

        self.later(note)

    def note_cached_reply(self, record: DecisionRecord | None) -> None:
        """Note a reply that came from the cache of answers; one from an expert is noted at its end."""
        if record is None or not record.cached:
            return
        self._metrics.note_cached_reply(record)
        wait_s = self._elapsed_s()
        end = CallEnd(self.id, time.time(), self._caller, wait_s, FROM_CACHE, record)
        self._activity.note(end)

    def note_refusal(self, problem: Problem) -> None:
        """Remember for the page why no expert answered."""
        reason = shown_reason(problem)
        if reason is not None:
            code = problem.code or problem.kind
            refusal = RefusedCall(self.id, time.time(), self._caller, problem.status, code, reason)
            self._activity.note_refusal(refusal)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._start_s
