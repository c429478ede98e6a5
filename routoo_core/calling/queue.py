"""Whom a call asks next: its candidates in order, and before them an expert that is asked once more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from routoo_core.calling.attempt import Attempt
from routoo_core.calling.call import CallInProgress
from routoo_core.calling.follow_up import FollowUp
from routoo_core.calling.outcomes import Failed, Rejected
from routoo_core.calling.trials import (
    Trial,
    amount_held,
    put_last,
    repair_trials,
    retry_pause_s,
    within_limit,
)
from routoo_core.candidates import Candidate
from routoo_core.errors import LedgerError
from routoo_core.failures import Failure
from routoo_core.money import NanoUsd


class TrialQueue:
    """The trials of a call that are still to be made.

    Args:
        call: The call.
        trials: Its candidates, best first.
    """

    def __init__(self, call: CallInProgress, trials: Sequence[Trial]) -> None:
        self._call = call
        self._trials = deque(trials)
        self._past: list[Candidate] = []

    def next_trial(self) -> Trial | None:
        """The first trial, which leaves the queue; ``None`` once nobody is left to ask."""
        while self._trials:
            trial = self._trials.popleft()
            if not (trial.is_second and self._is_repeat(trial.candidate)):
                return trial
        return None

    def note(self, candidate: Candidate) -> None:
        """Note that a candidate is asked now."""
        self._past.append(candidate)

    def reorder_after(self, attempts: Sequence[Attempt]) -> None:
        """Put first whoever is to be asked once more, and last whoever shares a server that has just failed.

        Waits a short while before an expert is asked again whose failure may pass.

        Args:
            attempts: Of the call so far, in order; at least one.
        """
        last = attempts[-1]
        if isinstance(last.outcome, Rejected):
            self._trials.extendleft(repair_trials(last.candidate, last.outcome.repair))
        elif isinstance(last.outcome, Failed):
            failure = last.outcome.failure
            self._retry_without_parameter(last, failure)
            self._retry_after_pause(attempts, failure)
            self._put_sharers_last(last, failure)

    def can_go_on(self, last: Candidate, repair: FollowUp | None, cost: NanoUsd) -> bool:
        """Whether another trial can be paid now; not where the ledger cannot say so.

        Args:
            last: The candidate whose try is ending.
            repair: What its expert would be told; ``None`` where it is not asked again.
            cost: Booked for the try that is ending.
        """
        trials = repair_trials(last, repair)
        for trial in self._trials:
            if not self._is_repeat(trial.candidate):
                trials.append(trial)
        if not trials:
            return False
        call = self._call
        chain = call.budget.chain
        try:
            states = [call.router.settlements.ledger.state(payer) for payer in chain]
        except LedgerError:
            return False
        commitment = call.history.settled + cost
        for trial in trials:
            bounded_trial = within_limit(trial, call.request.overrides.max_cost, commitment)
            if bounded_trial is not None and amount_held(bounded_trial, chain, states) is not None:
                return True
        return False

    def _retry_without_parameter(self, last: Attempt, failure: Failure) -> None:
        """Ask an expert again that refused an argument which the call can do without."""
        if failure.parameter is None:
            return
        if self._call.router.refused_parameters.learn(last.expert, failure.parameter):
            self._trials.appendleft(_retry(last))

    def _retry_after_pause(self, attempts: Sequence[Attempt], failure: Failure) -> None:
        """Ask an expert again whose failure may pass; each try is held and booked by itself."""
        if not failure.may_succeed_later:
            return
        last = attempts[-1]
        tries = sum(attempt.expert is last.expert for attempt in attempts)
        retries = self._call.request.overrides.max_retries
        if retries is None:
            retries = last.expert.max_retries
        if tries > retries:
            return
        time.sleep(retry_pause_s(tries, failure.retry_after_s))
        self._trials.appendleft(_retry(last))

    def _put_sharers_last(self, last: Attempt, failure: Failure) -> None:
        """Ask those last who share the failed server, but for the failed expert itself."""
        name = last.expert.name
        failing = self._call.router.cooldowns.sharing(name, failure.reason) - {name}
        self._trials = deque(put_last(self._trials, failing))

    def _is_repeat(self, candidate: Candidate) -> bool:
        return any(past is candidate for past in self._past)


def _retry(attempt: Attempt) -> Trial:
    """The trial of the same candidate once more."""
    return Trial(attempt.candidate, attempt.candidate.minimum_cost, follow_up=attempt.follow_up)
