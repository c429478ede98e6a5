"""``routoo data from-logs``: what a service logged, with feedback, becomes prompts and outcomes.

Accepted, one JSON object a line:

* **LangSmith runs** (``Client.list_runs``, bulk export): ``run_type`` ``"llm"``; ``inputs.messages`` as roles and
  contents or as LangChain's constructors, or ``inputs.prompt`` or ``inputs.prompts``; the model in
  ``extra.metadata.ls_model_name`` or ``extra.invocation_params.model``; ``feedback_stats.<key>.avg``;
  ``prompt_tokens``, ``completion_tokens``, ``total_cost``. Runs of another type, and runs with an ``error``, are
  counted and left out.
* **OpenAI-style**: ``messages`` and ``model``, or ``request`` and ``response`` that hold them; ``usage``;
  ``feedback`` or ``score``: a number, true or false, ``"up"`` or ``"down"``, an object with ``score``, or an object of
  such by key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routoo_core.errors import ConfigurationError, InvalidRequest, OutcomesError
from routoo_core.request import RoutedRequest
from routoo_core.tables import read_lines

Row = dict[str, Any]
"""A line of a log, or a row of a table."""

OPINIONS = {"up": 1.0, "thumbs_up": 1.0, "good": 1.0, "down": 0.0, "thumbs_down": 0.0, "bad": 0.0}
ROLES = {"human": "user", "ai": "assistant", "aimessagechunk": "assistant", "chat": "user"}
_SHOWN = 5


@dataclass(frozen=True)
class FeedbackScale:
    """How feedback is read.

    Attributes:
        key: Which feedback, where there are several.
        worst: The score that becomes 0.
        best: The score that becomes 1.
    """

    key: str | None = None
    worst: float = 0.0
    best: float = 1.0

    def __post_init__(self) -> None:
        if self.worst >= self.best:
            raise ConfigurationError(f"--worst: {self.worst:g} is not below --best {self.best:g}")


@dataclass(frozen=True)
class LoggedTables:
    """Prompts, outcomes, and what became of the lines."""

    prompts: list[Row]
    outcomes: list[Row]
    counts: dict[str, int]


def read_log_tables(
    paths: Sequence[Path], reading: FeedbackScale = FeedbackScale()
) -> LoggedTables:
    """Read logs; the prompt is what a router would read of the messages, so that it learns from what it will see.

    Lines without feedback say nothing about quality: they are counted and left out. Where one model answered the same
    prompt several times, the mean of scores, tokens and costs is the outcome.

    Args:
        paths: JSONL files.
        reading: How feedback is read.

    Raises:
        OutcomesError: Lines that cannot be read, each with file, line and reason; nothing is left out silently.
    """
    counts = {"lines": 0, "other_runs": 0, "failed": 0, "without_feedback": 0}
    faults: list[str] = []
    observed: dict[tuple[str, str], list[Row]] = {}
    texts: dict[str, str] = {}
    for path in paths:
        for number, row in enumerate(read_lines(path), start=1):
            counts["lines"] += 1
            if aside := _aside(row, reading):
                counts[aside] += 1
                continue
            try:
                text, model, outcome = _read(row, reading)
            except (ValueError, InvalidRequest) as error:
                faults.append(f"{path}: line {number}: {error}")
                continue
            prompt_id = hashlib.sha256(text.encode()).hexdigest()[:16]
            texts[prompt_id] = text
            observed.setdefault((prompt_id, model), []).append(outcome)
    if faults:
        more = f"\n… and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise OutcomesError("\n".join(faults[:_SHOWN]) + more + "\nMend or remove these lines.")
    outcomes = [
        {"prompt_id": prompt_id, "model": model, **_mean(rows)}
        for (prompt_id, model), rows in observed.items()
    ]
    prompts = [{"prompt_id": prompt_id, "prompt": text} for prompt_id, text in texts.items()]
    counts |= {"prompts": len(prompts), "outcomes": len(outcomes)}
    return LoggedTables(prompts, outcomes, counts)


def _aside(row: Row, reading: FeedbackScale) -> str | None:
    """Why a line is rightly left out."""
    if row.get("run_type") not in {None, "llm"}:
        return "other_runs"
    if row.get("error"):
        return "failed"
    return "without_feedback" if _feedback(row, reading) is None else None


def _read(row: Row, reading: FeedbackScale) -> tuple[str, str, Row]:
    given = _feedback(row, reading)
    if isinstance(given, str) and given.lower() in OPINIONS:
        score = OPINIONS[given.lower()]
    elif isinstance(given, bool):
        score = float(given)
    elif isinstance(given, int | float):
        score = (given - reading.worst) / (reading.best - reading.worst)
    else:
        raise ValueError(
            f"feedback {given!r} is neither a number nor up or down; with several, name one by --feedback"
        )
    if not 0 <= score <= 1:
        raise ValueError(
            f"feedback {given!r} is not from {reading.worst:g} to {reading.best:g}; say --worst and --best"
        )
    model = _model(row)
    if not model:
        raise ValueError("no model (model, response.model, extra.metadata.ls_model_name)")
    return RoutedRequest.from_messages(_messages(row)).text, model, {"score": score, **_usage(row)}


def _feedback(row: Row, reading: FeedbackScale) -> Any:
    """What was said about the answer; ``None`` where nothing was."""
    stats = row.get("feedback_stats")
    given = (
        {key: _at(one, "avg") for key, one in stats.items()}
        if isinstance(stats, Mapping)
        else row.get("feedback")
    )
    given = row.get("score") if given is None else given
    if isinstance(given, Mapping):
        if reading.key is not None:
            given = given.get(reading.key)
        elif len(given) == 1 or "score" in given:
            given = given.get("score", next(iter(given.values())))
        elif not given:
            return None
    return given.get("score", given) if isinstance(given, Mapping) else given


def _model(row: Row) -> str:
    places = (
        ("response", "model"),
        ("model",),
        ("request", "model"),
        ("extra", "metadata", "ls_model_name"),
        ("extra", "invocation_params", "model"),
        ("extra", "invocation_params", "model_name"),
    )
    return next((str(found) for place in places if (found := _at(row, *place))), "")


def _messages(row: Row) -> list[dict[str, Any]]:
    found = row.get("messages") or _at(row, "request", "messages") or _at(row, "inputs", "messages")
    plain = (
        _at(row, "inputs", "prompt")
        or _at(row, "inputs", "prompts")
        or _at(row, "inputs", "input")
        or row.get("prompt")
    )
    if found is None and plain:
        text = plain[0] if isinstance(plain, list) else plain
        return [{"role": "user", "content": text}]
    if (
        isinstance(found, list) and found and isinstance(found[0], list)
    ):  # LangSmith logs a batch of one
        found = found[0]
    if not isinstance(found, list) or not all(isinstance(message, Mapping) for message in found):
        raise ValueError(
            "no messages (messages, request.messages, inputs.messages or inputs.prompt)"
        )
    return [_message(message) for message in found]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """In OpenAI's form, from that or from LangChain's."""
    kwargs = message.get("kwargs")
    if isinstance(kwargs, Mapping):
        kind = str(
            kwargs.get("type") or str((message.get("id") or [""])[-1]).removesuffix("Message")
        ).lower()
        message = {**kwargs, "type": kind}
    kind = str(message.get("role") or message.get("type") or "").lower()
    kept = {key: message[key] for key in ("tool_calls", "tool_call_id", "name") if message.get(key)}
    return {"role": ROLES.get(kind, kind), "content": message.get("content"), **kept}


def _usage(row: Row) -> Row:
    usage = row.get("usage") or _at(row, "response", "usage") or row
    cost = row.get("total_cost", row.get("cost_usd"))
    found = {
        "prompt_tokens": _at(usage, "prompt_tokens"),
        "completion_tokens": _at(usage, "completion_tokens"),
        "cost_usd": cost,
    }
    try:
        return {name: None if value is None else float(value) for name, value in found.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"usage: {error}") from error


def _mean(rows: Sequence[Row]) -> Row:
    known = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    return {name: sum(values) / len(values) if values else None for name, values in known.items()}


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
