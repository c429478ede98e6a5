"""λ from what is left, how long it must last, and the traffic seen: spend evenly and well."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routoo_core.budget.ledger import AccountState, Budget
from routoo_core.errors import ConfigurationError
from routoo_core.experts import NANO_PER_USD
from routoo_core.selector import Candidate, Lagrangian, costs, dual_price, qualities

RECENT = 256  # calls whose qualities and costs stand for those to come
_OVERRUN = 0.1
_PRIOR_SHARE = 0.02  # how much of a period the configured expected_calls weigh against the traffic seen


@dataclass(frozen=True, slots=True)
class Outlook:
    """What pacing expects of the rest of a window.

    Attributes:
        calls: Calls still to come, at least 1.
        allowance: USD each of them may cost on average.
    """

    calls: float
    allowance: float


class Paced:
    """A policy whose λ follows the budget.

    The last calls stand for the next ones: λ is the price at which serving *them* would have cost, on
    average, what each remaining call may cost (the LP's dual price, re-solved at every call).

    Args:
        reference: Predicted quality of typical prompts, prompts × experts, until traffic takes their place.
        experts: Names of the reference's columns.
    """

    def __init__(self, reference: NDArray[np.float32] | None = None, experts: tuple[str, ...] = ()) -> None:
        self._reference, self._experts = reference, experts
        self._recent: dict[tuple[str, ...], deque[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
        self._lock = threading.Lock()

    def policy(self, budget: Budget, state: AccountState, candidates: Sequence[Candidate]) -> Lagrangian:
        """The policy for one call.

        Args:
            budget: Tells how many calls to expect.
            state: What is spent and held.
            candidates: Those of this call; the same experts in the same order compare across calls.

        Raises:
            ConfigurationError: The budget has no limit to pace.
        """
        ahead = outlook(budget, state)
        names = tuple(candidate.expert.predicted_as for candidate in candidates)
        with self._lock:
            recent = self._recent.setdefault(names, deque(maxlen=RECENT))
            recent.append((qualities(candidates), costs(candidates)))
            seen = list(recent)
        quality, cost = self._with_reference(names, *(np.stack(rows) for rows in zip(*seen, strict=True)))
        return Lagrangian(dual_price(quality, cost, ahead.allowance * len(quality)))

    def _with_reference(
        self, names: tuple[str, ...], quality: NDArray[np.float64], cost: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fill up what was seen to ``RECENT`` rows with typical prompts, at the mean cost seen."""
        missing = RECENT - len(quality)
        if self._reference is None or not missing or not set(names) <= set(self._experts):
            return quality, cost
        typical = self._reference[:missing, [self._experts.index(name) for name in names]]
        return np.concatenate([quality, typical]), np.concatenate([cost, np.tile(cost.mean(0), (len(typical), 1))])


def outlook(budget: Budget, state: AccountState) -> Outlook:
    """Expect the rest of the window: a Gamma–Poisson estimate of the calls, and each one's share of the money.

    Raises:
        ConfigurationError: The budget has no limit.
    """
    if state.available is None:
        raise ConfigurationError(
            f"budget.limit: the paced policy needs a limit for account {state.account!r}; set one or change the policy"
        )
    if state.window.end is None:
        calls = float(budget.expected_calls - state.calls)
        if calls <= 0:  # more came than expected: expect as many again as a tenth of those seen
            calls = state.calls * _OVERRUN
    else:
        length = state.window.end - state.window.start
        elapsed = min(max(state.as_of - state.window.start, 0.0), length) / length
        rate = (state.calls + budget.expected_calls * _PRIOR_SHARE) / (elapsed + _PRIOR_SHARE)
        calls = rate * (1 - elapsed)
    calls = max(calls, 1.0)
    return Outlook(calls, state.available / NANO_PER_USD / calls)
