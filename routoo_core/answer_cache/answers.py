"""An answer as it is stored: plain JSON, the same for every adapter."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from routoo_core.money import NanoUsd
from routoo_core.usage import Usage


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What an expert answered.

    Attributes:
        text: What it said.
        end: Why it ended, in the provider's word; empty where the provider did not say.
        expert: Its name.
        model: What its endpoint calls it.
        answered_model: The model that the reply named; ``None`` where it named none.
        usage: The tokens it reported; ``None`` where it reported none.
        cost: Booked for the call, nano-USD: what an answer from the cache saves.
        created: When, seconds since the epoch.
        record: The decision record, as plain JSON values.
    """

    text: str = field(repr=False)
    end: str
    expert: str
    model: str
    answered_model: str | None
    usage: Usage | None
    cost: NanoUsd
    created: float
    record: dict[str, Any] = field(repr=False)

    def to_json(self) -> str:
        """The answer as a text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StoredAnswer | None:
        """Read what :meth:`to_json` wrote; ``None`` for an answer of another version."""
        try:
            values = json.loads(text)
            usage = values.pop("usage")
            return cls(**values, usage=None if usage is None else Usage(**usage))
        except (TypeError, KeyError, AttributeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """What an answer was given to, where questions in other words are looked for.

    Attributes:
        key: Of the answer.
        scope: Names everything else that the call asked: the account, the turns before, the arguments.
        text: The question.
        vector: Of the question, packed.
    """

    key: str
    scope: str
    text: str = field(repr=False)
    vector: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """What is stored for an account.

    Attributes:
        account: Its name; one within others behind theirs, as in ``team/alice``.
        entries: How many answers.
        hits: How often one of them was given again.
        saved: What those calls had cost when they were answered, nano-USD.
        oldest: When the oldest was stored, seconds since the epoch.
    """

    account: str
    entries: int
    hits: int
    saved: NanoUsd
    oldest: float
