"""Step 4 of the path: predicted quality and cost become a ranking (paper §3.3).

A *preference rule* is a callable ``(quality, cost) → preference``, all arrays of shape (…, experts), cost in
USD; the expert with the highest preference is tried first. A *policy* gives the rule for each call: always
the same one, or one that follows the budget. Any plain function of the rule's form is a policy, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routoo_core.budget.outlook import Standing
from routoo_core.candidates import Candidate, costs, qualities
from routoo_core.errors import ConfigurationError
from routoo_core.latency import INDIFFERENT, LatencyRule
from routoo_core.money import NANO_PER_USD, format_usd
from routoo_core.predictor.general import PromptDescription
from routoo_core.record import (
    CandidateRecord,
    DecisionRecord,
    PolicyRecord,
    PromptRecord,
    SkipRecord,
)
from routoo_core.stickiness import Stickiness, is_pinned, margin_of

Array = NDArray[np.floating[Any]]
PreferenceRule = Callable[[Array, Array], Array]

TIE = 0.01
"""Predicted quality by which experts count as equally good: about what a prediction is off by."""

_HIGHEST_LAMBDA = 1e8
"""Quality per USD; above it nothing but cost decides."""
_QUALITY_STEP = 0.01
"""Predicted quality, by which λ is put into words."""
_FREE = 1e-12  # USD; stands in for a cost of zero where a rule divides by cost


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What a policy may look at to rank the candidates of one call.

    Attributes:
        candidates: Those of the call, in the pool's order.
        standings: Asks the ledger where every account that pays for the call stands, innermost first.
    """

    candidates: tuple[Candidate, ...]
    standings: Callable[[], Sequence[Standing]]


class Policy:
    """Ranks the candidates of a call; subclass it and list it in ``policies.POLICIES``.

    Attributes:
        name: Its name in routoo.toml and in decision records.
        needs_limit: Whether it can only serve a budget that has a limit.
        learns: Whether :meth:`observe` changes later rules; such a policy cannot be set for a single call.
        needs_evidence: Whether it has to see held-out predictions beside scores; see :meth:`with_evidence`.
    """

    name: ClassVar[str]
    needs_limit: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    needs_evidence: ClassVar[bool] = False

    def rule(self, context: PolicyContext) -> PreferenceRule:
        """The preference rule for one call; asking for it changes nothing."""
        raise NotImplementedError

    def observe(self, context: PolicyContext) -> None:
        """Note that a call is being made; called once for each call, after its :meth:`rule`."""

    def with_reference(self, quality: NDArray[np.float32], experts: tuple[str, ...]) -> Policy:
        """This policy, starting from the predicted quality of typical prompts.

        Args:
            quality: Prompts × experts, 0–1.
            experts: Names of the columns.
        """
        return self

    def with_evidence(
        self,
        quality: NDArray[np.float32],
        scores: NDArray[np.float32],
        experts: tuple[str, ...],
    ) -> Policy:
        """This policy, knowing how good predictions for held-out prompts were.

        Args:
            quality: Predicted, prompts × experts, 0–1.
            scores: Observed, prompts × experts, 0–1 or NaN.
            experts: Names of the columns.
        """
        return self

    def check_experts(self, experts: tuple[str, ...]) -> None:
        """Refuse a pool that the policy cannot rank.

        Args:
            experts: The names in the pool.

        Raises:
            ConfigurationError: An expert that the policy names is not among them.
        """

    def parameters(self) -> dict[str, Any]:
        """Its settings, as routoo.toml writes them."""
        if not is_dataclass(self):
            return {}
        return {name.rstrip("_"): value for name, value in asdict(self).items()}


class FixedPolicy(Policy):
    """A policy whose rule is the same for every call: itself."""

    def rule(self, context: PolicyContext) -> PreferenceRule:
        """The policy itself."""
        return self

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        raise NotImplementedError


@dataclass(frozen=True)
class Ratio(FixedPolicy):
    """The paper's ratio ``s / c^α`` (§3.3): α = 0 ignores cost, a larger α favours the cheap.

    Attributes:
        alpha: Weight of the cost, at least 0; the paper plots 1, 0.1 and 0.01.
    """

    alpha: float = 0.1
    name: ClassVar[str] = "ratio"

    def __post_init__(self) -> None:
        _check_not_negative("alpha", self.alpha)

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        with np.errstate(
            over="ignore", divide="ignore"
        ):  # a large α: a tiny cost is infinitely better
            preference: Array = quality / np.maximum(cost, _FREE) ** self.alpha
        return preference


