"""Logged calls that were routed, live or in shadow: who answered, what it cost, what was predicted and observed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from routoo_core.errors import OutcomesError
from routoo_core.monitoring.logged_calls import LoggedCall, read_logged_calls
from routoo_core.monitoring.ratings import FeedbackScale
from routoo_core.record import DecisionRecord, PolicyRecord, PromptRecord

NO_POLICY = PolicyRecord("")
SCALE = FeedbackScale(first_of_several=True)


@dataclass(frozen=True, slots=True)
class RoutedCall:
    """One call as it was decided, paid for and judged.

    Attributes:
        time: When.
        shadow: Whether the router was only asked, and the application chose the expert itself.
        choice: The expert that the router sent the call to; in shadow, the one it would have tried first.
        answered_by: The expert that really answered; ``None`` where a shadow line does not say.
        predicted: Quality predicted for the expert that answered, 0–1; ``None`` where it is unknown or was no
            candidate.
        spent: USD really spent; ``None`` where a shadow line does not say and no price of the expert is known.
        routed: USD spent through the router; in shadow, what its choice was expected to cost.
        feedback: Feedback on the answer, 0–1; ``None`` where there is none.
        expected_usd: Candidate → USD that the call was expected to cost there.
        continued_usd: The same, had each candidate answered the turn before as well, and cached it.
        qualities: Candidate → predicted quality, 0–1.
        answer_usd: USD of the answer alone, without tries that failed; ``None`` where it is unknown.
        predict_s: Seconds that the prediction took.
        policy: The configured policy.
        is_cached: Whether the reply came from a cache, which would have held it without routing as well.
        prompt: What a general router read of the prompt; ``None`` from other routers.
        fingerprint: 64 bits that tell this call from others, however it is graded.
    """

    time: datetime
    shadow: bool
    choice: str
    answered_by: str | None
    predicted: float | None
    spent: float | None
    routed: float
    feedback: float | None
    expected_usd: Mapping[str, float]
    continued_usd: Mapping[str, float]
    qualities: Mapping[str, float]
    answer_usd: float | None = None
    predict_s: float = 0.0
    policy: PolicyRecord = NO_POLICY
    is_cached: bool = False
    prompt: PromptRecord | None = None
    fingerprint: int = 0


@dataclass(frozen=True, slots=True)
class RoutedLog:
    """The routed calls of a log.

    Attributes:
        calls: Oldest first.
        failed: Number of failed calls without a decision record; they are left out.
    """

    calls: tuple[RoutedCall, ...]
    failed: int = 0


def read_routed_calls(paths: Sequence[Path], scale: FeedbackScale = SCALE) -> RoutedLog:
    """Read the routed calls of JSONL logs.

    A line holds a decision record and the time of the call, and optionally feedback; see
    :mod:`routoo_core.monitoring.logged_calls`. By default the first of several kinds of feedback counts.

    The record of a reply is a live call. One of ``router.decide(request)``, which settled nothing, is a shadow call:
    its line may say at its top which expert really answered (``answered_by``) and for how many USD (``cost_usd`` or
    ``total_cost``; by default what was expected of that expert).

    Args:
        paths: JSONL files.
        scale: How feedback becomes a score.

    Raises:
        OutcomesError: A line is no JSON object, has no whole record, no time, a feedback off the scale, a cost below 0
            or an ``answered_by`` that is no name; names file and line.
    """
    calls: list[RoutedCall] = []
    failures = 0
    for entry in read_logged_calls(paths):
        if entry.record is not None:
            calls.append(routed_call(entry, entry.record, scale))
        elif entry.failed:
            failures += 1
        else:
            raise OutcomesError(
                f"{entry.source}: holds no decision record; log response_metadata['routoo'], or "
                "router.decide(request).record() of a call that is not routed, under 'routoo'"
            )
    calls.sort(key=lambda call: call.time)
    return RoutedLog(tuple(calls), failures)


def routed_call(call: LoggedCall, record: DecisionRecord, scale: FeedbackScale) -> RoutedCall:
    """A logged call beside what was decided.

    Args:
        call: The call.
        record: Its own.
        scale: How feedback becomes a score.

    Raises:
        OutcomesError: An amount, the time or the feedback cannot be read; names the source of the call.
    """
    qualities = {candidate.expert: candidate.quality for candidate in record.candidates}
    expected_usd = _expected_usd(call, record)
    if call.in_shadow:
        answered_by = call.answered_by
        spending = call.cost_usd
        answer_usd = spending
        if spending is None and answered_by is not None:
            spending = expected_usd.get(answered_by)
        routing_usd = expected_usd[record.choice]
    else:
        answered_by = record.choice
        spending = _usd(call, "total_usd", record.total_usd or record.settled_usd or "0")
        answer_usd = None if record.cached else _usd(call, "settled_usd", record.settled_usd or "0")
        routing_usd = spending

    return RoutedCall(
        time=call.time,
        shadow=call.in_shadow,
        choice=record.choice,
        answered_by=answered_by,
        predicted=None if answered_by is None else qualities.get(answered_by),
        spent=spending,
        routed=routing_usd,
        feedback=call.score(scale),
        expected_usd=expected_usd,
        continued_usd=_continued_usd(call, record),
        qualities=qualities,
        answer_usd=answer_usd,
        predict_s=record.predict_ms / 1e3,
        policy=record.policy,
        is_cached=record.cached,
        prompt=record.prompt,
        fingerprint=_fingerprint(call.time, record),
    )


def _fingerprint(time: datetime, record: DecisionRecord) -> int:
    """64 bits of when a call was made and what was decided."""
    text = json.dumps([time.timestamp(), record.to_dict()], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _expected_usd(call: LoggedCall, record: DecisionRecord) -> dict[str, float]:
    """Candidate → USD that the call was expected to cost there."""
    expected = {}
    for candidate in record.candidates:
        expected[candidate.expert] = _usd(call, "candidates", candidate.expected_usd)
    if record.choice not in expected:
        raise OutcomesError(
            f"{call.source}: routoo: expert {record.choice!r} is none of the candidates; "
            "log the whole record"
        )
    return expected


def _continued_usd(call: LoggedCall, record: DecisionRecord) -> dict[str, float]:
    """Candidate → USD that the call was expected to cost there, had it answered the turn before as well."""
    expected = {}
    for candidate in record.candidates:
        amount = candidate.continued_usd or candidate.expected_usd
        expected[candidate.expert] = _usd(call, "candidates", amount)
    return expected


def _usd(call: LoggedCall, name: str, text: str) -> float:
    """An amount of a decision record."""
    try:
        return float(text)
    except ValueError as error:
        raise OutcomesError(
            f"{call.source}: routoo: {name}: {text!r} is no amount of USD; log the whole record"
        ) from error
