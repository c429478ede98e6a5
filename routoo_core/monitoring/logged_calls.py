"""Logged calls: the one reader of JSONL logs, whoever wrote them.

A line is one call, a JSON object of one of these forms; what a form does not hold is simply absent:

* **A line of one's own**: ``time``, ``messages``, ``model``, ``feedback``, and under ``routoo`` the decision record.
* **LangSmith runs** (``Client.list_runs``, bulk export): ``start_time``; ``inputs.messages`` as roles and contents or
  as LangChain's constructors, or ``inputs.prompt``, ``inputs.prompts`` or ``inputs.input``; the model in
  ``extra.metadata.ls_model_name`` or ``extra.invocation_params.model``; ``feedback_stats.<kind>.avg``;
  ``prompt_tokens``, ``completion_tokens``, ``total_cost``; ``run_type`` and ``error``.
* **OpenAI-style**: ``messages`` and ``model``, or ``request`` and ``response`` that hold them; ``usage``.

The decision record may be at any depth, as in LangChain's ``response_metadata`` and LlamaIndex' ``additional_kwargs``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from routoo_core.errors import InvalidRequest, OutcomesError, RecordError
from routoo_core.monitoring.ratings import FeedbackScale, LoggedFeedback
from routoo_core.record import DecisionRecord
from routoo_core.request import RoutedRequest
from routoo_core.tables import read_lines
from routoo_core.usage import read_usage

RECORD_KEY = "routoo"
TIME_KEYS = ("time", "start_time", "created_at", "timestamp")
COST_KEYS = ("cost_usd", "total_cost")
MODEL_PATHS = (("response", "model"), ("model",), ("request", "model"))
TRACED_MODEL_PATHS = (
    ("extra", "metadata", "ls_model_name"),
    ("extra", "invocation_params", "model"),
    ("extra", "invocation_params", "model_name"),
)
MESSAGES_PATHS = (("messages",), ("request", "messages"), ("inputs", "messages"))
TEXT_PATHS = (("inputs", "prompt"), ("inputs", "prompts"), ("inputs", "input"), ("prompt",))
ROLE_OF_TYPE = {"human": "user", "ai": "assistant", "aimessagechunk": "assistant", "chat": "user"}
"""LangChain's type of a message → OpenAI's role."""

_INPUT_KEYS = ("inputs", "request")  # earlier replies in there carry records of their own
_KEPT_MESSAGE_KEYS = ("tool_calls", "tool_call_id", "name")


@dataclass(frozen=True)
class LoggedTokens:
    """Tokens of a call; ``None`` where a number is not logged."""

    prompt: float | None = None
    completion: float | None = None


@dataclass(frozen=True)
class LoggedCall:
    """One line of a log.

    Each property reads one fact. So a command fails only on facts that it needs, and every command reads them alike.
    A property raises :class:`~routoo_core.errors.OutcomesError` where the fact is there and cannot be read; the error
    names file, line and field.

    Attributes:
        source: File and line.
        line: The JSON object.
    """

    source: str
    line: Mapping[str, Any] = field(repr=False)

    @property
    def run_type(self) -> str | None:
        """LangSmith's type of run; ``None`` for other logs."""
        value = self.line.get("run_type")
        return None if value is None else str(value)

    @property
    def failed(self) -> bool:
        """Whether the call ended in an error."""
        return bool(self.line.get("error"))

    @property
    def time(self) -> datetime:
        """When the call was made; UTC where the log names no zone."""
        value = _first_present(self.line, TIME_KEYS)
        try:
            if isinstance(value, int | float):
                return datetime.fromtimestamp(value, UTC)
            time = datetime.fromisoformat(str(value))
        except (ValueError, OverflowError, OSError) as error:
            raise self._error(
                f"time: {value!r}; add 'time' in ISO 8601 or seconds since the epoch"
            ) from error
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    @property
    def prompt(self) -> str:
        """What a router reads of the messages."""
        try:
            return RoutedRequest.from_messages(self.messages).text
        except InvalidRequest as error:
            raise self._error(str(error)) from error

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages in OpenAI's form."""
        messages = _first_at(self.line, MESSAGES_PATHS)
        text = _first_at(self.line, TEXT_PATHS)
        if messages is None and text is not None:
            content = text[0] if isinstance(text, list) else text
            return [{"role": "user", "content": content}]

        if isinstance(messages, list) and isinstance(messages[0], list):
            messages = messages[0]  # LangSmith logs a batch of one
        if not isinstance(messages, list) or not _are_objects(messages):
            raise self._error(
                "no messages (messages, request.messages, inputs.messages or inputs.prompt)"
            )
        return [_openai_message(message) for message in messages]

    @property
    def model(self) -> str:
        """The model that answered: as logged, else the expert of the decision record, else as traced."""
        name = _first_at(self.line, MODEL_PATHS)
        if name is None and self.record is not None and not self.in_shadow:
            name = self.record.expert
        if name is None:
            name = self.answered_by or _first_at(self.line, TRACED_MODEL_PATHS)
        if name is None:
            raise self._error("no model (model, response.model, extra.metadata.ls_model_name)")
        return str(name)

    @property
    def tokens(self) -> LoggedTokens:
        """Tokens of the prompt and of the reply."""
        response = self.line.get("response")
        for report in (self.line.get("usage"), response, self.line):
            usage = read_usage(report)
            if usage is not None:
                return LoggedTokens(usage.prompt_tokens or None, usage.completion_tokens or None)

        counts = self.line.get("usage") or _value_at(response, ("usage",)) or self.line
        return LoggedTokens(
            prompt=self._token_count(counts, "prompt_tokens"),
            completion=self._token_count(counts, "completion_tokens"),
        )

    @property
    def cost_usd(self) -> float | None:
        """What the call cost, as logged at the top of the line; ``None`` where it is not."""
        for name in COST_KEYS:
            value = self.line.get(name)
            if value is not None:
                return self._amount(name, value)
        return None

    @property
    def answered_by(self) -> str | None:
        """The expert that answered a call in shadow; ``None`` where the line does not say."""
        name = self.line.get("answered_by")
        if name is None:
            return None
        if not isinstance(name, str) or not name:
            raise self._error(
                f"answered_by: {name!r} is no expert's name; name who answered, or leave it out"
            )
        return name

    @cached_property
    def record(self) -> DecisionRecord | None:
        """The decision record of this call; ``None`` where the line has none."""
        values = _find_record(self.line)
        if values is None:
            return None
        try:
            record = DecisionRecord.from_dict(values)
        except RecordError as error:
            raise self._error(f"{RECORD_KEY}: {error}; log the whole record") from error
        if record.account is not None and "settled_usd" not in values:
            raise self._error(f"{RECORD_KEY}: settled_usd is missing; log the whole record")
        return record

    @property
    def in_shadow(self) -> bool:
        """Whether the router only decided and no expert was called. Such a record has no account."""
        record = self.record
        return record is not None and record.account is None

    def score(self, scale: FeedbackScale) -> float | None:
        """The feedback as a score, 0–1; ``None`` where there is none."""
        try:
            value = LoggedFeedback.read(self.line).select(scale)
            return None if value is None else scale.score(value)
        except ValueError as error:
            raise self._error(f"feedback: {error}") from error

    def _amount(self, name: str, value: Any) -> float:
        try:
            usd = float(value)
        except (TypeError, ValueError):
            usd = inf
        if not 0 <= usd < inf:
            raise self._error(
                f"{name}: {value!r} is no amount; give USD of at least 0, or leave it out"
            )
        return usd

    def _token_count(self, counts: Any, name: str) -> float | None:
        value = _value_at(counts, (name,))
        if value is None:
            return None
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise self._error(f"usage: {name}: {error}") from error

    def _error(self, problem: str) -> OutcomesError:
        return OutcomesError(f"{self.source}: {problem}")


