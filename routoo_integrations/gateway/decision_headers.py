"""Headers of a reply that say who answered it, why, and what that cost."""

from __future__ import annotations

import re
from urllib.parse import quote

from routoo_core.calling.attempt import Attempt
from routoo_core.record import CandidateRecord, DecisionRecord
from routoo_integrations.gateway.calls import ExpertEvent, ExpertReply

DECISION_HEADERS = (
    "Routoo-Expert",
    "Routoo-Account",
    "Routoo-Cached",
    "Routoo-Held-USD",
    "Routoo-Why",
    "Routoo-Quality",
    "Routoo-Expected-USD",
    "Routoo-Settled-USD",
    "Routoo-Remaining-USD",
)
"""All of them; the last two only where a reply is settled, ``Routoo-Cached`` only where it is from the cache."""
FROM_CACHE = "the same call was answered before"

_HEADER_SAFE = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""Signs that stand in a header as they are; all but ASCII is percent-encoded."""
_IS_SAFE = re.compile(rf"[A-Za-z0-9{re.escape(_HEADER_SAFE)}]*").fullmatch


def headers_of(reply: ExpertReply | ExpertEvent) -> dict[str, str]:
    """The headers of a reply, or of a stream that begins with an event."""
    if reply.attempt is not None:
        return decision_headers(reply.attempt, reply.record)
    return {} if reply.record is None else cached_headers(reply.record)


def decision_headers(attempt: Attempt, record: DecisionRecord | None) -> dict[str, str]:
    """The headers of a reply.

    Args:
        attempt: Whose reply.
        record: Once it is settled; ``None`` for a stream that begins.
    """
    latest_record = record or attempt.record()
    candidate = _candidate_of(latest_record, latest_record.choice)
    values: dict[str, str | None] = {
        "Routoo-Expert": attempt.expert.name,
        "Routoo-Plan": latest_record.plan,
        "Routoo-Account": latest_record.account,
        "Routoo-Held-USD": latest_record.held_usd,
        "Routoo-Why": _why(attempt, latest_record),
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
            headers[name] = value if _IS_SAFE(value) else quote(value, safe=_HEADER_SAFE)
    return headers


def cached_headers(record: DecisionRecord) -> dict[str, str]:
    """The headers of a reply from the cache.

    Args:
        record: Which says who gave the answer when it was stored.
    """
    values = {
        "Routoo-Expert": record.expert,
        "Routoo-Account": record.account or "",
        "Routoo-Cached": "yes",
        "Routoo-Held-USD": record.held_usd or "",
        "Routoo-Settled-USD": record.total_usd or "",
        "Routoo-Why": FROM_CACHE,
    }
    return {name: quote(value, safe=_HEADER_SAFE) for name, value in values.items()}


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
