"""The whole path of a call on one screen.

request ── predictor.predict ── policy ranks ── ledger.reserve ── the expert ── settle ── reply
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from routoo_core.answer_cache.opening import AnswerCache
from routoo_core.answer_cache.rule import CacheRule
from routoo_core.answering_models import AnsweringModels
from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import DEFAULT_ALERTS, AlertRule, Alerts
from routoo_core.budget.cooldowns import Cooldowns
from routoo_core.budget.declared import DeclaredLimits
from routoo_core.budget.ledger import Cooldown, Ledger
from routoo_core.budget.outlook import Standings
from routoo_core.budget.settlements import Settlements
from routoo_core.calling.attempts import AsyncAttempts, Attempts, ReadRequest
from routoo_core.calling.call import OnEnd
from routoo_core.calling.checks import DEFAULT_CHECKS, CheckRule
from routoo_core.calling.holds import REFUSE
from routoo_core.candidates import (
    Candidate,
    PredictedCall,
    capable_experts,
    make_candidates,
    make_plan_candidates,
)
from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.experts import Expert, Pool
from routoo_core.hidden_reasoning import HiddenReasoning
from routoo_core.latency import Latencies, LatencyRule
from routoo_core.loading import check_expert_names, check_plan_names
from routoo_core.options import (
    OVERRIDES,
    SWITCH_MARGIN,
    RouterParts,
    check_settings,
    parts_from_config,
    parts_from_toml,
)
from routoo_core.parameters import RefusedParameters
from routoo_core.plans.plan import Plan
from routoo_core.plans.tables import check_plans
from routoo_core.predictor.base import Forecast, Predictor, forecast
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.predictor.general import describe_prompt
from routoo_core.preview import Preview, preview_call
from routoo_core.record import SkipRecord
from routoo_core.request import Overrides, RoutedRequest
from routoo_core.selector import (
    Decision,
    Lagrangian,
    Policy,
    PolicyContext,
    PreferenceRule,
    as_policy,
    describe_policy,
    rank,
)
from routoo_core.servers import ServerLatencies
from routoo_core.stickiness import stickiness_of
from routoo_core.telemetry import CHAT


class Router:
    """Decides who answers, holds the money, and moves on when an expert fails.

    ``Router.from_toml("routoo.toml").decide(RoutedRequest.from_text("2 + 2?")).explain()``

    Args:
        pool: The experts; the predictor must know each of them.
        predictor: Predicts their quality.
        policy: Ranks them: ``Paced()``, any policy of ``selector``, or a plain preference rule.
        budget: What may be spent; a limit of ``None`` books everything and limits nothing.
        ledger: Keeps the accounts.
        on_exhausted: When nothing is affordable: ``refuse``, ``cheapest``, or an expert's name. The expert named
            is then called whatever the limit says, and what it costs is booked.
        strict: Refuse calls without ``max_tokens`` instead of choosing one from what is affordable.
        latency: What slow experts lose by it; by default nothing.
        switch_margin: Predicted quality, 0–1, by which another expert must be better than the one that answered the
            conversation's last turn. That one's discount for a cached prompt counts as well.
        overrides: What a call may set for itself, of :data:`routoo_core.options.OVERRIDES`.
        min_reply_tokens: Where a call sets no limit on its reply, the budget must pay for at least so many tokens; else
            the call is refused.
        alerts: When to say that an account has spent much of its limit, and to whom.
        checks: What of its replies is checked.
        cache: Which answers are stored and given again; by default none.
        plans: Ways to ask several experts in one call, ranked beside the experts; the predictor must know each of them.

    Raises:
        ConfigurationError: The parts do not fit together.
    """

    def __init__(
        self,
        pool: Pool,
        predictor: Predictor,
        policy: Policy | PreferenceRule,
        budget: Budget,
        ledger: Ledger,
        on_exhausted: str = REFUSE,
        strict: bool = False,
        latency: LatencyRule | None = None,
        switch_margin: float = SWITCH_MARGIN,
        overrides: frozenset[str] = OVERRIDES,
        min_reply_tokens: int = 0,
        alerts: AlertRule = DEFAULT_ALERTS,
        checks: CheckRule = DEFAULT_CHECKS,
        cache: CacheRule | None = None,
        plans: Sequence[Plan] = (),
    ) -> None:
        self.pool = pool
        self.predictor = predictor
        self.policy = as_policy(policy)
        self.budget = budget
        self.ledger = ledger
        self.settlements = Settlements(ledger)
        self.on_exhausted = on_exhausted
        self.strict = strict
        self.latency = latency
        self.latencies: Latencies = ServerLatencies(pool)
        self.cooldowns = Cooldowns(ledger, siblings=pool.siblings())
        self.refused_parameters = RefusedParameters()
        self.hidden_reasoning = HiddenReasoning()
        self.answering_models = AnsweringModels(pool)
        self.switch_margin = switch_margin
        self.overrides = overrides
        self.min_reply_tokens = min_reply_tokens
        self.alert_rule = alerts
        self.operation = CHAT
        self.alerts = Alerts(ledger, alerts)
        self.checks = checks
        self.cache = None if cache is None else AnswerCache(cache, ledger, pool, predictor)
        self.plans = tuple(plans)
        self._limits = DeclaredLimits(ledger)
        self._standings = Standings(ledger)
        self._columns = _prediction_columns(pool, predictor, self.plans)
        self._check()

    def _check(self) -> None:
        check_settings(
            self.pool,
            self.policy,
            self.budget,
            self.on_exhausted,
            self.switch_margin,
            self.overrides,
            self.min_reply_tokens,
        )
        names = [expert.name for expert in self.pool]
        check_plans(self.plans, names, taken=[expert.model for expert in self.pool])

    def _is_limited(self) -> bool:
        payers = (self.budget, *self.budget.members)
        return any(account.limit is not None for payer in payers for account in payer.chain)

    @classmethod
    def from_toml(
        cls, path: str | Path, *, ledger: str | None = None, pool: Pool | None = None
    ) -> Router:
        """Build everything ``routoo.toml`` names.

        Args:
            path: The file; relative paths in it start from its folder.
            ledger: Used instead of the one the file names.
            pool: Used instead of the experts the file names.

        Raises:
            ConfigurationError: Something in the file, or in a file it names, is wrong.
        """
        return cls.from_parts(parts_from_toml(path, ledger, pool))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Router:
        """Build the router that :meth:`to_config` described.

        Raises:
            ConfigurationError: Something in it is wrong.
        """
        return cls.from_parts(parts_from_config(config))

    @classmethod
    def from_parts(cls, parts: RouterParts) -> Router:
        """Build a router of these parts.

        Raises:
            ConfigurationError: They do not fit together.
        """
        return cls(**vars(parts))

    @property
    def parts(self) -> RouterParts:
        """What the router was built of."""
        return RouterParts(
            pool=self.pool,
            predictor=self.predictor,
            policy=self.policy,
            budget=self.budget,
            ledger=self.ledger,
            on_exhausted=self.on_exhausted,
            strict=self.strict,
            latency=self.latency,
            switch_margin=self.switch_margin,
            overrides=self.overrides,
            min_reply_tokens=self.min_reply_tokens,
            alerts=self.alert_rule,
            checks=self.checks,
            cache=None if self.cache is None else self.cache.rule,
            plans=self.plans,
        )

    def to_config(self) -> dict[str, Any]:
        """Everything as plain JSON values, in routoo.toml's words; without secrets, which stay in the environment.

        Raises:
            ConfigurationError: A part is an object that cannot be written as configuration.
        """
        return self.parts.to_config()

    def __getstate__(self) -> dict[str, Any]:
        if self._is_limited() and self.ledger.url.startswith("memory"):
            raise ConfigurationError(
                "budget.ledger: the limit is kept in this process's memory, and a copy elsewhere could spend it again; "
                "keep the ledger in a file (sqlite:///routoo.db) or in Redis"
            )
        return vars(self.parts)

    def __setstate__(self, state: dict[str, Any]) -> None:
        Router.__init__(self, **state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Router:
        return self  # its budget is one

    # The path of a call

    def decide(self, request: RoutedRequest) -> Decision:
        """Rank the experts that can serve ``request``; a query: nothing is called, held or remembered.

        Raises:
            NoCapableExpert: None can serve what the request needs.
            InvalidRequest: ``max_tokens`` is missing under ``strict``.
        """
        if self.strict and request.max_tokens is None:
            raise InvalidRequest(
                "max_tokens: required, since the router is strict; pass one with the call"
            )
        capable = capable_experts(self._eligible(request.overrides), request)

        start = time.perf_counter()
        prediction = forecast(self.predictor, [request.text])
        predict_ms = (time.perf_counter() - start) * 1e3

        candidates = self._candidates(capable, request, prediction)
        budget = self.account(request)
        context = PolicyContext(candidates, lambda: self._standings.of_chain(budget))
        policy = as_policy(request.overrides.policy or self.policy)
        rule = policy.rule(context)
        stickiness = stickiness_of(request, self.switch_margin, candidates)
        cooling = self.cooldowns.current()
        return Decision(
            candidates=rank(rule, candidates, self.latency, stickiness, cooling),
            policy=describe_policy(policy),
            lambda_=rule.lambda_ if isinstance(rule, Lagrangian) else None,
            fingerprint=self.predictor.fingerprint,
            predict_ms=predict_ms,
            stickiness=stickiness,
            skipped=self._list_skips(candidates, cooling) if cooling else (),
            context=context,
            prompt=describe_prompt(prediction),
            unread=self._unread(request),
        )

    def _candidates(
        self, capable: Sequence[Expert], request: RoutedRequest, prediction: Forecast
    ) -> tuple[Candidate, ...]:
        """The experts that can serve a call, and the plans that can.

        Raises:
            InvalidRequest: The call names a plan that cannot serve it.
        """
        choice = request.overrides.expert
        call = PredictedCall(
            request, prediction, self._columns, self.latencies, self.min_reply_tokens
        )
        plans = [plan for plan in self.plans if choice in {None, plan.name}]
        plan_candidates = make_plan_candidates(plans, capable, call)
        if choice is None or not plans:
            return (*make_candidates(capable, call), *plan_candidates)
        if not plan_candidates:
            raise InvalidRequest(
                f"expert: the plan {choice!r} cannot serve this call: its experts, or its way to compare or check "
                "replies, do not suit it; name an expert or leave it out"
            )
        return plan_candidates

    def _unread(self, request: RoutedRequest) -> dict[str, tuple[str, ...]]:
        """What each plan's scorer cannot read of a prompt, where there is something."""
        unread = {}
        for plan in self.plans:
            parts = plan.unread(request)
            if parts:
                unread[plan.name] = tuple(sorted(parts))
        return unread

    def preview(self, request: RoutedRequest) -> Preview:
        """:meth:`decide`, and what the budget allows now: which experts are affordable, and how long the reply may be.

        Raises:
            NoCapableExpert: See :meth:`decide`.
            LedgerError: The ledger failed.
        """
        decision = self.decide(request)
        return preview_call(decision, request, self.account(request), self.ledger)

    def _list_skips(
        self, candidates: Sequence[Candidate], cooling: Mapping[str, Cooldown]
    ) -> tuple[SkipRecord, ...]:
        """What a record says of the candidates that cool down."""
        now = self.cooldowns.clock()
        skips = []
        for candidate in candidates:
            for expert in sorted(candidate.expert_names & cooling.keys())[:1]:
                cooldown = cooling[expert]
                seconds = round(cooldown.until - now, 3)
                skips.append(SkipRecord(candidate.name, cooldown.reason, seconds))
        return tuple(skips)

    def _eligible(self, overrides: Overrides) -> Iterable[Expert]:
        """The expert that alone may answer, or all.

        Raises:
            InvalidRequest: None of those that may answer is left.
        """
        experts: Iterable[Expert] = self.pool
        is_plan = any(plan.name == overrides.expert for plan in self.plans)
        if overrides.expert is not None and not is_plan:
            experts = [self.pool[overrides.expert]]
        if overrides.experts is None:
            return experts
        subset = [expert for expert in experts if expert.name in overrides.experts]
        if not subset:
            names = ", ".join(sorted(overrides.experts)) or "none"
            raise InvalidRequest(f"expert: only these may answer this call: {names}")
        return subset

    def foresee(self, requests: Sequence[RoutedRequest]) -> None:
        """Predict for requests that are about to come, in one pass where the predictor remembers its prompts."""
        if isinstance(self.predictor, BatchingPredictor):
            self.predictor.predict([request.text for request in requests])

    def attempts(self, request: RoutedRequest, on_end: OnEnd | None = None) -> Attempts:
        """The attempts of a call, best candidate first, each holding its money, until one succeeds.

        Use each as a context manager: a failure that another expert may not share is swallowed and the next
        candidate follows; any other exception leaves the loop. Nothing happens before the first one.

        Args:
            request: The call.
            on_end: Takes the attempt that ended the call, whether it was answered or raised.

        Raises:
            BudgetExceeded: Nothing is affordable, and ``on_exhausted`` is ``refuse``.
            AllExpertsFailed: Everything affordable was tried and failed.
            NoCapableExpert: See :meth:`decide`.
        """
        return Attempts(self, lambda: request, on_end)

    def aattempts(self, request: RoutedRequest, on_end: OnEnd | None = None) -> AsyncAttempts:
        """:meth:`attempts` with the predictor and the ledger off the event loop; use ``async with`` on each."""
        return AsyncAttempts(self.attempts(request, on_end))

    def attempts_off_loop(
        self, read_request: ReadRequest, on_end: OnEnd | None = None
    ) -> AsyncAttempts:
        """:meth:`aattempts` of a call that is read off the event loop, too."""
        return AsyncAttempts(Attempts(self, read_request, on_end))

    def account(self, request: RoutedRequest) -> Budget:
        """Whose budget pays, with the limits that the ledger has now: the router's own or the request's account.

        Raises:
            InvalidRequest: The account is unknown or cannot pay.
            LedgerError: The ledger failed.
        """
        payer = request.overrides.payer or self.budget.for_account(request.overrides.account)
        if payer.members:  # budgets of calls are compared, which takes long with many members
            payer = payer.model_copy(update={"members": ()})
        return self._limits.apply(payer)

    def start(self, request: RoutedRequest) -> Decision:
        """:meth:`decide` a call that is being made, and let the policy observe it; used by the attempts."""
        decision = self.decide(request)
        if request.overrides.policy is None and decision.context:
            self.policy.observe(decision.context)
        return decision


def _prediction_columns(pool: Pool, predictor: Predictor, plans: Sequence[Plan]) -> dict[str, int]:
    """Expert or plan → column of the prediction.

    Raises:
        ConfigurationError: The predictor does not know one.
    """
    check_expert_names(pool, predictor.experts)
    check_plan_names([plan.name for plan in plans], predictor.experts)
    column_of = {name: column for column, name in enumerate(predictor.experts)}
    columns = {expert.name: column_of[expert.predicted_as] for expert in pool}
    for plan in plans:
        columns[plan.name] = column_of[plan.name]
    return columns
