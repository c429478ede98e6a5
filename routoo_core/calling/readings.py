"""What the driver reads off replies, whole or in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

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


_FAILED_END = "error"
"""What gateways give as the reason of an end where the provider behind them failed."""


class StreamEnd:
    """Whether a stream came to its end: it gave a reason, or reported usage behind what it showed.

    Args:
        is_marked: Whether the expert says why its streams end, so that one without a sign of its end was cut off.

    Attributes:
        is_announced: Whether there was such a sign.
    """

    def __init__(self, is_marked: bool) -> None:
        self._is_marked = is_marked
        self._has_shown = False
        self._has_failed = False
        self.is_announced = False

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
        self._has_failed = self._has_failed or _FAILED_END in reasons
        self._has_shown = self._has_shown or is_visible


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says.

    Attributes:
        text: Everything the expert wrote: text, and the arguments of tool calls.
        usage: The tokens it reports; ``None`` where it reports none.
        model: The model that it says has answered; ``None`` where it does not say.
        is_complete: Whether it came to its end. A stream without a sign of its end was cut off.
    """

    text: str = ""
    usage: Usage | None = None
    model: str | None = None
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class PieceReading:
    """What a piece of a stream adds.

    Attributes:
        text: What the expert wrote in it.
        is_visible: Whether it shows the caller anything: a piece with a role alone does not.
        may_be_last: Whether the stream has announced its end, so that no other piece may follow.
    """

    text: str
    is_visible: bool
    may_be_last: bool


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
