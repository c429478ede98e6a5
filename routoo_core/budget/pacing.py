"""λ from what is left, how long it must last, and the traffic seen: spend evenly and well."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routoo_core.budget.outlook import Standing, outlook
from routoo_core.candidates import Candidate, costs, qualities
from routoo_core.lifetimes import fork_safe_lock
from routoo_core.selector import (
    TIE,
    Lagrangian,
    Policy,
    PolicyContext,
    check_tie,
    level_ties,
)

RECENT_CALLS = 256
"""Calls whose qualities and costs stand for those to come."""
TYPICAL_PROMPTS = 512
"""Reference prompts that stand for them beside the recent calls."""
TYPICAL_WEIGHT = 2.0
"""How many recent calls one typical prompt counts as."""
LAMBDAS = np.concatenate([[0.0], np.geomspace(1e-2, 1e9, 300)])
"""The grid of λ, quality per USD, on which spending is known."""

_LEAST_WEIGHT = 1e-9
"""λ that makes the cheapest of equals the choice and changes nothing else."""

SPENDING = 0
QUALITY = 1
"""Rows of what is known at each λ."""

Floats = NDArray[np.float64]
Names = tuple[str, ...]
"""What the predictor calls the candidates of a call, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class Ruling:
    """What a policy works out for one call.

    Attributes:
        context: The call.
        call_values: USD and predicted quality of the call at each of ``LAMBDAS``, (2, lambdas).
        rule: How its candidates are ranked.
    """

    context: PolicyContext
    call_values: Floats
    rule: Lagrangian


class TrafficPolicy(Policy):
    """A policy whose λ follows from what the calls to come will probably cost and be worth at each λ.

    Typical prompts and the recent calls together stand for the calls to come. Typical prompts keep λ steady when easy
    calls come before hard ones.

    Args:
        reference: Predicted quality of typical prompts, prompts × experts.
        experts: Names of the reference's columns.

    Attributes:
        tie: Experts whose quality is at most this below the best count as equally good, 0–1.
    """

    learns: ClassVar[bool] = True
    tie: float = 0.0

    def __init__(
        self, reference: NDArray[np.float32] | None = None, experts: tuple[str, ...] = ()
    ) -> None:
        self._reference = reference
        self._experts = experts
        self._traffic: Traffic | None = None
        self._lock = fork_safe_lock()
        self._latest = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {"reference": self._reference, "experts": self._experts, **self.parameters()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.parameters().items())
        return f"{type(self).__name__}({settings})"

    def multiplier(self, means: Floats, context: PolicyContext) -> float:
        """λ for one call.

        Args:
            means: USD and predicted quality of a call at each of ``LAMBDAS``, (2, lambdas).
            context: The call.
        """
        raise NotImplementedError

    def rule(self, context: PolicyContext) -> Lagrangian:
        """The rule for one call, as if the call were already part of the traffic."""
        call_values = served_by_candidates(context.candidates, self.tie)
        with self._lock:
            means = self._known_traffic().means_with(
                _names_of(context.candidates), call_values, costs(context.candidates)
            )
        rule = Lagrangian(self.multiplier(means, context), self.tie)
        self._latest.ruling = Ruling(context, call_values, rule)
        return rule

    def observe(self, context: PolicyContext) -> None:
        """Add a call to the traffic."""
        self.add(self.ruling(context))

    def ruling(self, context: PolicyContext) -> Ruling:
        """What :meth:`rule` has worked out for a call: just now in this thread, or anew."""
        latest = getattr(self._latest, "ruling", None)
        if latest is None or latest.context is not context:
            self.rule(context)
        ruling: Ruling = self._latest.ruling
        return ruling

    def add(self, ruling: Ruling) -> None:
        """Add a call to the traffic."""
        candidates = ruling.context.candidates
        with self._lock:
            self._known_traffic().add(_names_of(candidates), ruling.call_values, costs(candidates))

    def with_reference(
        self, quality: NDArray[np.float32], experts: tuple[str, ...]
    ) -> TrafficPolicy:
        """This policy, starting from typical prompts; see the class."""
        return type(self)(reference=quality, experts=experts, **self.parameters())

    def parameters(self) -> dict[str, Any]:
        """Its settings, as routoo.toml writes them."""
        return {}

    def _known_traffic(self) -> Traffic:
        """The traffic seen so far; begun with the first call, when a subclass has set its tie."""
        if self._traffic is None:
            self._traffic = Traffic(self._typical_quality, self.tie)
        return self._traffic

    def _typical_quality(self, names: Names) -> NDArray[np.float32]:
        """Predicted quality of typical prompts, prompts × candidates; no prompts where one is not known."""
        if self._reference is None or not set(names) <= set(self._experts):
            return np.empty((0, len(names)), dtype=np.float32)
        columns = [self._experts.index(name) for name in names]
        return self._reference[:TYPICAL_PROMPTS, columns]


