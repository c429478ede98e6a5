"""One try of one candidate: it holds the money on entry and lets go of it by one door, however the call ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from routoo_core.budget.account import AccountState
from routoo_core.budget.ledger import Ledger, Reservation
from routoo_core.candidates import Candidate
from routoo_core.errors import StreamInterrupted
from routoo_core.experts import Expert
from routoo_core.failures import another_may_succeed, describe_error, may_be_billed
from routoo_core.money import decimal_usd
from routoo_core.request import RoutedRequest
from routoo_core.selector import Decision
from routoo_core.threads import off_loop
from routoo_core.tokens import count_tokens
from routoo_core.usage import Usage


class Attempt:
    """A candidate to be called now, with the money for it held; use as a (sync or async) context manager.

    ::

        with attempt:
            reply = call(attempt.expert, max_tokens=attempt.max_tokens)
            attempt.settle(Usage(reply.prompt_tokens, reply.completion_tokens))

    On leaving without :meth:`settle`, what the call may have cost is booked: the prompt and the text received,
    or nothing when the expert refused the call or was never reached.

    ``answered`` is told the expert's name and the seconds of every reply that came with its usage.

    Attributes:
        expert: Whom to call.
        max_tokens: The reply limit to pass on; what is held pays for exactly this much.
        error: The failure that was swallowed so that the next candidate may try, else ``None``.
    """

    def __init__(
        self,
        ledger: Ledger,
        request: RoutedRequest,
        decision: Decision,
        candidate: Candidate,
        reservation: Reservation,
        failures: tuple[Attempt, ...] = (),
        answered: Callable[[str, float], None] = lambda expert, seconds: None,
    ) -> None:
        self.candidate, self.decision = candidate, decision
        self.error: Exception | None = None
        self._ledger, self._request, self._reservation, self._failures = (
            ledger,
            request,
            reservation,
            failures,
        )
        self._answered, self._started = answered, time.monotonic()
        self._received: list[str] = []
        self._settled: int | None = None
        self._state: AccountState | None = None

    @property
    def expert(self) -> Expert:
        """Whom to call."""
        return self.candidate.expert

    @property
    def max_tokens(self) -> int:
        """The reply limit the hold pays for, at least 1."""
        asked = self._request.max_tokens or self.expert.max_output_tokens
        paid = self.expert.affordable_tokens(
            self._reservation.amount, self.expert.prompt_token_bound(self._request)
        )
        return max(1, min(asked, paid))

    def received(self, text: str) -> None:
        """Note text the caller has seen; from now on no other expert can take over."""
        self._received.append(text)

    def settle(self, usage: Usage | None = None) -> None:
        """Book what the expert reported; without a report, an estimate from the prompt and the text received."""
        if usage:
            self._answered(self.expert.name, time.monotonic() - self._started)
        cost = self.expert.cost(usage or self._estimated_usage())
        self._state, self._settled = self._ledger.settle(self._reservation, cost), cost

    async def asettle(self, usage: Usage | None = None) -> None:
        """:meth:`settle` off the event loop."""
        await off_loop(lambda: self.settle(usage))

    def release(self) -> None:
        """Give the money back; nothing was spent."""
        self._state, self._settled = self._ledger.release(self._reservation), 0

    def record(self) -> dict[str, Any]:
        """The decision record: plain JSON values, amounts as decimal USD; no prompt text, no secrets."""
        remaining = self._state.available if self._state else None
        return {
            **self.decision.record(),
            "expert": self.expert.name,
            "model": self.expert.model,
            "account": self._reservation.account,
            "cached": False,
            "within_limit": self._reservation.enforced,
            "held_usd": decimal_usd(self._reservation.amount),
            "settled_usd": None if self._settled is None else decimal_usd(self._settled),
            "spent_usd": decimal_usd(self._state.spent) if self._state else None,
            "remaining_usd": None if remaining is None else decimal_usd(remaining),
            "failed": [
                {"expert": a.expert.name, "error": describe_error(a.error)}
                for a in self._failures
                if a.error
            ],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        return self._leave(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        return await off_loop(lambda: self._leave(error))

    def _leave(self, error: BaseException | None) -> bool:
        """Settle or release what is still held; say whether the next candidate may try."""
        complete, started = self._settled is not None, bool(self._received)
        if not complete and not started and error is not None and not may_be_billed(error):
            self.release()
        elif not complete:
            self.settle()
        if complete or not isinstance(error, Exception) or not another_may_succeed(error):
            return False
        if started:
            raise StreamInterrupted(self.expert.name, self._settled or 0) from error
        self.error = error
        return True

    def _estimated_usage(self) -> Usage:
        return Usage(
            self.expert.prompt_tokens(self._request), count_tokens("".join(self._received))
        )
