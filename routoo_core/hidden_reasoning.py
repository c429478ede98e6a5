"""Experts that reason unseen: what they write is more than what a caller is shown of it."""

from __future__ import annotations

from routoo_core.experts import Expert
from routoo_core.parameters import is_reasoning_model
from routoo_core.usage import Usage


class HiddenReasoning:
    """Which experts reason: by their model's family, or since they have reported it; safe from any thread.

    The text of such an expert's reply says little of its cost, so a reply without usage cannot be estimated by it.
    """

    def __init__(self) -> None:
        self._experts: set[str] = set()

    def note(self, expert: Expert, usage: Usage) -> None:
        """Note what an expert reports."""
        if usage.reasoning_tokens:
            self._experts.add(expert.name)

    def of(self, expert: Expert) -> bool:
        """Whether an expert is known to reason."""
        return expert.name in self._experts or is_reasoning_model(expert.model)
