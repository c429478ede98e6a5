"""λ from what is left, how long it must last, and the traffic seen: spend evenly and well."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routoo_core.budget.account import AccountState, Budget
from routoo_core.budget.outlook import Profile, outlook
from routoo_core.candidates import Candidate, costs, qualities
from routoo_core.selector import Lagrangian

RECENT = 256  # calls whose qualities and costs stand for those to come …
REFERENCE = 512  # … beside this many typical prompts,
TYPICAL = 2.0  # each of which counts as so many calls
PRICES = np.concatenate([[0.0], np.geomspace(1e-2, 1e9, 300)])  # λ, quality per USD


@dataclass(frozen=True, slots=True)
class Standing:
    """An account that pays.

    Attributes:
        budget: Its limit, and how many calls to expect.
        state: What is spent and held.
        usual: When its calls usually come; ``None`` while that is unknown.
    """

    budget: Budget
    state: AccountState
    usual: Profile | None = None


class Paced:
    """A policy whose λ follows the budget.

    Typical prompts and the last calls together stand for the calls to come: λ is the price at which serving *them*
    would cost, on average, what each remaining call may cost (the LP's dual price). Typical prompts keep λ steady when
    easy calls come before hard ones; what is left of the money corrects it where traffic is unlike them.

    Args:
        reference: Predicted quality of typical prompts, prompts × experts.
        experts: Names of the reference's columns.
    """

    def __init__(
        self, reference: NDArray[np.float32] | None = None, experts: tuple[str, ...] = ()
    ) -> None:
        self._reference, self._experts = reference, experts
        self._traffic: dict[tuple[str, ...], _Traffic] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"reference": self._reference, "experts": self._experts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Paced.__init__(self, **state)

    def __repr__(self) -> str:
        return "Paced()"

    def policy(self, standing: Sequence[Standing], candidates: Sequence[Candidate]) -> Lagrangian:
        """The policy for one call.

        Args:
            standing: Every account that pays; the one that can afford the least for each of its calls binds.
            candidates: Those of this call; the same experts in the same order compare across calls.

        Raises:
            ConfigurationError: No account has a limit to pace.
        """
        limited = [account for account in standing if account.state.limit is not None] or standing[
            :1
        ]
        allowance = min(
            outlook(account.budget, account.state, account.usual).allowance for account in limited
        )
        names = tuple(candidate.expert.predicted_as for candidate in candidates)
        cost = costs(candidates)
        curve = spending(qualities(candidates)[None], cost[None])
        with self._lock:
            traffic = self._traffic.setdefault(names, _Traffic(self._typical(names)))
            traffic.add(curve, cost)
            return Lagrangian(traffic.price(allowance))

    def _typical(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        if self._reference is None or not set(names) <= set(self._experts):
            return np.empty((0, len(names)), dtype=np.float32)
        return self._reference[:REFERENCE, [self._experts.index(name) for name in names]]


class _Traffic:
    """What the last calls and the typical prompts would cost at each of ``PRICES``, in USD."""

    def __init__(self, typical: NDArray[np.float32]) -> None:
        self._typical, self._typical_curve = typical, np.zeros(len(PRICES))
        self._curves, self._total = np.zeros((RECENT, len(PRICES))), np.zeros(len(PRICES))
        self._mean_cost = np.zeros(typical.shape[1])
        self._count = 0

    def add(self, curve: NDArray[np.float64], cost: NDArray[np.float64]) -> None:
        """One more call, in the place of the oldest."""
        place = self._count % RECENT
        self._total += curve - self._curves[place]
        self._curves[place] = curve
        self._count += 1
        self._mean_cost += (cost - self._mean_cost) / min(self._count, RECENT)
        if len(self._typical) and (self._count & (self._count - 1) == 0 or not place):
            self._typical_curve = spending(
                self._typical, np.tile(self._mean_cost, (len(self._typical), 1))
            )

    def price(self, allowance: float) -> float:
        """The least λ at which a call costs ``allowance`` USD on average, between two of ``PRICES``."""
        known = min(self._count, RECENT) + TYPICAL * len(self._typical)
        mean = (self._total + TYPICAL * self._typical_curve) / known
        above = int(np.argmax(mean <= allowance)) if mean[-1] <= allowance else len(PRICES) - 1
        if not above:
            return 0.0
        low, high = max(PRICES[above - 1], PRICES[1] / 2), PRICES[above]
        share = (mean[above - 1] - allowance) / max(mean[above - 1] - mean[above], 1e-300)
        return float(low * (high / low) ** min(max(share, 0.0), 1.0))


def spending(quality: NDArray[np.floating], cost: NDArray[np.floating]) -> NDArray[np.float64]:
    """USD that prompts cost together at each of ``PRICES``, (prices,), for arrays of shape (prompts, experts)."""
    chosen = (quality[:, None] - PRICES[:, None] * cost[:, None]).argmax(
        axis=-1
    )  # prompts × prices
    total: NDArray[np.float64] = np.take_along_axis(cost, chosen, axis=1).sum(
        axis=0, dtype=np.float64
    )
    return total