@dataclass(frozen=True)
class Lagrangian(FixedPolicy):
    """Quality less cost times λ: ``s - λ c``, the multiplier form of the budgeted assignment.

    Attributes:
        lambda_: λ, quality per USD, at least 0; ``lambda`` in routoo.toml.
        tie: Experts whose quality is at most this below the best count as equally good, 0–1.
    """

    lambda_: float
    tie: float = 0.0
    name: ClassVar[str] = "lagrangian"

    def __post_init__(self) -> None:
        _check_not_negative("lambda", self.lambda_)
        check_tie(self.tie)

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        preference: Array = level_ties(quality, self.tie) - self.lambda_ * cost
        return preference

    def parameters(self) -> dict[str, Any]:
        """λ, and the tie where there is one."""
        parameters = super().parameters()
        if not self.tie:
            del parameters["tie"]
        return parameters


@dataclass(frozen=True)
class QualityFloor(FixedPolicy):
    """The cheapest expert that is good enough; when none is, the best.

    Attributes:
        floor: Predicted quality that is good enough, 0–1.
    """

    floor: float
    name: ClassVar[str] = "quality_floor"

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ConfigurationError(f"floor: {self.floor} is not between 0 and 1")

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert: every one above the floor comes before every one below."""
        cheapness = 1.0 + 1.0 / (1.0 + cost)
        preference: Array = np.where(quality >= self.floor, cheapness, quality - 1.0)
        return preference


@dataclass(frozen=True)
class Best(FixedPolicy):
    """The highest predicted quality, whatever it costs; the cheapest of those that are equally good.

    Attributes:
        tie: Experts whose quality is at most this below the best count as equally good, 0–1.
    """

    tie: float = TIE
    name: ClassVar[str] = "best"

    def __post_init__(self) -> None:
        check_tie(self.tie)

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        return level_ties(quality, self.tie)


@dataclass(frozen=True)
class Cheapest(FixedPolicy):
    """The lowest expected cost, whatever the quality."""

    name: ClassVar[str] = "cheapest"

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        return -cost


@dataclass(frozen=True)
class FunctionPolicy(FixedPolicy):
    """A preference rule of the user's as a policy.

    Attributes:
        function: The rule.
    """

    function: PreferenceRule
    name: ClassVar[str] = "function"

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        return self.function(quality, cost)


def level_ties(quality: Array, tie: float) -> Array:
    """Quality in which experts that are at most ``tie`` below the best are as good as it.

    Args:
        quality: Predicted, (…, experts).
        tie: Predicted quality, 0–1.
    """
    if not tie:
        return quality
    best = quality.max(axis=-1, keepdims=True)
    level_quality: Array = np.where(quality >= best - tie, best, quality)
    return level_quality


def check_tie(tie: float) -> None:
    """Refuse a tie that is no quality.

    Raises:
        ConfigurationError: It is not from 0 to 1.
    """
    if not isinstance(tie, int | float) or not 0 <= tie <= 1:
        raise ConfigurationError(f"tie: {tie!r} is not a number between 0 and 1")


def as_policy(policy: Policy | PreferenceRule) -> Policy:
    """A policy as it is; a preference rule as a :class:`FunctionPolicy`."""
    if isinstance(policy, Policy):
        return policy
    return FunctionPolicy(policy)


def describe_policy(policy: Policy | PreferenceRule) -> PolicyRecord:
    """A policy's name and settings without λ, for the decision record."""
    policy = as_policy(policy)
    if isinstance(policy, FunctionPolicy):
        function = policy.function
        name = getattr(function, "__name__", type(function).__name__)
        settings: dict[str, Any] = {}
        if is_dataclass(function) and not isinstance(function, type):
            settings = asdict(function)
        return PolicyRecord(name, settings)
    parameters = {}
    for name, value in policy.parameters().items():
        if name == "lambda":
            continue
        parameters[name] = describe_policy(value).to_dict() if isinstance(value, Policy) else value
    return PolicyRecord(policy.name, parameters)