def read_logged_calls(paths: Sequence[Path]) -> Iterator[LoggedCall]:
    """The calls of JSONL logs, file by file.

    Raises:
        OutcomesError: A file cannot be read, or a line is not a JSON object.
    """
    for path in paths:
        for number, line in enumerate(read_lines(path), start=1):
            yield LoggedCall(f"{path}: line {number}", line)


def _find_record(value: Any) -> Mapping[str, Any] | None:
    """The first decision record inside a value, of this call and not of an earlier one in its input."""
    if isinstance(value, dict):
        record = value.get(RECORD_KEY)
        if isinstance(record, dict) and "candidates" in record:
            return record
        inner_values = [inner for key, inner in value.items() if key not in _INPUT_KEYS]
    elif isinstance(value, list):
        inner_values = value
    else:
        return None

    for inner in inner_values:
        record = _find_record(inner)
        if record is not None:
            return record
    return None


def _openai_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message in OpenAI's form, from that form or from LangChain's constructor."""
    fields = message
    arguments = message.get("kwargs")
    if isinstance(arguments, Mapping):
        class_path = message.get("id") or [""]
        class_name = str(class_path[-1]).removesuffix("Message")
        fields = {**arguments, "type": arguments.get("type") or class_name}

    kind = str(fields.get("role") or fields.get("type") or "").lower()
    openai_message = {"role": ROLE_OF_TYPE.get(kind, kind), "content": fields.get("content")}
    for key in _KEPT_MESSAGE_KEYS:
        if fields.get(key):
            openai_message[key] = fields[key]
    return openai_message


def _are_objects(values: Sequence[Any]) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def _first_present(line: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first key that has one."""
    for key in keys:
        if line.get(key) is not None:
            return line[key]
    return None


def _first_at(line: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> Any:
    """The first value that is neither absent nor empty."""
    for path in paths:
        value = _value_at(line, path)
        if value:
            return value
    return None


def _value_at(value: Any, path: Sequence[str]) -> Any:
    """The value at a path of keys; ``None`` where there is none."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
