"""``routoo data from-logs``: logged calls with feedback become prompts and outcomes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from routoo_core.errors import OutcomesError
from routoo_core.monitoring.logged_calls import LoggedCall, read_logged_calls
from routoo_core.monitoring.ratings import ZERO_TO_ONE, FeedbackScale

Row = dict[str, Any]

_FAULTS_LISTED = 5
_MODEL_RUN_TYPES = (None, "llm")


@dataclass(frozen=True)
class LoggedPrompt:
    """A prompt of a log; its id is a hash of the text."""

    prompt_id: str
    prompt: str = field(repr=False)

    @classmethod
    def of(cls, text: str) -> LoggedPrompt:
        """The prompt with this text."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(digest[:16], text)


@dataclass(frozen=True)
class LoggedOutcome:
    """How a model answered a prompt; means where it answered several times.

    Attributes:
        prompt_id: The prompt.
        model: The model.
        score: Feedback, 0–1.
        prompt_tokens: Tokens of the prompt; ``None`` where unknown.
        completion_tokens: Tokens of the reply; ``None`` where unknown.
        cost_usd: Cost; ``None`` where unknown.
    """

    prompt_id: str
    model: str
    score: float
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class LogCounts:
    """What became of the lines of a log.

    Attributes:
        lines: All of them.
        other_runs: Runs that are no call of a model.
        failed: Calls that ended in an error.
        without_feedback: Calls that say nothing about quality.
        prompts: Different prompts of the other calls.
        outcomes: Different prompts and models of the other calls.
    """

    lines: int
    other_runs: int
    failed: int
    without_feedback: int
    prompts: int
    outcomes: int

    def to_dict(self) -> dict[str, int]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class LoggedTables:
    """Prompts, outcomes, and what became of the lines."""

    prompts: tuple[LoggedPrompt, ...]
    outcomes: tuple[LoggedOutcome, ...]
    counts: LogCounts

    def prompt_rows(self) -> list[Row]:
        """The table of prompts: ``prompt_id, prompt``."""
        return [asdict(prompt) for prompt in self.prompts]

    def outcome_rows(self) -> list[Row]:
        """The table of outcomes: ``prompt_id, model, score, prompt_tokens, completion_tokens, cost_usd``."""
        return [asdict(outcome) for outcome in self.outcomes]


def read_log_tables(paths: Sequence[Path], scale: FeedbackScale = ZERO_TO_ONE) -> LoggedTables:
    """Read prompts and outcomes from logs.

    The prompt is what a router would read of the messages, so that it learns from what it will see. Lines without
    feedback say nothing about quality: they are counted and left out. Where a model answered the same prompt several
    times, the means of scores, tokens and costs are the outcome.

    Args:
        paths: JSONL files; see :mod:`routoo_core.monitoring.logged_calls`.
        scale: How feedback becomes a score.

    Raises:
        OutcomesError: Lines cannot be read, each with file, line and reason; nothing is left out silently.
    """
    counts: Counter[str] = Counter()
    faults: list[str] = []
    prompts: dict[str, LoggedPrompt] = {}
    observations: dict[tuple[str, str], list[LoggedOutcome]] = {}
    for call in read_logged_calls(paths):
        counts["lines"] += 1
        reason = _reason_to_leave_out(call)
        if reason is not None:
            counts[reason] += 1
            continue
        try:
            score = call.score(scale)
            if score is None:
                counts["without_feedback"] += 1
                continue
            prompt = LoggedPrompt.of(call.prompt)
            outcome = _observation(call, prompt, score)
        except OutcomesError as error:
            faults.append(str(error))
            continue
        prompts[prompt.prompt_id] = prompt
        pair = (prompt.prompt_id, outcome.model)
        observations.setdefault(pair, []).append(outcome)

    if faults:
        raise OutcomesError(_describe_faults(faults))
    outcomes = tuple(_mean_outcome(repeats) for repeats in observations.values())
    return LoggedTables(
        prompts=tuple(prompts.values()),
        outcomes=outcomes,
        counts=LogCounts(
            lines=counts["lines"],
            other_runs=counts["other_runs"],
            failed=counts["failed"],
            without_feedback=counts["without_feedback"],
            prompts=len(prompts),
            outcomes=len(outcomes),
        ),
    )


def _reason_to_leave_out(call: LoggedCall) -> str | None:
    """The count to which a line belongs that is rightly left out."""
    if call.run_type not in _MODEL_RUN_TYPES:
        return "other_runs"
    if call.failed:
        return "failed"
    return None


def _observation(call: LoggedCall, prompt: LoggedPrompt, score: float) -> LoggedOutcome:
    """The outcome of one call."""
    tokens = call.tokens
    return LoggedOutcome(
        prompt_id=prompt.prompt_id,
        model=call.model,
        score=score,
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        cost_usd=call.cost_usd,
    )


def _mean_outcome(repeats: Sequence[LoggedOutcome]) -> LoggedOutcome:
    """Several outcomes of one prompt and model as one."""
    first = repeats[0]
    return LoggedOutcome(
        prompt_id=first.prompt_id,
        model=first.model,
        score=sum(outcome.score for outcome in repeats) / len(repeats),
        prompt_tokens=_mean_of_known([outcome.prompt_tokens for outcome in repeats]),
        completion_tokens=_mean_of_known([outcome.completion_tokens for outcome in repeats]),
        cost_usd=_mean_of_known([outcome.cost_usd for outcome in repeats]),
    )


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; ``None`` where none is."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    return sum(numbers) / len(numbers)


def _describe_faults(faults: Sequence[str]) -> str:
    """The first faults, one a line, and what to do."""
    lines = list(faults[:_FAULTS_LISTED])
    hidden = len(faults) - len(lines)
    if hidden:
        lines.append(f"… and {hidden} more")
    lines.append(
        "Correct or remove these lines; feedback on another scale needs its worst and best value."
    )
    return "\n".join(lines)