def _check_not_negative(name: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise ConfigurationError(f"{name}: {value} is not a finite number of at least 0")


def _prompt_record(prompt: PromptDescription | None) -> PromptRecord | None:
    if prompt is None:
        return None
    return PromptRecord(dict(prompt.kinds), prompt.difficulty, prompt.foreign)


@dataclass(frozen=True, slots=True)
class Decision:
    """The ranked candidates and the reason for their order; no expert has been called yet.

    Attributes:
        candidates: Best first, never empty.
        policy: The configured policy.
        lambda_: λ in quality per USD; ``None`` for a policy without one.
        fingerprint: The predictor's.
        predict_ms: Milliseconds the prediction took.
        stickiness: What spoke for the expert of the turn before, where there was one.
        skipped: Experts that cool down: they are the last candidates.
        context: What the policy looked at.
        prompt: What a general router read of the prompt.
        unread: Plans that are not offered → what of the prompt their scorer cannot read.
    """

    candidates: tuple[Candidate, ...]
    policy: PolicyRecord
    lambda_: float | None
    fingerprint: str
    predict_ms: float
    stickiness: Stickiness | None = None
    skipped: tuple[SkipRecord, ...] = ()
    context: PolicyContext | None = field(default=None, repr=False, compare=False)
    prompt: PromptDescription | None = None
    unread: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def pinned(self) -> Candidate | None:
        """The candidate that comes first since its tool call is open."""
        first = self.candidates[0]
        return first if is_pinned(first, self.stickiness) else None

    def record(self) -> DecisionRecord:
        """The decision without a call: no attempts, nothing held or settled."""
        previous = self.stickiness
        return DecisionRecord(
            expert=self.candidates[0].name,
            candidates=tuple(CandidateRecord.of(candidate) for candidate in self.candidates),
            policy=self.policy,
            lambda_=self.lambda_,
            previous=previous.expert if previous else None,
            open_tool_call=previous is not None and previous.open_tool_call,
            predict_ms=round(self.predict_ms, 2),
            router=self.fingerprint,
            skipped=self.skipped,
            prompt=_prompt_record(self.prompt),
            unread=self.unread,
        )

    def explain(self) -> str:
        """Say in one line why the first candidate leads, and what the next one would have cost."""
        first = self.candidates[0]
        policy = f"policy {self.policy.name}"
        for name, value in self.policy.parameters.items():
            policy += f", {name} {_short(value)}"
        if self.lambda_ is not None:
            policy += f"; λ {_short(self.lambda_)}: {self.describe_lambda()}"

        sentence = (
            f"{first.name}: predicted quality {first.quality:.2f} for "
            f"{format_usd(first.expected_cost)} ({policy})"
        )
        rival = self._tied_best()
        if rival is not None:
            sentence += f", as good as {rival.name} ({rival.quality:.2f}) and cheaper"
        if len(self.candidates) == 1:
            return sentence
        second = self.candidates[1]
        return (
            f"{sentence}; next {second.name}: {second.quality:.2f} for "
            f"{format_usd(second.expected_cost)}"
        )

    def describe_lambda(self) -> str:
        """λ in words: what the budget or the goal allows for a little more quality; empty without λ."""
        if self.lambda_ is None:
            return ""
        if self.lambda_ <= 0:
            return "money is ample, so the best comes first"
        if self.lambda_ >= _HIGHEST_LAMBDA:
            return "money is nearly gone, so the cheapest comes first"
        usd = _QUALITY_STEP / self.lambda_
        return f"{_QUALITY_STEP} more quality may cost {format_usd(round(usd * NANO_PER_USD))}"

    def _tied_best(self) -> Candidate | None:
        """The candidate of the highest quality, where the first one is cheaper and counts as equally good."""
        first = self.candidates[0]
        best = max(self.candidates, key=_quality_of)
        tie = self.policy.parameters.get("tie", 0.0)
        is_tied = first.quality < best.quality <= first.quality + tie
        return best if is_tied and first.expected_cost < best.expected_cost else None


def _quality_of(candidate: Candidate) -> float:
    return candidate.quality


def _short(value: Any) -> str:
    """A setting as a sentence shows it: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def rank(
    rule: PreferenceRule,
    candidates: Sequence[Candidate],
    latency: LatencyRule | None = None,
    stickiness: Stickiness | None = None,
    cooling: Collection[str] = (),
) -> tuple[Candidate, ...]:
    """Order candidates by preference; equals by expected cost, then in the order given.

    Args:
        rule: Gives each candidate's preference.
        candidates: At least one.
        latency: Takes what a second costs off the quality; experts that are too slow come last.
        stickiness: Adds its margin to the quality of its expert, which comes first while its tool call is open.
        cooling: Names of experts that come after all others, since they failed lately.

    Raises:
        ConfigurationError: The rule returned something other than one finite number a candidate.
    """
    latency = latency or INDIFFERENT
    penalties = [latency.penalty(candidate.latency) for candidate in candidates]
    margins = [margin_of(candidate, stickiness) for candidate in candidates]
    quality = qualities(candidates) - penalties + margins
    preferences = _preferences(rule, quality, costs(candidates))

    def order(position: int) -> tuple[bool, bool, bool, float, int]:
        candidate = candidates[position]
        is_cooling = not candidate.expert_names.isdisjoint(cooling)
        is_first = is_pinned(candidate, stickiness)
        is_slow = latency.is_slow(candidate.latency)
        rank_of_preference = -preferences[position]
        return is_cooling, not is_first, is_slow, rank_of_preference, candidate.expected_cost

    positions = sorted(range(len(candidates)), key=order)
    return tuple(candidates[position] for position in positions)


def _preferences(rule: PreferenceRule, quality: Array, cost: Array) -> list[float]:
    """The rule's preference for each candidate, checked."""
    preferences = np.asarray(rule(np.maximum(quality, 0), cost), dtype=np.float64)
    if preferences.shape != cost.shape or not np.isfinite(preferences).all():
        raise ConfigurationError(
            f"policy {rule!r} must return {len(cost)} finite numbers, got {preferences}"
        )
    values: list[float] = preferences.tolist()
    return values
