"""Headers of a reply that say who answered it, why, and what that cost."""

from __future__ import annotations

from urllib.parse import quote

from routoo_core.calling.attempt import Attempt
from routoo_core.record import CandidateRecord, DecisionRecord

_HEADER_SAFE = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""Signs that stand in a header as they are; all but ASCII is percent-encoded."""


def decision_headers(attempt: Attempt, record: DecisionRecord | None) -> dict[str, str]:
    """The headers of a reply.

    Args:
        attempt: Whose reply.
        record: Once it is settled; ``None`` for a stream that begins.
    """
    shown = record or attempt.record()
    candidate = _candidate_of(shown, attempt.expert.name)
    values: dict[str, str | None] = {
        "Routoo-Expert": attempt.expert.name,
        "Routoo-Account": shown.account,
        "Routoo-Held-USD": shown.held_usd,
        "Routoo-Why": _why(attempt, shown),
    }
    if candidate is not None:
        values["Routoo-Quality"] = str(candidate.quality)
        values["Routoo-Expected-USD"] = candidate.expected_usd
    if record is not None:
        values["Routoo-Settled-USD"] = record.total_usd
        values["Routoo-Remaining-USD"] = record.remaining_usd
    headers = {}
    for name, value in values.items():
        if value is not None:
            headers[name] = quote(value, safe=_HEADER_SAFE)
    return headers


def _candidate_of(record: DecisionRecord, expert: str) -> CandidateRecord | None:
    for candidate in record.candidates:
        if candidate.expert == expert:
            return candidate
    return None


def _why(attempt: Attempt, record: DecisionRecord) -> str:
    """Why this expert: the ranking, and who was asked before in vain."""
    sentences = [attempt.decision.explain()]
    for earlier in record.attempts:
        if earlier.error is not None:
            sentences.append(f"{earlier.expert} {earlier.outcome}: {earlier.error}")
    return "; ".join(sentences)
