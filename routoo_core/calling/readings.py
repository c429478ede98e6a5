"""What the driver reads off replies, whole or in pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from routoo_core.record import DecisionRecord
from routoo_core.usage import Usage

Piece = TypeVar("Piece")


FAILED_END = "error"
"""What gateways give as the reason of an end where the provider behind them failed."""


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
    """

    text: str
    is_visible: bool


class StreamReader(Protocol[Piece]):
    """Reads the pieces of one stream, in order."""

    def read(self, piece: Piece) -> PieceReading:
        """What a piece adds on its way to the caller, who may be shown a mark on it."""
        ...

    def finish(self) -> Reading:
        """What is known when the stream has ended, or has been cut off: text that no piece showed, the usage of all."""
        ...

    def last_piece(self, record: DecisionRecord) -> Piece | None:
        """A piece that adds nothing to the reply and carries the record; ``None`` for none."""
        ...
