"""The guard: another expert than the default answers only where held-out prompts prove that it does no worse.

For each other expert the held-out prompts are sorted by its *lead*, its predicted quality less the default's. The
observed gains of the n prompts from some lead on add up to G, with a standard error of SE. The guard takes the lead at
which ``G + margin · n - z · SE`` is largest. Where that is not above zero, or fewer than fifty prompts have such a
lead, the expert never takes a call from the default. With many experts one of them looks good by luck, so z grows with
their number: the probability that any of them passes by luck stays that of z for one (Bonferroni).

The margin is that of a non-inferiority test: the quality that an answer may lose. Without one, an expert that is
exactly as good as the default never takes a call, however cheap it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routoo_core.errors import ConfigurationError
from routoo_core.selector import (
    Array,
    Best,
    Policy,
    PolicyContext,
    PreferenceRule,
)

FEWEST_PROMPTS = 50
"""With fewer held-out prompts a lead proves nothing."""
DEFAULT_Z = 2.0
_SMALLEST_PROBABILITY = 1e-12
"""Below it no z is needed that is larger than the one that was set."""

Leads = Mapping[str, float]
"""Expert → predicted quality by which it must be ahead of the default; experts that never take a call are left out."""


def fit_leads(
    quality: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    experts: tuple[str, ...],
    default: str,
    z: float = DEFAULT_Z,
    margin: float = 0.0,
) -> Leads:
    """The lead from which each expert takes calls from the default.

    Args:
        quality: Predicted for held-out prompts, prompts × experts, 0–1.
        scores: Observed, prompts × experts, 0–1 or NaN.
        experts: Names of the columns.
        default: One of them.
        z: Standard errors by which the summed gain must be above zero, were there one other expert.
        margin: Quality that an answer may lose, 0–1.
    """
    own = experts.index(default)
    z = z_for_many(z, len(experts) - 1)
    leads: dict[str, float] = {}
    for column, expert in enumerate(experts):
        if column == own:
            continue
        gain = (scores[:, column] - scores[:, own]).astype(np.float64)
        lead = (quality[:, column] - quality[:, own]).astype(np.float64)
        observed = ~np.isnan(gain)
        proven = _proven_lead(lead[observed], gain[observed] + margin, z)
        if proven is not None:
            leads[expert] = proven
    return leads


def z_for_many(z: float, count: int) -> float:
    """The z whose one-sided probability is that of ``z``, divided by ``count``."""
    normal = NormalDist()
    probability = normal.cdf(-z) / max(count, 1)
    if probability < _SMALLEST_PROBABILITY:
        return z
    return -normal.inv_cdf(probability)


def _proven_lead(lead: NDArray[np.float64], gain: NDArray[np.float64], z: float) -> float | None:
    """The lead at which the summed gain less z standard errors is largest; ``None`` where it proves nothing.

    Args:
        lead: Of each held-out prompt, (prompts,).
        gain: Observed, with the margin, (prompts,).
        z: Standard errors.
    """
    if len(lead) < FEWEST_PROMPTS:
        return None
    largest_first = np.argsort(-lead, kind="stable")
    lead = lead[largest_first]
    gain = gain[largest_first]

    count = np.arange(1, len(lead) + 1)
    total = gain.cumsum()
    spread = np.square(gain).cumsum() - total**2 / count
    evidence = total - z * np.sqrt(np.maximum(spread, 0))
    # A lead stands for all prompts that have it.
    is_last_of_its_lead = np.append(lead[1:] < lead[:-1], True)
    counts = (count >= FEWEST_PROMPTS) & is_last_of_its_lead
    evidence = np.where(counts, evidence, -np.inf)
    best = int(evidence.argmax())
    return float(lead[best]) if evidence[best] > 0 else None


@dataclass(frozen=True)
class _GuardedRule:
    """The inner rule among the default and those that are far enough ahead of it; the others come after them."""

    inner: PreferenceRule
    default: int
    leads: NDArray[np.float64]

    def __call__(self, quality: Array, cost: Array) -> Array:
        preference = np.asarray(self.inner(quality, cost), dtype=np.float64)
        lead = quality - quality[..., self.default : self.default + 1]
        may_answer = lead >= self.leads
        may_answer[..., self.default] = True

        lowest = np.where(may_answer, preference, np.inf).min(axis=-1, keepdims=True)
        highest = preference.max(axis=-1, keepdims=True)
        guarded_preference: Array = np.where(
            may_answer, preference, lowest - 1 - (highest - preference)
        )
        return guarded_preference


@dataclass(frozen=True)
class Guarded(Policy):
    """A policy that leaves the default expert only on proof; see the module.

    ``{ name = "guarded", default = "gpt-5", z = 2.0, policy = "paced" }``

    Attributes:
        default: The expert that answers otherwise.
        z: Standard errors by which the evidence must be above zero, at least 0; more is more cautious.
        margin: Quality that an answer may lose against the default, 0–1; with 0.01 a cheaper expert may be a point
            worse.
        policy: Chooses among the default and those that may answer: a policy, or its name or table in routoo.toml.
        leads: Expert → lead; by default fitted on the router's held-out prompts.
    """

    default: str
    z: float = DEFAULT_Z
    margin: float = 0.0
    policy: Policy = field(default_factory=Best)
    leads: Leads | None = None
    fitted: Leads | None = field(default=None, repr=False)
    name: ClassVar[str] = "guarded"

    def __post_init__(self) -> None:
        if not isinstance(self.z, int | float) or not np.isfinite(self.z) or self.z < 0:
            raise ConfigurationError(f"z: {self.z!r} is not a finite number of at least 0")
        if not isinstance(self.margin, int | float) or not 0 <= self.margin <= 1:
            raise ConfigurationError(f"margin: {self.margin!r} is not a number from 0 to 1")
        if isinstance(self.policy, Guarded):
            raise ConfigurationError("policy: a guard within a guard; name another policy")
        if self.leads is not None:
            object.__setattr__(self, "leads", MappingProxyType(dict(self.leads)))

    @property
    def needs_limit(self) -> bool:  # type: ignore[override]
        """As the inner policy."""
        return self.policy.needs_limit

    @property
    def learns(self) -> bool:  # type: ignore[override]
        """As the inner policy."""
        return self.policy.learns

    @property
    def needs_evidence(self) -> bool:  # type: ignore[override]
        """Whether leads are not known yet."""
        return self.leads is None and self.fitted is None

    def check_experts(self, experts: tuple[str, ...]) -> None:
        """Refuse a pool without the default, or without an expert whose lead is given."""
        for expert in (self.default, *(self.leads or ())):
            if expert not in experts:
                raise ConfigurationError(
                    f"policy: guarded: {expert!r} is not among the experts {', '.join(experts)}"
                )
        self.policy.check_experts(experts)

    def with_reference(self, quality: NDArray[np.float32], experts: tuple[str, ...]) -> Policy:
        """The inner policy starts from typical prompts."""
        return replace(self, policy=self.policy.with_reference(quality, experts))

    def with_evidence(
        self,
        quality: NDArray[np.float32],
        scores: NDArray[np.float32],
        experts: tuple[str, ...],
    ) -> Policy:
        """The same with leads that these held-out prompts prove.

        Raises:
            ConfigurationError: The default was not observed on them.
        """
        if self.default not in experts:
            raise ConfigurationError(
                f"policy: guarded: the router has no held-out scores of {self.default!r}; "
                f"name one of {', '.join(experts)}"
            )
        leads = fit_leads(quality, scores, experts, self.default, self.z, self.margin)
        return replace(self, fitted=leads)

    def rule(self, context: PolicyContext) -> PreferenceRule:
        """The inner rule, guarded; the inner rule itself where the default cannot serve the call.

        Raises:
            ConfigurationError: No leads are known.
        """
        leads = self.fitted if self.leads is None else self.leads
        if leads is None:
            raise ConfigurationError(
                "policy: guarded: no held-out prompts prove anything; give leads, or a router that was trained here"
            )
        inner = self.policy.rule(context)
        names = [candidate.predicted_as for candidate in context.candidates]
        if self.default not in names:
            return inner
        least_leads = np.array([leads.get(name, np.inf) for name in names])
        return _GuardedRule(inner, names.index(self.default), least_leads)

    def observe(self, context: PolicyContext) -> None:
        """The inner policy notes the call."""
        self.policy.observe(context)

    def parameters(self) -> dict[str, Any]:
        """What was set; leads that were fitted are the router's."""
        parameters: dict[str, Any] = {
            "default": self.default,
            "z": self.z,
            "margin": self.margin,
            "policy": self.policy,
        }
        if self.leads is not None:
            parameters["leads"] = dict(self.leads)
        return parameters
