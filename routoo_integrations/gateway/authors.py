"""The experts that wrote the replies a caller sends back, by the ids of tool calls or by the text of the replies.

Clients hand ids back unchanged, and nothing else. So a tool loop stays with its expert without any memory here. The
expert itself is only ever sent its own ids. Of texts a digest is remembered, for as long as there is room.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
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


class Author(NamedTuple):
    """Who gave a reply.

    Attributes:
        expert: The name of the expert whose words they are.
        plan: The plan that asked it; ``None`` for an expert alone.
    """

    expert: str
    plan: str | None = None

    @classmethod
    def read(cls, text: str) -> Author:
        """Read what :meth:`text` gave."""
        expert, _, plan = text.partition("\0")
        return cls(expert, plan or None)

    def text(self) -> str:
        """Both names in one text, as they are remembered; of an expert alone its name."""
        return f"{self.expert}\0{self.plan}" if self.plan else self.expert


class ReplyMemory:
    """Remembers who gave which reply, by a digest, for as long as there is room; safe from any thread.

    Args:
        room: How many replies are remembered.
    """

    def __init__(self, room: int = REMEMBERED_REPLIES) -> None:
        self._room = room
        self._authors: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, digest: bytes, author: str) -> None:
        """Remember who gave a reply, as :meth:`Author.text` says it."""
        with self._lock:
            self._authors[digest] = author
            self._authors.move_to_end(digest)
            while len(self._authors) > self._room:
                self._authors.popitem(last=False)

    def find(self, digests: Sequence[bytes]) -> list[str | None]:
        """Who gave some replies, as it was noted; ``None`` for a reply that is not remembered."""
        with self._lock:
            return [self._authors.get(digest) for digest in digests]


class Utterance(NamedTuple):
    """What an assistant said in a conversation.

    Attributes:
        turn: What was asked, everything since the reply before.
        text: The reply.
    """

    turn: str
    text: str

    def digest(self) -> bytes:
        """The hash under which the reply's author is remembered."""
        content = f"{self.turn.strip()}\0{self.text.strip()}"
        return hashlib.sha256(content.encode(errors="replace")).digest()


class Authors:
    """Marks ids with experts, reads the marks, and remembers who said what; safe from any thread.

    Args:
        experts: Who may be an author.
        memory: Of replies; by default this process's own.
    """

    def __init__(self, experts: Iterable[Expert], memory: ReplyMemory | None = None) -> None:
        self._memory = memory or ReplyMemory()
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

    def note_reply(self, reply: Utterance, author: Author) -> None:
        """Remember who gave a reply."""
        self._memory.note(reply.digest(), author.text())

    def of_replies(self, replies: Sequence[Utterance]) -> list[Author | None]:
        """Who gave some replies; ``None`` for a reply that is not remembered."""
        texts = self._memory.find([reply.digest() for reply in replies])
        return [None if text is None else Author.read(text) for text in texts]


def _mark_of(expert: str) -> str:
    """The name itself, or a short digest of one with signs that clients may not take in an id."""
    if _PLAIN_NAME.fullmatch(expert):
        return expert
    return hashlib.sha256(expert.encode()).hexdigest()[:16]