class Paced(TrafficPolicy):
    """A policy whose λ follows the budget.

    λ is the multiplier at which serving the calls to come would cost, on average, what each remaining call may cost
    (the dual of the budget constraint). What is left of the money corrects it where traffic is unlike them.

    Args:
        reference: Predicted quality of typical prompts, prompts × experts.
        experts: Names of the reference's columns.
        tie: Experts whose quality is at most this below the best count as equally good, 0–1.
    """

    name: ClassVar[str] = "paced"
    needs_limit: ClassVar[bool] = True

    def __init__(
        self,
        reference: NDArray[np.float32] | None = None,
        experts: tuple[str, ...] = (),
        tie: float = TIE,
    ) -> None:
        super().__init__(reference, experts)
        check_tie(tie)
        self.tie = tie

    def parameters(self) -> dict[str, Any]:
        """The tie."""
        return {"tie": self.tie}

    def multiplier(self, means: Floats, context: PolicyContext) -> float:
        """The least λ that the budget allows.

        Raises:
            ConfigurationError: No account that pays has a limit to pace.
        """
        return least_lambda(means[SPENDING], smallest_allowance(context.standings()))


class Traffic:
    """What the recent calls and the typical prompts would cost, USD, and be worth at each of ``LAMBDAS``.

    Calls differ in their candidates: a plan, or an expert without tools, cannot serve each of them. All recent calls
    count together. Typical prompts count as the candidates of the recent calls would serve them, each set of
    candidates in proportion to its calls. So one λ holds for all calls. A set that no recent call had is forgotten.

    Args:
        typical_quality: Gives the predicted quality of typical prompts, prompts × candidates, for a set of these.
        tie: Predicted quality at most so far below the best counts as equally good.
    """

    def __init__(
        self, typical_quality: Callable[[Names], NDArray[np.float32]], tie: float = 0.0
    ) -> None:
        self._typical_quality = typical_quality
        self._tie = tie
        self._typical: dict[Names, TypicalPrompts] = {}
        self._served = np.zeros((RECENT_CALLS, 2, len(LAMBDAS)))  # of a call, the oldest replaced
        self._total = np.zeros((2, len(LAMBDAS)))
        self._names: deque[Names] = deque(maxlen=RECENT_CALLS)
        self._calls: Counter[Names] = Counter()
        self._count = 0

    def add(self, names: Names, call_values: Floats, cost: Floats) -> None:
        """Add a call, in the place of the oldest.

        Args:
            names: Its candidates.
            call_values: USD and predicted quality of the call at each of ``LAMBDAS``, (2, lambdas).
            cost: USD of each candidate.
        """
        self._total = self._total_with(call_values)
        self._served[self._count % RECENT_CALLS] = call_values
        self._calls = self._calls_with(names)
        oldest = self._names[0] if len(self._names) == RECENT_CALLS else names
        self._names.append(names)
        if oldest not in self._calls:
            self._typical.pop(oldest, None)
        self._typical[names] = self._typical_of(names)
        self._typical[names].add(cost)
        self._count += 1

    def means_with(self, names: Names, call_values: Floats, cost: Floats) -> Floats:
        """USD and predicted quality of a call on average, with one call more, (2, lambdas); changes nothing.

        Args:
            names: The candidates of that call.
            call_values: USD and predicted quality of that call at each of ``LAMBDAS``, (2, lambdas).
            cost: USD of each candidate.
        """
        calls_by_names = self._calls_with(names)
        recent_calls = calls_by_names.total()
        total = self._total_with(call_values)
        weight = float(recent_calls)
        for group, calls in calls_by_names.items():
            typical = self._typical_of(group)
            served = typical.served_with(cost) if group == names else typical.served
            group_weight = TYPICAL_WEIGHT * calls / recent_calls
            total = total + group_weight * served
            weight += group_weight * len(typical.quality)
        means: Floats = total / weight
        return means

    def _calls_with(self, names: Names) -> Counter[Names]:
        """How many of the recent calls had which candidates when one more has replaced the oldest."""
        calls = Counter(self._calls)
        calls[names] += 1
        if len(self._names) == RECENT_CALLS:
            calls[self._names[0]] -= 1
        return +calls

    def _typical_of(self, names: Names) -> TypicalPrompts:
        typical = self._typical.get(names)
        if typical is None:
            typical = TypicalPrompts(self._typical_quality(names), self._tie)
        return typical

    def _total_with(self, call_values: Floats) -> Floats:
        """The total of the recent calls when one more has replaced the oldest."""
        total: Floats = self._total + (call_values - self._served[self._count % RECENT_CALLS])
        return total


