"""The money of a call's trials, held before each is made."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from operator import attrgetter

from routoo_core.budget.ledger import Reservation
from routoo_core.calling.call import CallInProgress
from routoo_core.calling.trials import Trial, within_limit
from routoo_core.candidates import Candidate
from routoo_core.errors import BudgetExceeded, HeldShareExceeded, InvalidRequest
from routoo_core.money import NanoUsd

REFUSE = "refuse"
"""What ``on_exhausted`` says where a call that nobody can pay is refused."""
CHEAPEST = "cheapest"
"""What it says where the cheapest expert answers such a call; else it names the expert that does."""


class Holds:
    """Holds money for trials, as far as the accounts and the limit of the call have room for it.

    Args:
        call: The call that pays.
    """

    def __init__(self, call: CallInProgress) -> None:
        self._call = call
        self._refusals: list[BudgetExceeded] = []

    def reserve(self, trial: Trial) -> Reservation | None:
        """Money for a trial; ``None`` where there is no room for it."""
        return self._reserve(trial, self._call.history.settled)

    def reserve_steps(self, trial: Trial) -> list[Reservation] | None:
        """Money for every step of a plan; ``None`` where there is no room for one, and then none is held."""
        is_ample = trial.minimum > trial.candidate.minimum_cost
        steps = []
        for candidate in trial.candidate.steps:
            minimum = candidate.ample_cost if is_ample else candidate.minimum_cost
            steps.append(Trial(candidate, minimum))
        reservations: list[Reservation] = []
        commitment = self._call.history.settled
        needed_later = sum(step.minimum for step in steps)
        with ExitStack() as undo:
            for step in steps:
                needed_later -= step.minimum
                reservation = self._reserve(step, commitment + needed_later)
                if reservation is None:
                    return None
                undo.callback(self._call.router.settlements.release, reservation)
                reservations.append(reservation)
                commitment += reservation.amount
            undo.pop_all()
        return reservations

    def reserve_beyond_limit(self) -> tuple[Candidate, Reservation]:
        """The ``on_exhausted`` expert, and money for it whatever the limit says.

        Raises:
            BudgetExceeded: There is none; the error names what the cheapest candidate needs.
        """
        refusal = self._refusal()
        candidates = []
        for candidate in self._call.decision.candidates:
            if candidate.plan is None:
                candidates.append(candidate)
        if self._call.router.on_exhausted == REFUSE or not candidates:
            raise refusal
        candidate = self._last_resort(candidates)
        reservation = self._call.router.settlements.reserve(
            self._call.budget,
            minimum=0,
            maximum=candidate.maximum_cost,
            enforce=False,
        )
        return candidate, reservation

    def _reserve(self, trial: Trial, commitment: NanoUsd) -> Reservation | None:
        """Money for a trial; ``None`` where there is no room for it.

        Args:
            trial: Whom it is to ask.
            commitment: Booked for the call, and held for the other steps of a plan.
        """
        call = self._call
        bounded_trial = within_limit(trial, call.request.overrides.max_cost, commitment)
        if bounded_trial is None:
            return None
        try:
            return call.router.settlements.reserve(
                call.budget,
                minimum=bounded_trial.minimum,
                maximum=bounded_trial.candidate.maximum_cost,
            )
        except BudgetExceeded as error:
            self._refusals.append(error)
            return None

    def _refusal(self) -> BudgetExceeded:
        """The refusal that needs least; whoever is alerted of refusals hears of it.

        Raises:
            InvalidRequest: It was not an account that had no room, but the limit of the call.
        """
        if not self._refusals:
            raise InvalidRequest(
                "max_cost: it is less than the steps of the plan need together; raise it, or name an expert"
            )
        refusal: BudgetExceeded = min(self._refusals, key=attrgetter("needed"))
        if not isinstance(refusal, HeldShareExceeded):
            self._call.router.alerts.note_refusal(self._call.budget, refusal.account)
        return refusal

    def _last_resort(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate that ``on_exhausted`` names, else the cheapest."""
        for candidate in candidates:
            if candidate.expert.name == self._call.router.on_exhausted:
                return candidate
        return min(candidates, key=attrgetter("expected_cost"))
