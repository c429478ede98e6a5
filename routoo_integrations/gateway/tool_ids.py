"""Ids of tool calls that say which expert made the call: clients hand ids back unchanged, and nothing else.

So a tool loop stays with its expert without any memory here. The expert itself is only ever sent its own ids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from routoo_core.experts import Expert

_MARK = ".routoo-"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class ToolCallId(NamedTuple):
    """What an id says.

    Attributes:
        own: As the expert gave it.
        expert: The name of the expert that made the call; ``None`` where the id does not say.
    """

    own: str
    expert: str | None


class ToolCallIds:
    """Marks ids with experts, and reads the marks.

    Args:
        experts: Who may be marked.
    """

    def __init__(self, experts: Iterable[Expert]) -> None:
        self._experts: dict[str, str] = {}
        for expert in experts:
            self._experts[_mark_of(expert.name)] = expert.name

    def mark(self, own_id: str, expert: str) -> str:
        """The id that the caller is given.

        >>> ToolCallIds([]).mark("call_1", "cheap")
        'call_1.routoo-cheap'
        """
        return f"{own_id}{_MARK}{_mark_of(expert)}"

    def read(self, call_id: str) -> ToolCallId:
        """What an id that a caller sends says."""
        own, separator, mark = call_id.rpartition(_MARK)
        if not separator:
            return ToolCallId(call_id, None)
        return ToolCallId(own, self._experts.get(mark))


def _mark_of(expert: str) -> str:
    """The name itself, or a short digest of one with signs that clients may not take in an id."""
    if _PLAIN_NAME.fullmatch(expert):
        return expert
    return hashlib.sha256(expert.encode()).hexdigest()[:16]