class TypicalPrompts:
    """What typical prompts would cost, USD, and be worth at each of ``LAMBDAS`` with one set of candidates.

    Args:
        quality: Predicted, prompts × candidates.
        tie: Predicted quality at most so far below the best counts as equally good.

    Attributes:
        quality: Predicted, prompts × candidates.
        served: USD and predicted quality of the prompts together at each of ``LAMBDAS``, (2, lambdas).
    """

    def __init__(self, quality: NDArray[np.float32], tie: float) -> None:
        self.quality = quality
        self.served = np.zeros((2, len(LAMBDAS)))
        self._tie = tie
        self._mean_cost = np.zeros(quality.shape[1])
        self._count = 0

    def add(self, cost: Floats) -> None:
        """Add a call to what each candidate costs.

        Args:
            cost: USD of each candidate.
        """
        self.served = self.served_with(cost)
        self._mean_cost = self._mean_cost_with(cost)
        self._count += 1

    def served_with(self, cost: Floats) -> Floats:
        """:attr:`served` with one call more; changes nothing."""
        if not self._is_renewed():
            return self.served
        mean_cost = np.tile(self._mean_cost_with(cost), (len(self.quality), 1))
        return served_by_lambda(self.quality, mean_cost, self._tie)

    def _mean_cost_with(self, cost: Floats) -> Floats:
        """The running mean cost of each candidate with one call more, USD."""
        mean: Floats = self._mean_cost + (cost - self._mean_cost) / min(
            self._count + 1, RECENT_CALLS
        )
        return mean

    def _is_renewed(self) -> bool:
        """Whether the next call renews the cost of the prompts: at powers of two, then once a round."""
        if not len(self.quality):
            return False
        count = self._count + 1
        is_power_of_two = count & (count - 1) == 0
        starts_a_round = self._count % RECENT_CALLS == 0
        return is_power_of_two or starts_a_round


def smallest_allowance(standings: Sequence[Standing]) -> float:
    """USD each remaining call may cost on average in the account that can afford the least.

    Raises:
        ConfigurationError: No account has a limit.
    """
    limited_standings = [standing for standing in standings if standing.state.limit is not None]
    allowances = []
    for standing in limited_standings or standings[:1]:
        allowances.append(outlook(standing.budget, standing.state, standing.usual).allowance)
    return min(allowances)


def least_lambda(mean_spending: Floats, allowance: float) -> float:
    """The least λ at which a call costs ``allowance`` USD on average, between two of ``LAMBDAS``.

    Args:
        mean_spending: USD a call at each of ``LAMBDAS``, falling.
        allowance: USD.
    """
    above = len(LAMBDAS) - 1
    if mean_spending[-1] <= allowance:
        above = int(np.argmax(mean_spending <= allowance))
    if not above:
        return 0.0
    low = max(LAMBDAS[above - 1], LAMBDAS[1] / 2)
    high = LAMBDAS[above]
    step = max(mean_spending[above - 1] - mean_spending[above], 1e-300)
    share = (mean_spending[above - 1] - allowance) / step
    return float(low * (high / low) ** min(max(share, 0.0), 1.0))


def served_by_candidates(candidates: Sequence[Candidate], tie: float) -> Floats:
    """USD and predicted quality of one call at each of ``LAMBDAS``, (2, lambdas)."""
    return served_by_lambda(qualities(candidates)[None], costs(candidates)[None], tie)


def served_by_lambda(
    quality: NDArray[np.floating], cost: NDArray[np.floating], tie: float = 0.0
) -> Floats:
    """USD and predicted quality of prompts together at each of ``LAMBDAS``, (2, lambdas).

    Args:
        quality: Predicted, prompts × experts.
        cost: USD, prompts × experts.
        tie: Predicted quality at most so far below the best counts as equally good.
    """
    level_quality = level_ties(quality, tie)
    cost_weights = np.maximum(LAMBDAS, _LEAST_WEIGHT)
    # prompts × λ × experts
    preference = level_quality[:, None] - cost_weights[:, None] * cost[:, None]
    choice = preference.argmax(axis=-1)
    rows = np.arange(len(quality))[:, None]
    totals = np.empty((2, len(LAMBDAS)))
    totals[SPENDING] = cost[rows, choice].sum(axis=0, dtype=np.float64)
    totals[QUALITY] = quality[rows, choice].sum(axis=0, dtype=np.float64)
    return totals


def _names_of(candidates: Sequence[Candidate]) -> Names:
    return tuple(candidate.predicted_as for candidate in candidates)
