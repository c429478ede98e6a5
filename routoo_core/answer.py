"""A reply as checks and plans see it, whichever framework it came through."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from routoo_core.text import parse_standard_json

QUOTED_BYTES = 8000
"""Of the replies that an expert is shown, at most, in UTF-8; more cannot be held for."""

_CUT_MARK = "\n(The rest is left out.)"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool in a reply.

    Attributes:
        name: The tool's.
        arguments: As parsed; the text itself where it is no JSON.
    """

    name: str
    arguments: Any = field(repr=False)

    @classmethod
    def read(cls, name: str | None, arguments: Any) -> ToolCall:
        """A call whose arguments may be a text; no text are no arguments."""
        if not isinstance(arguments, str):
            return cls(name or "", arguments)
        try:
            return cls(name or "", parse_standard_json(arguments) if arguments.strip() else {})
        except ValueError:
            return cls(name or "", arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as checks see it, whichever framework it came through.

    Attributes:
        text: What it says, without reasoning and calls; of several choices, the first.
        tool_calls: The tools that it calls.
        is_refusal: Whether the expert refused to answer.
        is_cut: Whether it was cut at its limit, as the next one would be.
    """

    text: str = field(default="", repr=False)
    tool_calls: tuple[ToolCall, ...] = ()
    is_refusal: bool = False
    is_cut: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is an answer, and came to its end."""
        return not self.is_cut and not self.is_refusal


NO_ANSWER = Answer()
"""Says nothing."""


def quote(answer: Answer, limit: int = QUOTED_BYTES) -> str:
    """All of an answer as one text, never empty, and cut to a limit.

    Args:
        answer: The answer.
        limit: In bytes of UTF-8.
    """
    lines = [answer.text] if answer.text.strip() else []
    for call in answer.tool_calls:
        arguments = call.arguments
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, default=str)
        lines.append(f"{call.name}({arguments})")
    text = "\n".join(lines).encode(errors="replace")
    if len(text) <= limit:
        return text.decode() or "(no text)"
    return text[:limit].decode(errors="ignore") + _CUT_MARK
