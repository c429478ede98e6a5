"""Experts that failed lately: they are asked last until they have had time to recover.

A circuit opens after as many failures in a row as its reason takes, for a pause that doubles with each further one, and
closes when the expert answers. When a pause is over one call tries the expert; the others wait for its answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from routoo_core.budget.clock import Clock
from routoo_core.budget.ledger import Cooldown, CooldownStore, Ledger
from routoo_core.errors import LedgerError
from routoo_core.failures import Failure

LONGEST_PAUSE_S = 3600.0
"""What a server asks for beyond it is not waited for."""
REFRESH_S = 1.0
"""How old what is known of other processes' failures may be."""
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pause:
    """How long an expert cools down that fails for one reason.

    Attributes:
        first_s: Seconds after the failure that opens the circuit.
        longest_s: The most that doubling makes of them.
        failures: How many in a row open the circuit.
    """

    first_s: float
    longest_s: float
    failures: int = 1

    def seconds(self, failures: int) -> float:
        """Seconds after so many failures in a row; 0 while the circuit stays closed."""
        if failures < self.failures:
            return 0.0
        doublings = min(failures - self.failures, 30)
        return min(self.longest_s, self.first_s * 2.0**doublings)


PAUSES: Mapping[str, Pause] = {
    "throttled": Pause(1, 60),
    "timeout": Pause(10, 300),
    "unreachable": Pause(5, 300),
    "unavailable": Pause(5, 300, failures=2),
    "no_reply": Pause(5, 300, failures=3),
    "credit": Pause(60, LONGEST_PAUSE_S),
    "key": Pause(60, LONGEST_PAUSE_S),
}
"""A :data:`~routoo_core.failures.Reason` → the pause; after any other the expert is asked as before."""

REASONS_OF_SERVERS = frozenset({"throttled", "unavailable", "timeout", "unreachable", "credit"})
"""Reasons that hold for all experts of one server; a refused key or model, and no reply, are an expert's own."""


@contextmanager
def _as_advice() -> Iterator[None]:
    """Go on where the ledger fails: other processes learn later, and a call that was paid for is answered."""
    try:
        yield
    except LedgerError as error:
        _LOGGER.warning("a cooldown is known to this process alone: %s", error)


class Cooldowns:
    """Which experts cool down, kept where the ledger is if it can keep them; safe from any thread.

    Args:
        ledger: Of the router; other processes with the same one share what is known.
        clock: Tells the time.
        siblings: Expert → all that share its server, which fail together for :data:`REASONS_OF_SERVERS`.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock = time.time,
        siblings: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.clock = clock
        self._siblings = siblings or {}
        self._store = ledger if isinstance(ledger, CooldownStore) else None
        self._cooldowns: dict[str, Cooldown] = {}
        self._read_at = -REFRESH_S
        self._lock = threading.Lock()

    def current(self) -> Mapping[str, Cooldown]:
        """Expert → its cooldown, of those that are not to be asked first now."""
        self._refresh()
        now = self.clock()
        if not self._cooldowns:
            return {}
        with self._lock:
            return {name: entry for name, entry in self._cooldowns.items() if entry.until > now}

    def knows(self, expert: str) -> bool:
        """Whether an expert has failed since it last answered."""
        return expert in self._cooldowns

    def note_call(self, expert: str) -> None:
        """Note that an expert is being asked: if it has just cooled down, the others wait for its answer."""
        cooldown = self._cooldowns.get(expert)
        if cooldown is None or cooldown.until > self.clock():
            return
        pause = PAUSES.get(cooldown.reason)
        if pause is not None and cooldown.failures >= pause.failures:
            self._set(replace(cooldown, until=self.clock() + pause.first_s))

    def sharing(self, expert: str, reason: str) -> frozenset[str]:
        """The experts that fail with one for a reason, itself too."""
        if reason in REASONS_OF_SERVERS:
            return self._siblings.get(expert, frozenset({expert}))
        return frozenset({expert})

    def note_failure(self, expert: str, failure: Failure) -> None:
        """Note a failure."""
        pause = PAUSES.get(failure.reason)
        if pause is None:
            return
        earlier = self._cooldowns.get(expert)
        failures = 1 if earlier is None else earlier.failures + 1
        seconds = pause.seconds(failures)
        if failure.retry_after_s is not None:
            seconds = min(failure.retry_after_s, LONGEST_PAUSE_S)
        self._set(Cooldown(expert, failure.reason, self.clock() + seconds, failures))

    def note_answer(self, expert: str) -> None:
        """Note that an expert has answered: it is asked as before, and so are those that its server held back."""
        cooldown = self._cooldowns.get(expert)
        if cooldown is None:
            return
        with self._lock:
            recoveries = []
            for name in self.sharing(expert, cooldown.reason):
                sibling = self._cooldowns.get(name)
                if sibling is not None and sibling.reason == cooldown.reason:
                    del self._cooldowns[name]
                    recoveries.append(name)
        with _as_advice():
            if self._store is not None:
                for name in recoveries:
                    self._store.clear_cooldown(name)

    def _set(self, cooldown: Cooldown) -> None:
        """Set a cooldown, of its expert and of those that fail with it."""
        cooldowns = []
        for name in self.sharing(cooldown.expert, cooldown.reason):
            cooldowns.append(replace(cooldown, expert=name))
        with self._lock:
            for member in cooldowns:
                self._cooldowns[member.expert] = member
        with _as_advice():
            if self._store is not None:
                for member in cooldowns:
                    self._store.set_cooldown(member)

    def _refresh(self) -> None:
        """Read what other processes have noted, at most every :data:`REFRESH_S`."""
        moment = time.monotonic()
        if self._store is None or moment - self._read_at < REFRESH_S:
            return
        self._read_at = moment
        cooldowns = {cooldown.expert: cooldown for cooldown in self._store.cooldowns()}
        with self._lock:
            self._cooldowns = cooldowns
