"""The view of two experts: the strong one answers where it wins often enough (RouteLLM, arXiv 2406.18665).

A win rate is ``(1 + q_strong - q_weak) / 2``: of answers that are right or wrong, the probability that the strong
expert does better, and half of that of a tie. So every predictor has one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np

from routoo_core.errors import ConfigurationError
from routoo_core.experts import Expert
from routoo_core.selector import Array, Policy, PolicyContext, PreferenceRule

_NAME = re.compile(r"router-(?P<router>.+)-(?P<threshold>\d*\.?\d+)")
_PAIR = 2


@dataclass(frozen=True)
class PairRule:
    """The preference rule of two columns; other experts come after them, by quality.

    Attributes:
        threshold: Win rate from which the strong expert leads, 0–1.
        strong: Its column.
        weak: The column of the other.
    """

    threshold: float
    strong: int
    weak: int

    def __call__(self, quality: Array, cost: Array) -> Array:
        """Preference of each expert."""
        win_rate = (1 + quality[..., self.strong] - quality[..., self.weak]) / 2
        preference = quality - 1.0
        preference[..., self.weak] = 2.0
        preference[..., self.strong] = np.where(win_rate >= self.threshold, 3.0, 1.0)
        return preference


@dataclass(frozen=True)
class WinRate(Policy):
    """The strong expert answers from a win rate on, else the weak one.

    ``{ name = "win_rate", threshold = 0.116 }`` is RouteLLM's ``router-mf-0.116`` over a router that was trained by
    ``mf``. A higher threshold is cheaper.

    Attributes:
        threshold: Win rate, 0–1.
        strong: The strong expert; by default the dearer of two by list price.
        weak: The weak expert; by default the cheaper of two.
    """

    threshold: float
    strong: str | None = None
    weak: str | None = None
    name: ClassVar[str] = "win_rate"

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, int | float) or not 0 <= self.threshold <= 1:
            raise ConfigurationError(f"threshold: {self.threshold!r} is not a number from 0 to 1")
        if (self.strong is None) != (self.weak is None) or (
            self.strong and self.strong == self.weak
        ):
            raise ConfigurationError("win_rate: name two experts, strong and weak, or neither")

    def check_experts(self, experts: tuple[str, ...]) -> None:
        """Refuse a pool without these two experts, or one of more than two where none is named."""
        if self.strong is None and len(experts) != _PAIR:
            raise ConfigurationError(
                f"policy: win_rate: the pool has {len(experts)} experts; name two of them, strong and weak"
            )
        for expert in (self.strong, self.weak):
            if expert is not None and expert not in experts:
                raise ConfigurationError(
                    f"policy: win_rate: {expert!r} is not among the experts {', '.join(experts)}"
                )

    def rule(self, context: PolicyContext) -> PreferenceRule:
        """The rule for the candidates of one call; where only one of the two can serve it, that one leads."""
        names = [candidate.name for candidate in context.candidates]
        if self.strong is None or self.weak is None:
            columns = [
                column
                for column, candidate in enumerate(context.candidates)
                if candidate.plan is None
            ]
            if len(columns) != _PAIR:
                return _by_quality
            weak, strong = sorted(
                columns, key=lambda column: _list_price(context.candidates[column].expert)
            )
            return PairRule(self.threshold, strong, weak)
        if self.strong in names and self.weak in names:
            return PairRule(self.threshold, names.index(self.strong), names.index(self.weak))
        return _by_quality

    def parameters(self) -> dict[str, Any]:
        """The threshold, and the experts where they are named."""
        parameters = super().parameters()
        return {name: value for name, value in parameters.items() if value is not None}


def _list_price(expert: Expert) -> Decimal:
    """USD of a million tokens, as many of the prompt as of the reply."""
    prices = expert.prices_at()
    return Decimal(prices.input_usd_per_1m) + Decimal(prices.output_usd_per_1m)


def _by_quality(quality: Array, cost: Array) -> Array:
    return quality


@dataclass(frozen=True)
class RouterName:
    """A router and a threshold in one name, such as ``router-mf-0.116``: RouteLLM's form.

    Attributes:
        router: The router's name.
        threshold: Of its win rate, 0–1.
    """

    router: str
    threshold: float

    def __str__(self) -> str:
        digits = f"{self.threshold:.10f}".rstrip("0").rstrip(".")
        return f"router-{self.router}-{digits}"

    def policy(self) -> WinRate:
        """The policy that the name stands for."""
        return WinRate(self.threshold)


def read_router_name(text: str) -> RouterName | None:
    """A name of the form ``router-NAME-THRESHOLD``; ``None`` where it has another.

    >>> read_router_name("router-mf-0.116")
    RouterName(router='mf', threshold=0.116)
    """
    match = _NAME.fullmatch(text)
    if match is None or not 0 <= float(match["threshold"]) <= 1:
        return None
    return RouterName(match["router"], float(match["threshold"]))
