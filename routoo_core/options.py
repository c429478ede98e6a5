"""The parts of a Router, from routoo.toml, from keywords or from a description: policies and ledgers by name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from routoo_core.answer_cache.rule import CacheRule
from routoo_core.budget.account import Budget
from routoo_core.budget.alerts import DEFAULT_ALERTS, AlertRule
from routoo_core.budget.declared import declare_limits, file_source
from routoo_core.budget.ledger import FORGOTTEN_REFUSE, HOLD_TTL_S, Ledger
from routoo_core.budget.opening import open_ledger
from routoo_core.budget.tables import read_budgets
from routoo_core.calling.checks import DEFAULT_CHECKS, CheckRule
from routoo_core.calling.holds import CHEAPEST, REFUSE
from routoo_core.descriptions import (
    describe_alerts,
    describe_budget,
    describe_experts,
    describe_predictor,
)
from routoo_core.errors import ConfigurationError
from routoo_core.experts import Pool
from routoo_core.latency import LatencyRule
from routoo_core.loading import (
    check_expert_names,
    check_plan_names,
    held_out_reference,
    is_general,
    load_predictor,
    reference_table,
)
from routoo_core.plans.plan import Plan
from routoo_core.plans.tables import check_plans, describe_plan, read_plans
from routoo_core.policies import DEFAULT_POLICY, make_policy, policy_table
from routoo_core.predictor.base import Predictor
from routoo_core.predictor.batching import BatchingPredictor
from routoo_core.predictor.checkpoint_folder import find_router, read_experts
from routoo_core.predictor.general import GeneralPredictor
from routoo_core.redaction import has_password, redacted_url
from routoo_core.selector import Policy, PreferenceRule, as_policy
from routoo_core.settings import Settings, read_toml

STARTER = Path(__file__).parent / "starter"
"""A whole configuration: routoo.toml and experts.toml."""
SWITCH_MARGIN = 0.02
OVERRIDES = frozenset(
    {"account", "policy", "expert", "max_cost", "check", "repair", "probes", "no_cache"}
)
"""What a call may set for itself, unless a router allows less."""


class BudgetTable(Settings):
    """``[budget]`` in routoo.toml: the fields of Budget, and where the ledger lives."""

    account: str = "default"
    limit: Any = None
    period: str = "day"
    timezone: str = "UTC"
    expected_calls: int = 1000
    rolling: bool = False
    carry_over: bool = False
    held_share: Any = None
    accounts: Any = None
    within: Any = None
    members: Any = ()
    ledger: str = "sqlite:///routoo.db"
    hold_ttl_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = HOLD_TTL_S
    on_forgotten: str = FORGOTTEN_REFUSE

    def __repr_args__(self) -> Any:
        """The fields, the ledger's address without its password."""
        for name, value in super().__repr_args__():
            yield name, redacted_url(value) if name == "ledger" else value

    def budget(self, path: str | Path) -> Budget:
        """The budget the table describes.

        Args:
            path: The file it stands in, for errors.

        Raises:
            ConfigurationError: A field is out of range.
        """
        return Budget.read(f"{path}: budget", self.model_dump(exclude=set(_OF_LEDGER)))


_OF_LEDGER = frozenset({"ledger", "hold_ttl_s", "on_forgotten"})
"""What ``[budget]`` says of the ledger."""
_BESIDE_BUDGETS = _OF_LEDGER | {"account"}
"""What ``[budget]`` may say beside ``[budgets]``."""


class RoutooToml(Settings):
    """Everything ``routoo.toml`` may say; ``[gateway]`` is read by ``routoo serve`` alone."""

    router: str
    experts: str | dict[str, Any] = "experts.toml"
    policy: str | dict[str, Any] = DEFAULT_POLICY
    on_exhausted: str = "refuse"
    strict: bool = False
    latency: LatencyRule | None = None
    switch_margin: float = SWITCH_MARGIN
    overrides: frozenset[str] = OVERRIDES
    min_reply_tokens: int = 0
    alerts: AlertRule = DEFAULT_ALERTS
    checks: CheckRule = DEFAULT_CHECKS
    cache: CacheRule | None = None
    plans: dict[str, Any] = Field(default_factory=dict)
    budget: BudgetTable = Field(default_factory=BudgetTable)
    budgets: dict[str, Any] = Field(default_factory=dict)
    gateway: dict[str, Any] = Field(default_factory=dict)

    def read_budget(self, path: str | Path) -> Budget:
        """The budget that ``[budget]`` or ``[budgets]`` describe.

        Args:
            path: The file it stands in, for errors.

        Raises:
            ConfigurationError: A field is out of range, or both describe limits.
        """
        if not self.budgets:
            return self.budget.budget(path)
        surplus = sorted(self.budget.model_fields_set - _BESIDE_BUDGETS)
        if surplus:
            raise ConfigurationError(
                f"{path}: budget.{surplus[0]}: move it into a table of [budgets]. Where there are [budgets], "
                "[budget] holds only the ledger and the default account"
            )
        is_named = "account" in self.budget.model_fields_set
        return read_budgets(str(path), self.budgets, self.budget.account if is_named else None)


