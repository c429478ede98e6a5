"""Who wrote what a caller sends back: by the ids of tool calls, which say it, else by what was said to whom.

Clients hand ids back unchanged, and nothing else. So a tool loop stays with its expert without any memory here. The
expert itself is only ever sent its own ids. Of texts a digest is remembered, for as long as there is room.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from routoo_core.experts import Expert

REMEMBERED_REPLIES = 50_000
"""Some 10 MB."""

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


class Authors:
    """Marks ids with experts, reads the marks, and remembers who said what; safe from any thread.

    Args:
        experts: Who may be an author.
        room: How many replies are remembered.
    """

    def __init__(self, experts: Iterable[Expert], room: int = REMEMBERED_REPLIES) -> None:
        self._room = room
        self._said: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()
        self._experts: dict[str, str] = {}
        for expert in experts:
            self._experts[_mark_of(expert.name)] = expert.name

    def mark(self, own_id: str, expert: str) -> str:
        """The id that the caller is given.

        >>> Authors([]).mark("call_1", "cheap")
        'call_1.routoo-cheap'
        """
        return f"{own_id}{_MARK}{_mark_of(expert)}"

    def read(self, call_id: str) -> ToolCallId:
        """What an id that a caller sends says."""
        own, separator, mark = call_id.rpartition(_MARK)
        if not separator:
            return ToolCallId(call_id, None)
        return ToolCallId(own, self._experts.get(mark))

    def note_reply(self, turn: str, text: str, expert: str) -> None:
        """Remember who gave a reply.

        Args:
            turn: What was asked, everything since the reply before.
            text: The reply.
            expert: Who gave it.
        """
        digest = _digest(turn, text)
        with self._lock:
            self._said[digest] = expert
            self._said.move_to_end(digest)
            while len(self._said) > self._room:
                self._said.popitem(last=False)

    def of_reply(self, turn: str, text: str) -> str | None:
        """Who gave a reply; ``None`` where nobody remembers."""
        with self._lock:
            return self._said.get(_digest(turn, text))


def _digest(turn: str, text: str) -> bytes:
    content = f"{turn.strip()}\0{text.strip()}"
    return hashlib.sha256(content.encode(errors="replace")).digest()


def _mark_of(expert: str) -> str:
    """The name itself, or a short digest of one with signs that clients may not take in an id."""
    if _PLAIN_NAME.fullmatch(expert):
        return expert
    return hashlib.sha256(expert.encode()).hexdigest()[:16]
