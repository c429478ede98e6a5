"""What the driver reads off replies, whole or in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeVar

from routoo_core.answer import NO_ANSWER, Answer, ToolCall
from routoo_core.record import DecisionRecord
from routoo_core.usage import Usage

Piece = TypeVar("Piece")
Streamed = TypeVar("Streamed", covariant=True)


class AsyncStream(Protocol[Streamed]):
    """The pieces of an async stream, which can be closed before its end."""

    def __aiter__(self) -> AsyncIterator[Streamed]: ...

    def __anext__(self) -> Awaitable[Streamed]: ...

    def aclose(self) -> Awaitable[None]:
        """Close it; further pieces do not come."""
        ...


_CUT_ENDS = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
"""What providers give as the reason of an end at the limit, in lower case."""
_FAILED_END = "error"
"""What gateways give as the reason of an end where the provider behind them failed."""


class StreamEnd:
    """Whether a stream came to its end: it gave a reason, or reported usage behind what it showed.

    Args:
        is_marked: Whether the expert says why its streams end, so that one without a sign of its end was cut off.

    Attributes:
        is_announced: Whether there was such a sign.
        is_cut: Whether the reason was a limit on the reply.
        reason: The first one that was given; empty before.
    """

    def __init__(self, is_marked: bool) -> None:
        self._is_marked = is_marked
        self._has_shown = False
        self._has_failed = False
        self.is_announced = False
        self.is_cut = False
        self.reason = ""

    @property
    def is_reached(self) -> bool:
        """Whether it did, and gave no failure as the reason."""
        return (self.is_announced or not self._is_marked) and not self._has_failed

    def note(self, reasons: Sequence[Any], is_visible: bool, is_usage_alone: bool) -> None:
        """Note a piece.

        Args:
            reasons: Of the stream's end, as far as the piece gives any.
            is_visible: Whether it shows the caller anything.
            is_usage_alone: Whether it reports usage and nothing else.
        """
        if reasons or (is_usage_alone and self._has_shown):
            self.is_announced = True
        self.is_cut = self.is_cut or is_cut(reasons)
        self.reason = self.reason or end_reason(reasons)
        self._has_failed = self._has_failed or _FAILED_END in reasons
        self._has_shown = self._has_shown or is_visible


def end_reason(reasons: Sequence[Any]) -> str:
    """The first reason of a reply's end that is a word; empty where there is none."""
    for reason in reasons:
        word = reason.name if isinstance(reason, Enum) else reason
        if isinstance(word, str):
            return word
    return ""


def is_cut(reasons: Sequence[Any]) -> bool:
    """Whether a reply ended at its limit, by the reasons that it gives."""
    return any(str(reason).lower() in _CUT_ENDS for reason in reasons)


@dataclass(slots=True)
class _CallParts:
    """What has come of a call of a tool."""

    call_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class AnswerParts:
    """Adds up what a stream says, for the check of it."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: list[_CallParts] = []
        self._call_at: dict[Any, _CallParts] = {}

    @property
    def calls_tool(self) -> bool:
        """Whether a call of a tool has begun."""
        return bool(self._calls)

    def add_text(self, text: str) -> None:
        """Add a part of the text."""
        self._texts.append(text)

    def add_call(self, place: Any, name: Any, arguments: Any, call_id: Any = None) -> None:
        """Add a part of a call.

        Args:
            place: Which call; parts of the same one share it.
            name: The tool's, where the part has it.
            arguments: A part of their text.
            call_id: Its id, where the part has it; another one begins another call, also at the same place.
        """
        new_id = call_id if isinstance(call_id, str) else ""
        call = self._call_at.get(place)
        if call is None or (new_id and call.call_id and new_id != call.call_id):
            call = _CallParts()
            self._call_at[place] = call
            self._calls.append(call)
        call.call_id = new_id or call.call_id
        if isinstance(name, str):
            call.name = name or call.name
        if isinstance(arguments, str):
            call.arguments.append(arguments)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def answer(self, is_refusal: bool, is_cut: bool) -> Answer:
        """All of it.

        Args:
            is_refusal: Whether the expert refused to answer.
            is_cut: Whether it was cut at its limit.
        """
        calls = [ToolCall.read(call.name, "".join(call.arguments)) for call in self._calls]
        return Answer("".join(self._texts), tuple(calls), is_refusal, is_cut)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says.

    Attributes:
        text: Everything the expert wrote: text, and the arguments of tool calls.
        usage: The tokens it reports; ``None`` where it reports none.
        model: The model that it says has answered; ``None`` where it does not say.
        is_complete: Whether it came to its end. A stream without a sign of its end was cut off.
        answer: What it says, as checks see it.
        shown: The text of the answer as the caller is shown it.
        end: Why it ended, in the provider's word; empty where the provider does not say.
    """

    text: str = ""
    usage: Usage | None = None
    model: str | None = None
    is_complete: bool = True
    answer: Answer = NO_ANSWER
    shown: str = ""
    end: str = ""

    @classmethod
    def of_stream(
        cls,
        answer: Answer,
        usage: Usage | None,
        model: str | None,
        end: StreamEnd,
        text: str = "",
    ) -> Reading:
        """What a stream says that shows the text of its answer.

        Args:
            answer: What it says, as checks see it.
            usage: The tokens it reports.
            model: The model that it names.
            end: How it ended.
            text: What no piece showed.
        """
        return cls(text, usage, model, end.is_reached, answer, shown=answer.text, end=end.reason)


@dataclass(frozen=True, slots=True)
class PieceReading:
    """What a piece of a stream adds.

    Attributes:
        text: What the expert wrote in it.
        is_visible: Whether it shows the caller anything: a piece with a role alone does not.
        may_be_last: Whether the stream has announced its end, so that no other piece may follow.
        calls_tool: Whether it holds a part of a call of a tool.
    """

    text: str
    is_visible: bool
    may_be_last: bool
    calls_tool: bool = False


class StreamReader(Protocol[Piece]):
    """Reads the pieces of one stream, in order."""

    def read(self, piece: Piece) -> PieceReading:
        """What a piece adds on its way to the caller, who may be shown a mark on it."""
        ...

    def finish(self) -> Reading:
        """What is known when the stream has ended, or has been cut off: text that no piece showed, the usage of all."""
        ...

    def stamp(self, piece: Piece, record: DecisionRecord) -> Piece:
        """The last piece, with the record."""
        ...

    def closing_piece(self) -> Piece:
        """A piece that adds nothing, for the record of a stream that did not announce its end."""
        ...
