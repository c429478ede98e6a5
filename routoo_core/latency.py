"""How long experts take, measured as they answer, and what a second is worth (the paper's cost *and latency*)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from routoo_core.lifetimes import fork_safe_lock
from routoo_core.settings import Settings

LATEST_WEIGHT = 0.2
"""Weight of the latest reply in the mean."""


class LatencyRule(Settings):
    """``[latency]`` in routoo.toml: what slow experts lose by it.

    Attributes:
        max_s: Experts expected to take longer are tried only after all others.
        quality_per_s: Predicted quality that a second costs, in the ranking alone; 0.01 gives up a point for a second.
    """

    max_s: Annotated[float, Field(gt=0)] | None = None
    quality_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def penalty(self, seconds: float | None) -> float:
        """Quality taken off in the ranking; nothing for an expert that was not measured yet."""
        return self.quality_per_s * (seconds or 0.0)

    def is_slow(self, seconds: float | None) -> bool:
        """Whether an expert comes after all others."""
        if self.max_s is None or seconds is None:
            return False
        return seconds > self.max_s


INDIFFERENT = LatencyRule()
"""Slow experts lose nothing."""


class Latencies:
    """Exponentially weighted mean seconds of each expert's replies, the whole reply; safe from any thread."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._lock = fork_safe_lock()

    def observe(self, expert: str, seconds: float) -> None:
        """Add a reply."""
        with self._lock:
            mean = self._mean.get(expert, seconds)
            self._mean[expert] = mean + LATEST_WEIGHT * (seconds - mean)

    def of(self, expert: str) -> float | None:
        """Seconds to expect; ``None`` before the first reply."""
        return self._mean.get(expert)
