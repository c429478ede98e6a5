"""Step 6: the whole path of a call on one screen.

request ── predictor.predict ── policy ranks ── ledger.reserve ── the expert ── settle ── reply
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from routoo_core.budget.account import Budget
from routoo_core.budget.ledger import Ledger
from routoo_core.budget.outlook import Profile, learn, learnt_until
from routoo_core.budget.pacing import Paced, Standing
from routoo_core.calling.attempt import Attempt
from routoo_core.candidates import Candidate
from routoo_core.errors import (
    AllExpertsFailed,
    BudgetExceeded,
    ConfigurationError,
    InvalidRequest,
    NoCapableExpert,
)
from routoo_core.experts import Expert, Pool
from routoo_core.latency import Latencies, LatencyRule
from routoo_core.limits import TYPICAL_OUTPUT_TOKENS
from routoo_core.money import format_usd
from routoo_core.predictor.base import Predictor, forecast
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.request import RoutedRequest, Turn
from routoo_core.selector import Decision, Loyalty, Policy, describe, rank
from routoo_core.threads import off_loop
from routoo_core.usage import Usage

SWITCH_MARGIN = 0.02
CACHED_PREFIX_TOKENS = 1024  # the shortest prefix that providers discount

_PROFILES = 1024  # accounts whose usual calls are kept in mind


class Router:
    """Decides who answers, holds the money, and moves on when an expert fails.

    ``Router.from_toml("routoo.toml").decide(RoutedRequest.from_text("2 + 2?")).explain()``

    Args:
        pool: The experts; the predictor must know each of them.
        predictor: Predicts their quality.
        policy: Ranks them: ``Paced()``, any policy of ``selector``, or a plain callable.
        budget: What may be spent; a limit of ``None`` books everything and limits nothing.
        ledger: Keeps the accounts.
        on_exhausted: When nothing is affordable: ``refuse``, ``cheapest``, or an expert's name. The expert named
            is then called whatever the limit says, and what it costs is booked.
        strict: Refuse calls without ``max_tokens`` instead of choosing one from what is affordable.
        latency: What slow experts lose by it; by default nothing.
        switch_margin: Predicted quality, 0–1, by which another expert must be better than the one that answered the
            conversation's last turn. That one's discount for a cached prompt counts as well.

    Raises:
        ConfigurationError: The parts do not fit together.
    """

    def __init__(
        self,
        pool: Pool,
        predictor: Predictor,
        policy: Policy | Paced,
        budget: Budget,
        ledger: Ledger,
        on_exhausted: str = "refuse",
        strict: bool = False,
        latency: LatencyRule | None = None,
        switch_margin: float = SWITCH_MARGIN,
    ) -> None:
        self.pool, self.predictor, self.policy = pool, predictor, policy
        self.budget, self.ledger = budget, ledger
        self.on_exhausted, self.strict = on_exhausted, strict
        self.latency, self.latencies = latency, Latencies()
        self.switch_margin = switch_margin
        self._usual = lru_cache(maxsize=_PROFILES)(self._learn)
        self._columns = _columns(pool, predictor)
        if on_exhausted not in {"refuse", "cheapest"}:
            pool[on_exhausted]
        if not 0 <= switch_margin <= 1:
            raise ConfigurationError(f"switch_margin: {switch_margin} is not between 0 and 1")
        if isinstance(policy, Paced) and all(one.limit is None for one in budget.chain):
            raise ConfigurationError(
                "budget.limit: the paced policy spends a limit; set one or choose another policy"
            )

    @classmethod
    def from_toml(cls, path: str | Path) -> Router:
        """Build everything ``routoo.toml`` names.

        Raises:
            ConfigurationError: Something in the file, or in a file it names, is wrong.
        """
        from routoo_core.config import router_from_toml

        return router_from_toml(path)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Router:
        """Build the router that :meth:`to_config` described.

        Raises:
            ConfigurationError: Something in it is wrong.
        """
        from routoo_core.config import router_from_config

        return router_from_config(config)

    def to_config(self) -> dict[str, Any]:
        """Everything as plain JSON values, in routoo.toml's words; without secrets, which stay in the environment.

        Raises:
            ConfigurationError: A part is an object that has no words.
        """
        from routoo_core.config import config_of

        return config_of(self)

    def __getstate__(self) -> dict[str, Any]:
        limited = any(budget.limit is not None for budget in self.budget.chain)
        if limited and self.ledger.url.startswith("memory"):
            raise ConfigurationError(
                "budget.ledger: the limit is kept in this process's memory, and a copy elsewhere could spend it again; "
                "keep the ledger in a file (sqlite:///routoo.db) or in Redis"
            )
        return {name: getattr(self, name) for name in _PARTS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Router.__init__(self, **state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Router:
        return self  # its budget is one

    def decide(self, request: RoutedRequest) -> Decision:
        """Rank the experts that can serve ``request``; nobody is called and nothing is held.

        Raises:
            NoCapableExpert: None can serve what the request needs.
            InvalidRequest: ``max_tokens`` is missing under ``strict``.
        """
        if self.strict and request.max_tokens is None:
            raise InvalidRequest(
                "max_tokens: required, since the router is strict; pass one with the call"
            )
        capable = self._capable(request)
        started = time.perf_counter()
        quality, lengths = forecast(self.predictor, [request.text])
        predict_ms = (time.perf_counter() - started) * 1e3
        columns = [self._columns[expert.name] for expert in capable]
        tokens = [None] * len(columns) if lengths is None else lengths[0, columns].tolist()
        candidates = [
            _candidate(expert, request, q, length, self.latencies.of(expert.name))
            for expert, q, length in zip(capable, quality[0, columns].tolist(), tokens, strict=True)
        ]
        policy, loyalty = self._policy(request, candidates), self._loyalty(request.previous)
        return Decision(
            rank(policy, candidates, self.latency, loyalty),
            describe(policy),
            self.predictor.fingerprint,
            predict_ms,
            loyalty,
        )

    def foresee(self, requests: Sequence[RoutedRequest]) -> None:
        """Predict for requests that are about to come, in one pass where the predictor remembers what it was asked."""
        if isinstance(self.predictor, BatchingPredictor):
            self.predictor.predict([request.text for request in requests])

    def attempts(self, request: RoutedRequest) -> Iterator[Attempt]:
        """Yield attempts, best candidate first, each holding its money, until one succeeds.

        Use each as a context manager: a failure that another expert may not share is swallowed and the next
        candidate follows; any other exception leaves the loop. Stop iterating after a success.

        Raises:
            BudgetExceeded: Nothing is affordable, and ``on_exhausted`` is ``refuse``.
            AllExpertsFailed: Everything affordable was tried and failed.
            NoCapableExpert: See :meth:`decide`.
        """
        decision, failures = self.decide(request), list[Attempt]()
        for attempt in self._affordable(request, decision, failures):
            yield attempt
            if attempt.error is None:
                return
            failures.append(attempt)
        raise AllExpertsFailed(
            f"all {len(failures)} affordable experts failed: "
            + "; ".join(f"{a.expert.name}: {type(a.error).__name__}" for a in failures),
            [a.error for a in failures if a.error],
        )

    async def aattempts(self, request: RoutedRequest) -> AsyncIterator[Attempt]:
        """:meth:`attempts` with the predictor and the ledger off the event loop; use ``async with`` on each."""
        attempts = self.attempts(request)
        while (
            attempt := await off_loop(lambda: next(attempts, None), undo=_give_back)
        ) is not None:
            yield attempt

    def account(self, request: RoutedRequest) -> Budget:
        """Whose budget pays: the router's own, or one of the same limit, within the same, for the request's account."""
        if request.overrides.account is None:
            return self.budget
        return self.budget.model_copy(update={"account": request.overrides.account})

    def _capable(self, request: RoutedRequest) -> list[Expert]:
        only = request.overrides.expert
        asked = self.pool if only is None else [self.pool[only]]
        lacks = {expert.name: _lacks(expert, request) for expert in asked}
        capable = [expert for expert in asked if not lacks[expert.name]]
        if not capable:
            raise NoCapableExpert(lacks)
        return capable

    def _policy(self, request: RoutedRequest, candidates: list[Candidate]) -> Policy:
        if request.overrides.policy is not None:
            return request.overrides.policy
        if not isinstance(self.policy, Paced):
            return self.policy
        return self.policy.policy(
            [self._standing(one) for one in self.account(request).chain], candidates
        )

    def _loyalty(self, turn: Turn | None) -> Loyalty | None:
        return turn and Loyalty(turn.expert, inf if turn.open_tool_call else self.switch_margin)

    def _standing(self, budget: Budget) -> Standing:
        """Where an account stands; what is usual for it is looked up once a day, or hour."""
        state = self.ledger.state(budget)
        return Standing(budget, state, self._usual(budget, learnt_until(budget, state.as_of)))

    def _learn(self, budget: Budget, until: float) -> Profile | None:
        return learn(self.ledger.arrivals(budget.account), budget, until)

    def _affordable(
        self, request: RoutedRequest, decision: Decision, failures: list[Attempt]
    ) -> Iterator[Attempt]:
        """The candidates money can be held for, in order; the ``on_exhausted`` expert when there are none."""
        budget, refused = self.account(request), list[tuple[int, BudgetExceeded]]()
        for candidate in decision.candidates:
            try:
                held = self.ledger.reserve(
                    budget,
                    minimum=candidate.minimum_cost,
                    maximum=candidate.maximum_cost,
                    estimate=candidate.expected_cost,
                )
            except BudgetExceeded as error:
                refused.append((candidate.minimum_cost, error))
                continue
            yield Attempt(
                self.ledger,
                request,
                decision,
                candidate,
                held,
                tuple(failures),
                self.latencies.observe,
            )
        if len(refused) < len(decision.candidates):
            return
        if self.on_exhausted == "refuse":
            raise min(refused, key=lambda pair: pair[0])[1]
        candidate = self._last_resort(decision)
        held = self.ledger.reserve(
            budget,
            minimum=0,
            maximum=candidate.maximum_cost,
            estimate=candidate.expected_cost,
            enforce=False,
        )
        yield Attempt(
            self.ledger, request, decision, candidate, held, tuple(failures), self.latencies.observe
        )

    def _last_resort(self, decision: Decision) -> Candidate:
        by_name = {candidate.expert.name: candidate for candidate in decision.candidates}
        cheapest = min(decision.candidates, key=lambda candidate: candidate.expected_cost)
        return by_name.get(self.on_exhausted, cheapest)


_PARTS = tuple(inspect.signature(Router).parameters)


def _give_back(attempt: Attempt | None) -> None:
    if attempt is not None:
        attempt.release()


def _columns(pool: Pool, predictor: Predictor) -> dict[str, int]:
    """Expert name → column of the prediction."""
    known = {name: column for column, name in enumerate(predictor.experts)}
    if unknown := [expert.predicted_as for expert in pool if expert.predicted_as not in known]:
        raise ConfigurationError(
            f"router_name: the router does not know {', '.join(map(repr, unknown))}; set router_name to one of "
            f"{', '.join(known)}"
        )
    return {expert.name: known[expert.predicted_as] for expert in pool}


def _lacks(expert: Expert, request: RoutedRequest) -> tuple[str, ...]:
    lacks, prompt = expert.lacks(request.needs), expert.prompt_tokens(request)
    if prompt + min(request.max_tokens or 1, expert.max_output_tokens) > expert.context_window:
        lacks.append(f"a context window of {prompt} tokens and the reply")
    most = request.overrides.max_cost
    if most is not None and (least := _costs(expert, request, None)[1]) > most:
        lacks.append(f"a price of at most {format_usd(most)} (it needs {format_usd(least)})")
    return tuple(lacks)


def _costs(expert: Expert, request: RoutedRequest, length: float | None) -> tuple[int, int, int]:
    """What the call will probably cost, the least worth holding for it, and the most it can cost; nano-USD.

    The expected cost is this prompt's own where the length of the answer is predicted. The least is everything when
    the caller set ``max_tokens``, else a typical reply.
    """
    most = min(request.max_tokens or expert.max_output_tokens, expert.max_output_tokens)
    typical = min(
        most, expert.expected_output_tokens or (round(length) if length else TYPICAL_OUTPUT_TOKENS)
    )
    prompt, bound, turn = (
        expert.prompt_tokens(request),
        expert.prompt_token_bound(request),
        request.previous,
    )
    cached = (
        turn.tokens
        if turn and turn.expert == expert.name and turn.tokens >= CACHED_PREFIX_TOKENS
        else 0
    )
    maximum = expert.cost(Usage(bound, most))
    minimum = maximum if request.max_tokens is not None else expert.cost(Usage(bound, typical))
    return expert.cost(Usage(prompt, typical, cached)), minimum, maximum


def _candidate(
    expert: Expert,
    request: RoutedRequest,
    quality: float,
    length: float | None,
    latency: float | None,
) -> Candidate:
    expected, minimum, maximum = _costs(expert, request, length)
    allowed = request.overrides.max_cost
    return Candidate(
        expert,
        quality,
        expected,
        maximum if allowed is None else min(maximum, allowed),
        latency,
        minimum,
    )
