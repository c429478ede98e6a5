"""The checks that a reply must pass before the caller gets it, and the message to the next try where it fails.

A check looks at a reply that was paid for. A reply that fails is *rejected*. With repair, the same expert gets one more
call that says what was wrong; then the next candidate is called. Each try is reserved and booked by itself, so the
budget holds. Ready-made checks are in :mod:`routoo_core.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from routoo_core.answer import Answer, ToolCall
from routoo_core.errors import ConfigurationError
from routoo_core.expected_form import ExpectedForm
from routoo_core.json_schema import JsonSchema
from routoo_core.request import RoutedRequest
from routoo_core.settings import Settings
from routoo_core.text import parse_standard_json


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a reply is rejected.

    Attributes:
        reason: For the decision record, without a word of the prompt or the reply.
        advice: For the expert that is asked again; may quote the reply. Empty for the reason itself.
    """

    reason: str
    advice: str = field(default="", repr=False)


Check = Callable[[Answer], "Fault | str | None"]
"""Looks at a reply that was paid for: ``None`` accepts it, a fault or a reason rejects it. It may take its time."""


class CheckRule(Settings):
    """``[checks]`` in routoo.toml.

    Attributes:
        form: Whether JSON that was asked for and calls of tools are checked, once in a call: the second reply stands.
        repair: Whether the expert of a rejected reply is asked once more, and told what was wrong, before the next one.
    """

    form: bool = True
    repair: bool = True


DEFAULT_CHECKS = CheckRule()
"""The form is checked and repaired."""


@dataclass(frozen=True, slots=True)
class ReplyFault:
    """What is wrong with a reply.

    Attributes:
        fault: Why it is rejected.
        is_of_form: Whether it only misses the form that was asked for: it is better than no reply.
    """

    fault: Fault
    is_of_form: bool = False


class ReplyChecks:
    """The checks of one call.

    Args:
        request: The call, whose own check is asked first.
        rule: The router's.
    """

    def __init__(self, request: RoutedRequest, rule: CheckRule) -> None:
        overrides = request.overrides
        self._own = overrides.check
        self._form = request.form
        self._checks_form = rule.form and not request.form.is_any and request.completions == 1
        self.repairs = rule.repair if overrides.repair is None else overrides.repair

    def holds_back(self, calls_tool: bool) -> bool:
        """Whether a stream waits for its end before the caller sees it.

        Args:
            calls_tool: Whether it has begun to call a tool; a text beside tools is not waited for.
        """
        if self._own is not None:
            return True
        if not self._checks_form:
            return False
        return calls_tool or self._form.is_json or self._form.must_call

    def find_fault(self, answer: Answer) -> ReplyFault | None:
        """What is wrong with a reply: what the call's own check says, else how it misses the form."""
        fault = self._own(answer) if self._own is not None else None
        if fault is not None:
            return ReplyFault(Fault(fault) if isinstance(fault, str) else fault)
        fault = find_form_fault(self._form, answer) if self._checks_form else None
        return ReplyFault(fault, is_of_form=True) if fault else None

    def stop_checking_form(self) -> None:
        """Let every further reply stand, whatever its form: it is asked for once more, not for ever."""
        self._checks_form = False


def find_form_fault(form: ExpectedForm, answer: Answer) -> Fault | None:
    """The first way in which a reply misses the required form. A refusal and a cut reply are not checked."""
    if answer.is_refusal or answer.is_cut:
        return None
    for call in answer.tool_calls:
        fault = _call_fault(form, call)
        if fault is not None:
            return fault
    if answer.tool_calls:
        return None
    if form.must_call and not form.has_unknown_tools:
        return Fault("no tool call", f"it calls no tool. Call one of {', '.join(form.tools)}.")
    return find_json_fault(answer.text, form.schema) if form.is_json else None


def find_json_fault(text: str, schema: Mapping[str, Any] | None) -> Fault | None:
    """How a text fails to be JSON of a schema; without a schema, a JSON object."""
    try:
        value = parse_standard_json(text)
    except ValueError as error:
        return Fault("invalid JSON", f"it is not valid JSON ({error}). Reply with JSON alone.")
    if schema is None:
        is_object = isinstance(value, dict)
        return None if is_object else Fault("no JSON object", "reply with one JSON object.")
    return _schema_fault(schema, value, "JSON against its schema", "its JSON breaks the schema")


def _call_fault(form: ExpectedForm, call: ToolCall) -> Fault | None:
    """What is wrong with a call of a tool."""
    if call.name not in form.tools:
        if form.has_unknown_tools or not form.tools:
            return None
        names = ", ".join(form.tools)
        return Fault("unknown tool", f"there is no tool {call.name!r}; call one of {names}.")
    if not isinstance(call.arguments, Mapping):
        advice = f"the arguments of {call.name} are no JSON object. Call it again with one."
        return Fault("tool arguments are invalid JSON", advice)
    schema = form.tools[call.name]
    if schema is None:
        return None
    advice = f"the arguments of {call.name} break its schema"
    return _schema_fault(schema, call.arguments, "tool arguments against their schema", advice)


def _schema_fault(schema: Mapping[str, Any], value: Any, reason: str, advice: str) -> Fault | None:
    try:
        violations = JsonSchema(schema).violations(value)
    except ConfigurationError:
        return None  # what the caller gave is no schema: the provider says so, if anybody
    return Fault(reason, f"{advice}: {'; '.join(violations)}.") if violations else None