@dataclass(frozen=True)
class RouterOptions:
    """What a router does, apart from its experts and its predictor; the adapters' keywords.

    Attributes:
        policy: A name, a table with ``name`` and settings, a policy or a preference rule; by default
            ``match_best``.
        budget: What may be spent; by default everything is booked and nothing limited.
        ledger: ``memory://``, ``sqlite:///path``, ``redis://…``, or a ledger.
        on_exhausted: When nothing is affordable: ``refuse``, ``cheapest`` or an expert's name.
        strict: Refuse calls without ``max_tokens``.
        latency: What slow experts lose by it.
        switch_margin: Predicted quality by which another expert must be better than that of the turn before.
        overrides: What a call may set for itself, of :data:`OVERRIDES`.
        min_reply_tokens: Where a call sets no limit on its reply, the budget must pay for at least so many tokens.
        alerts: When to say that an account has spent much of its limit, and to whom.
        checks: What of its replies is checked.
        cache: Which answers are stored and given again; by default none.
        plans: Ways to ask several experts in one call: objects, or tables by name.
    """

    policy: str | Mapping[str, Any] | Policy | PreferenceRule | None = None
    budget: Budget | None = None
    ledger: str | Ledger = field(default="memory://", repr=False)
    on_exhausted: str = "refuse"
    strict: bool = False
    latency: LatencyRule | None = None
    switch_margin: float = SWITCH_MARGIN
    overrides: Iterable[str] = OVERRIDES
    min_reply_tokens: int = 0
    alerts: AlertRule = DEFAULT_ALERTS
    checks: CheckRule = DEFAULT_CHECKS
    cache: CacheRule | None = None
    plans: Sequence[Plan] | Mapping[str, Any] = ()


@dataclass(frozen=True)
class RouterParts:
    """The arguments of a :class:`~routoo_core.router.Router`, each an object."""

    pool: Pool
    predictor: Predictor
    policy: Policy | PreferenceRule
    budget: Budget
    ledger: Ledger
    on_exhausted: str
    strict: bool
    latency: LatencyRule | None
    switch_margin: float
    overrides: frozenset[str]
    min_reply_tokens: int
    alerts: AlertRule
    checks: CheckRule
    cache: CacheRule | None = None
    plans: tuple[Plan, ...] = ()

    def to_config(self) -> dict[str, Any]:
        """The parts in routoo.toml's words, with the experts' tables inside: plain JSON values, no secrets.

        Raises:
            ConfigurationError: The predictor, the policy or an expert is an object that cannot be
                written as configuration.
        """
        budget = describe_budget(self.budget)
        budget["ledger"] = self.ledger.url
        budget["hold_ttl_s"] = getattr(self.ledger, "ttl", HOLD_TTL_S)
        budget["on_forgotten"] = getattr(self.ledger, "on_forgotten", FORGOTTEN_REFUSE)
        if has_password(self.ledger.url):
            raise ConfigurationError(
                "budget.ledger: the address contains a password, and passwords are never written to a file. "
                "Put it in an environment variable and write ${NAME}"
            )
        return {
            "router": describe_predictor(self.predictor),
            "experts": describe_experts(self.pool),
            "policy": policy_table(self.policy),
            "on_exhausted": self.on_exhausted,
            "strict": self.strict,
            "latency": self.latency and self.latency.model_dump(mode="json"),
            "switch_margin": self.switch_margin,
            "overrides": sorted(self.overrides),
            "min_reply_tokens": self.min_reply_tokens,
            "alerts": describe_alerts(self.alerts),
            "checks": self.checks.model_dump(mode="json"),
            "cache": self.cache and self.cache.model_dump(mode="json"),
            "plans": {plan.name: describe_plan(plan) for plan in self.plans},
            "budget": budget,
        }


def read_config(path: str | Path) -> RoutooToml:
    """Read and check ``routoo.toml`` alone.

    Raises:
        ConfigurationError: The message names file, field and remedy.
    """
    return RoutooToml.read(str(path), read_toml(path))


