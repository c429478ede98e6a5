"""Logs of real calls, live or in shadow: who answered, what it cost, what was predicted and what people thought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from routoo_core.errors import OutcomesError
from routoo_core.tables import read_lines

_TIMES = ("time", "start_time", "created_at", "timestamp")
_FEEDBACK = ("feedback", "score")
_COSTS = ("cost_usd", "total_cost")
_ASKED = {
    "inputs",
    "request",
}  # earlier replies of a conversation carry records of their own in there
_LIVE = {"settled_usd", "account"}  # only a reply's record has them


@dataclass(frozen=True, slots=True)
class RoutedCall:
    """One call as it was decided, paid for and judged.

    Attributes:
        time: When.
        shadow: Whether the router was only asked, and somebody else chose who answered.
        choice: Whom the router sent the call to; in shadow, whom it would have tried first.
        answered_by: Who really answered; ``None`` where a shadow line does not say.
        predicted: Quality predicted for who answered, 0–1; ``None`` where they are unknown or were no candidate.
        spent: USD really spent; ``None`` where a shadow line does not say and no price of who answered is known.
        routed: USD spent through the router; in shadow, what its choice was expected to cost.
        feedback: What was thought of the answer, 0–1; ``None`` where nobody said.
        elsewhere: Candidate → USD that the call was expected to cost there.
    """

    time: datetime
    shadow: bool
    choice: str
    answered_by: str | None
    predicted: float | None
    spent: float | None
    routed: float
    feedback: float | None
    elsewhere: Mapping[str, float]


def read_routed_calls(paths: Sequence[Path]) -> list[RoutedCall]:
    """Calls of JSONL logs, oldest first.

    A line holds a decision record under ``routoo``, at any depth outside what was asked: ``response_metadata`` of
    LangChain, ``additional_kwargs`` of LlamaIndex, a LangSmith run, or a line of one's own. At its top: when it was
    (``time``, ``start_time``, ``created_at`` or ``timestamp``; ISO 8601 or seconds), and optionally ``feedback`` or
    ``score`` from 0 to 1, or LangSmith's ``feedback_stats``.

    The record of a reply is a live call. One of ``router.decide(request)``, which settled nothing, is a shadow call:
    its line may say who really answered (``answered_by``) and for how many USD (``cost_usd`` or ``total_cost``; by
    default what was expected of who answered).

    Raises:
        OutcomesError: A line is no JSON object, has no whole record, no time, a feedback outside 0–1, a cost below 0
            or an ``answered_by`` that is no name; names file and line.
    """
    lines = (
        (path, number, entry)
        for path in paths
        for number, entry in enumerate(read_lines(path), start=1)
    )
    calls = [_call(entry, f"{path}: line {number}") for path, number, entry in lines]
    return sorted(calls, key=lambda call: call.time)


def _call(entry: Mapping[str, Any], where: str) -> RoutedCall:
    record = _record(entry)
    if record is None:
        raise OutcomesError(
            f"{where}: holds no decision record; log response_metadata['routoo'], or router.decide(request).record() "
            "of a call that is not routed, under 'routoo'"
        )
    time, feedback = _time(entry, where), _feedback(entry, where)
    try:
        candidates = {one["expert"]: one for one in record["candidates"]}
        elsewhere = {name: float(one["expected_usd"]) for name, one in candidates.items()}
        quality = {name: float(one["quality"]) for name, one in candidates.items()}
        choice, expected = record["expert"], elsewhere[record["expert"]]
        live = record.get("account") is not None
        settled = float(record["settled_usd"] or 0) if live else 0.0
    except (KeyError, TypeError, ValueError) as error:
        raise OutcomesError(f"{where}: routoo: {error!r}; log the whole record") from error
    if live:
        return RoutedCall(
            time, False, choice, choice, quality[choice], settled, settled, feedback, elsewhere
        )
    answered, cost = _answered_by(entry, where), _cost(entry, where)
    spent = elsewhere.get(answered or "") if cost is None else cost
    predicted = quality.get(answered or "")
    return RoutedCall(time, True, choice, answered, predicted, spent, expected, feedback, elsewhere)


def _record(value: Any) -> dict[str, Any] | None:
    """The first decision record inside, of this call rather than of what it was asked with."""
    if isinstance(value, dict):
        found = value.get("routoo")
        if isinstance(found, dict) and "candidates" in found:
            return found
        value = [inner for name, inner in value.items() if name not in _ASKED]
    if isinstance(value, list):
        return next((found for inner in value if (found := _record(inner))), None)
    return None


def _time(entry: Mapping[str, Any], where: str) -> datetime:
    given = next((entry[name] for name in _TIMES if entry.get(name) is not None), None)
    try:
        if isinstance(given, int | float):
            return datetime.fromtimestamp(given, UTC)
        found = datetime.fromisoformat(str(given))
    except (ValueError, OverflowError, OSError) as error:
        raise OutcomesError(
            f"{where}: time: {given!r}; add 'time' in ISO 8601 or seconds since the epoch"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _feedback(entry: Mapping[str, Any], where: str) -> float | None:
    stats = entry.get("feedback_stats")
    keys = stats.values() if isinstance(stats, dict) else ()
    told = [entry.get(name) for name in _FEEDBACK] + [
        one.get("avg") for one in keys if isinstance(one, dict)
    ]
    given = next((value for value in told if value is not None), None)
    if given is None:
        return None
    if not isinstance(given, int | float) or not 0 <= given <= 1:
        raise OutcomesError(f"{where}: feedback: {given!r} is not a number from 0 to 1; scale it")
    return float(given)


def _answered_by(entry: Mapping[str, Any], where: str) -> str | None:
    given = entry.get("answered_by")
    if given is None or (isinstance(given, str) and given):
        return given
    raise OutcomesError(
        f"{where}: answered_by: {given!r} is no expert's name; name who answered, or leave it out"
    )


def _cost(entry: Mapping[str, Any], where: str) -> float | None:
    name = next((name for name in _COSTS if entry.get(name) is not None), None)
    if name is None:
        return None
    try:
        usd = float(entry[name])
    except (TypeError, ValueError):
        usd = inf
    if not 0 <= usd < inf:
        raise OutcomesError(
            f"{where}: {name}: {entry[name]!r} is no amount; give USD of at least 0, or leave it out"
        )
    return usd