def read_pool(path: str | Path, config: RoutooToml) -> Pool:
    """The experts that routoo.toml holds, or those of the file it names.

    Raises:
        ConfigurationError: The message names file, expert and field.
    """
    if isinstance(config.experts, str):
        return Pool.from_toml(Path(path).parent / config.experts)
    return Pool.read(str(path), config.experts)


def open_account(
    path: str | Path, config: RoutooToml, ledger: str | None = None
) -> tuple[Budget, Ledger]:
    """The budget and the ledger that a file names, without loading the predictor.

    Args:
        path: ``routoo.toml``.
        config: What it holds.
        ledger: Used instead of the one the file names.

    Raises:
        ConfigurationError: A field of the budget is out of range, or the ledger cannot be opened.
    """
    budget = config.read_budget(path)
    url = ledger or config.budget.ledger
    table = config.budget
    return budget, open_ledger(url, Path(path).parent, table.hold_ttl_s, table.on_forgotten)


def parts_from_toml(
    path: str | Path, ledger: str | None = None, pool: Pool | None = None
) -> RouterParts:
    """The parts that ``routoo.toml`` names; relative paths in it start from its folder.

    Args:
        path: The file.
        ledger: Used instead of the one the file names.
        pool: Used instead of the experts the file names.

    Raises:
        ConfigurationError: Something in the file, or in a file it names, is wrong.
    """
    return _parts_of_config(read_config(path), path, ledger, pool, file_source(path))


def parts_from_config(config: Mapping[str, Any]) -> RouterParts:
    """The parts that :meth:`RouterParts.to_config` described.

    Raises:
        ConfigurationError: Something in it is wrong.
    """
    return _parts_of_config(RoutooToml.read("config", config), "config")


def _parts_of_config(
    config: RoutooToml,
    path: str | Path,
    ledger: str | None = None,
    pool: Pool | None = None,
    source: str | None = None,
) -> RouterParts:
    experts = pool or read_pool(path, config)
    plans = read_plans(
        str(path),
        config.plans,
        [expert.name for expert in experts],
        [expert.model for expert in experts],
        Path(path).parent,
    )
    _check_hold_ttl(path, config.budget.hold_ttl_s, experts, plans)
    budget, store = open_account(path, config, ledger)
    options = RouterOptions(
        policy=config.policy,
        budget=budget,
        ledger=store,
        on_exhausted=config.on_exhausted,
        strict=config.strict,
        latency=config.latency,
        switch_margin=config.switch_margin,
        overrides=config.overrides,
        min_reply_tokens=config.min_reply_tokens,
        alerts=config.alerts,
        checks=config.checks,
        cache=config.cache,
        plans=plans,
    )
    return assemble(experts, config.router, options, Path(path).parent, source)


def _check_hold_ttl(path: str | Path, hold_ttl_s: float, pool: Pool, plans: Sequence[Plan]) -> None:
    """Refuse holds that expire while a call may still run.

    Raises:
        ConfigurationError: An expert's time-out is longer, or those of a plan's steps together.
    """
    for plan in plans:
        seconds = sum(pool[step.expert].timeout_s for step in plan.steps)
        if seconds > hold_ttl_s:
            raise ConfigurationError(
                f"{path}: budget.hold_ttl_s: {hold_ttl_s:g} is less than timeout_s of all steps of plan {plan.name!r} "
                f"together ({seconds:g}); give at least that, or lower timeout_s of its experts"
            )
    for expert in pool:
        if expert.timeout_s > hold_ttl_s:
            raise ConfigurationError(
                f"{path}: budget.hold_ttl_s: {hold_ttl_s:g} is shorter than timeout_s of expert {expert.name!r} "
                f"({expert.timeout_s:g} s); set it to at least {expert.timeout_s:g}"
            )


def assemble(
    pool: Pool,
    predictor: str | Path | Predictor,
    options: RouterOptions,
    beside: Path | None = None,
    source: str | None = None,
) -> RouterParts:
    """Make every part an object.

    Args:
        pool: The experts.
        predictor: A shipped checkpoint's name, a checkpoint's folder, or any predictor.
        options: The rest.
        beside: Folder that relative paths start from.
        source: The file that the limits stand in; ``None`` for a program, whose limits the ledger does not keep.

    Raises:
        ConfigurationError: A name is unknown, or a file or server cannot be opened.
    """
    budget = options.budget or Budget()
    policy = make_policy(options.policy or DEFAULT_POLICY)
    overrides = frozenset(options.overrides)
    check_settings(
        pool,
        policy,
        budget,
        options.on_exhausted,
        options.switch_margin,
        overrides,
        options.min_reply_tokens,
    )
    plans = _plans_of(options, pool, beside)
    folder = None
    if isinstance(predictor, str | Path):
        folder = find_router(predictor, beside)
        check_expert_names(pool, read_experts(folder))
        check_plan_names([plan.name for plan in plans], read_experts(folder))
    ledger = options.ledger
    if isinstance(ledger, str):
        ledger = open_ledger(ledger, beside)
    if not ledger.url.startswith(
        "memory"
    ):  # nobody shares that one, and it is opened by the first call
        declare_limits(ledger, budget, source, time.time())

    if folder is not None:  # last, since it takes seconds
        predictor, policy = _load_checkpoint(folder, policy, pool, plans)
    assert not isinstance(predictor, str | Path)  # noqa: S101
    return RouterParts(
        pool=pool,
        predictor=predictor,
        policy=policy,
        budget=budget,
        ledger=ledger,
        on_exhausted=options.on_exhausted,
        strict=options.strict,
        latency=options.latency,
        switch_margin=options.switch_margin,
        overrides=overrides,
        min_reply_tokens=options.min_reply_tokens,
        alerts=options.alerts,
        checks=options.checks,
        cache=options.cache,
        plans=plans,
    )


def _plans_of(options: RouterOptions, pool: Pool, beside: Path | None) -> tuple[Plan, ...]:
    """The plans, each an object.

    Raises:
        ConfigurationError: One asks an expert that is not in the pool, or a field of its table is wrong.
    """
    names = [expert.name for expert in pool]
    if isinstance(options.plans, Mapping):
        return read_plans("plans", options.plans, names, beside=beside)
    check_plans(options.plans, names)
    return tuple(options.plans)


def check_settings(
    pool: Pool,
    policy: Policy | PreferenceRule,
    budget: Budget,
    on_exhausted: str,
    switch_margin: float,
    overrides: frozenset[str],
    min_reply_tokens: int,
) -> None:
    """Refuse settings of a router that do not fit together; the predictor is not needed for that.

    Raises:
        ConfigurationError: ``on_exhausted`` names no expert, the margin is out of range, an override is unknown, or the
            policy needs a limit.
    """
    if on_exhausted not in {REFUSE, CHEAPEST}:
        pool[on_exhausted]
    if not 0 <= switch_margin <= 1:
        raise ConfigurationError(f"switch_margin: {switch_margin} is not between 0 and 1")
    if min_reply_tokens < 0:
        raise ConfigurationError(f"min_reply_tokens: {min_reply_tokens} is below 0")
    unknown = sorted(overrides - OVERRIDES)
    if unknown:
        names = ", ".join(sorted(OVERRIDES))
        raise ConfigurationError(f"overrides: {unknown[0]!r} is unknown; choose one of {names}")
    rule = as_policy(policy)
    rule.check_experts(tuple(expert.name for expert in pool))
    is_limited = any(account.limit is not None for account in budget.chain)
    if rule.needs_limit and not is_limited:
        raise ConfigurationError(
            f"budget.limit: the {rule.name} policy needs a limit to spend; set one or choose another policy"
        )


def _load_checkpoint(
    folder: Path, policy: Policy | PreferenceRule, pool: Pool, plans: Sequence[Plan]
) -> tuple[Predictor, Policy | PreferenceRule]:
    """A checkpoint's predictor for a pool, and the policy with its typical prompts."""
    predictor = load_predictor(folder, pool, plans=[plan.name for plan in plans])
    if isinstance(policy, Policy) and policy.learns:
        reference = reference_table(folder, predictor)
        policy = policy.with_reference(reference.values, reference.experts)
    if isinstance(policy, Policy) and policy.needs_evidence:
        policy = with_held_out_evidence(policy, folder)
    if isinstance(predictor, GeneralPredictor) and predictor.is_quick:
        return predictor, policy
    return BatchingPredictor(predictor), policy


def with_held_out_evidence(policy: Policy, folder: Path) -> Policy:
    """A policy that knows how good a checkpoint's predictions for its held-out prompts were.

    Raises:
        ConfigurationError: A general router has no held-out scores.
    """
    if is_general(folder):
        raise ConfigurationError(
            f"policy: {policy.name}: {folder.name} has no held-out scores, so no lead can be proved; "
            "train a router on outcomes, or set leads"
        )
    held_out = held_out_reference(folder)
    return policy.with_evidence(held_out.quality, held_out.scores, held_out.experts)
