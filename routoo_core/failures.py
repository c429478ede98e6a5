"""What an error of an expert means: whose fault it is, whether it was billed, who else may succeed, and when.

The reason decides, not the number: a 400 may say that the prompt is malformed, or that there is no credit left. A
provider that gives its reasons in other words takes a line of :data:`REASONS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from routoo_core.error_evidence import ErrorEvidence
from routoo_core.errors import (
    CallNotPrepared,
    NoReply,
    OtherModelAnswered,
    ReplyCutOff,
    RoutooError,
)
from routoo_core.usage import Usage

Reason = Literal[
    "throttled",
    "unavailable",
    "timeout",
    "unreachable",
    "credit",
    "key",
    "filter",
    "parameter",
    "window",
    "request",
    "no_reply",
    "caller",
    "unknown",
]
"""Why a call failed:

- *throttled*: too many calls or tokens; *unavailable*: its server failed or is overloaded; *timeout*: nothing came in
  time; *unreachable*: no byte of the call arrived.
- *credit*: nothing left to pay with; *key*: its key, its permission or the model's name is refused.
- *filter*: its own rules on content; *parameter*: an argument that it does not take; *window*: the prompt is too long.
- *request*: every expert would refuse it; *caller*: the call could not be put together.
- *no_reply*: something came that cannot be read as a reply; *unknown*: nothing of these can be told.
"""

_FINAL_REASONS = frozenset({"request", "caller"})
"""Another expert would fail in the same way."""
_REASONS_OF_ANY_CODE = frozenset({"no_reply", "unknown"})
_PASSING_REASONS = frozenset({"throttled", "unavailable", "timeout", "unreachable", "no_reply"})
"""The same call may succeed later."""

_NEVER_SENT_ERRORS = frozenset(
    {
        "ClientConnectorError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectTimeoutError",
        "ConnectionRefusedError",
        "EndpointConnectionError",
        "InvalidHeader",
        "InvalidSchema",
        "InvalidURL",
        "LocalProtocolError",
        "MissingSchema",
        "PoolTimeout",
        "UnsupportedProtocol",
        "gaierror",
    }
)
"""Classes of errors after which no byte of the request has reached the expert."""
_REASONS_OF_CLASSES: tuple[tuple[frozenset[str], Reason], ...] = (
    (frozenset({"ContextOverflowError"}), "window"),
    (frozenset({"ModelRateLimitError"}), "throttled"),
    (
        frozenset(
            {
                "DefaultCredentialsError",
                "ModelAuthenticationError",
                "ModelNotFoundError",
                "ModelPermissionDeniedError",
                "NoCredentialsError",
            }
        ),
        "key",
    ),
)
"""Classes of errors that mean one refusal, and which; of a rate limit the words may say more."""
_SERVER_ERRORS = frozenset({"ModelAPIError", "ModelConnectionError"})
"""LangChain's classes for a server that failed, or a connection."""
MISREAD_ERRORS = (ValueError, LookupError, TypeError, AttributeError)
"""What packages raise where a reply has not the form they expect."""

_WRONG_CALL = re.compile(
    r"unexpected keyword argument|required (positional|keyword-only) argument|positional arguments? but"
)
"""What Python says of a function that was called with other arguments than it has."""


class ReasonPattern(NamedTuple):
    """Words by which providers give a reason.

    Attributes:
        reason: The reason.
        words: Looked for in what the error says of itself, in lower case.
        statuses: HTTP statuses at which they mean it; empty for all.
    """

    reason: Reason
    words: re.Pattern[str]
    statuses: frozenset[int] = frozenset()


_REFUSALS = frozenset({400, 402, 403, 404, 409, 413, 422, 429, 500, 503})
_BAD_REQUESTS = frozenset({400, 413, 422})

REASONS: tuple[ReasonPattern, ...] = (
    ReasonPattern(
        "credit",
        re.compile(
            r"insufficient[ _](quota|balance|funds|credit)|exceeded your current quota|out of credit|"
            r"credit balance|credits?\b.{0,30}\b(used|exhausted|low|required|depleted|left|insufficient)|"
            r"billing|payment required|account.{0,20}(suspended|deactivated|not active)|"
            r"spending limit|budget.{0,12}exceeded|arrears"
        ),
        _REFUSALS,
    ),
    ReasonPattern(
        "throttled",
        re.compile(
            r"throttl|rate[ _-]?limit|too many requests|too_many_requests|resource_?exhausted|"
            r"resource has been exhausted|tokens per minute|requests per minute|slow ?down|concurrency limit|"
            r"servicequotaexceeded"
        ),
    ),
    ReasonPattern(
        "window",
        re.compile(
            r"context[ _]length|context[ _]window|contextoverflow|maximum context|tokens of context|"
            r"prompt is too long|prompt.{0,20}too (long|large)|input is too long|input.{0,20}too (long|large)|"
            r"too many (input )?tokens|string_above_max_length|"
            r"reduce the length|max(imum)?[ _](input|prompt)[ _](length|tokens)|"
            r"exceeds? (the |its )?(model'?s |maximum |max |allowed )*"
            r"(context|input|prompt|number of tokens|token limit)|"
            r"(input|prompt) token (count|length).{0,60}exceed|longer than the maximum|"
            r"request too large|request_too_large|maximum (allowed )?(number of )?(input )?tokens"
        ),
    ),
    ReasonPattern(
        "filter",
        re.compile(
            r"content[ _-]?filter|content[ _-]?(policy|management)|responsible ?ai|safety|moderation|"
            r"flagged|guardrail|data_?inspection|sensitive|prohibited|jailbreak|policy violation|"
            r"prompt.{0,20}\b(filtered|blocked)|blocked by"
        ),
        _REFUSALS,
    ),
    ReasonPattern(
        "key",
        re.compile(
            r"api[ _-]?key|unauthori[sz]ed|unauthenticated|authenticat|invalid[ _]?(token|credential|signature)|"
            r"access[ _-]?denied|accessdenied|permission|\bforbidden|unrecognizedclient|expiredtoken|"
            r"(model|deployment|endpoint|engine|resource)\b.{0,80}(not[ _]?found|does not exist|not exist|"
            r"not available|unknown|no longer|decommissioned|deprecated|access)|model_not_found|"
            r"invalid model|unknown model|not a valid model|no such model|location is not supported"
        ),
        _REFUSALS - {429, 500, 503},
    ),
    ReasonPattern(
        "unavailable",
        re.compile(r"overloaded|capacity|unavailable|try again later|not ready|cold start"),
        frozenset({429, 500, 502, 503, 504, 520, 529}),
    ),
    ReasonPattern(
        "parameter",
        re.compile(
            r"unsupported[ _](parameter|value|argument)|unknown[ _](parameter|argument|field|name)|"
            r"unrecognized|unexpected (keyword|parameter|argument|field)|extra[ _](forbidden|inputs|fields)|"
            r"(is|are|was) not (supported|permitted|allowed|accepted|available)|"
            r"not (support|supported)\b|does ?n[o']t (support|allow|accept)|no longer supported|deprecated"
        ),
        _BAD_REQUESTS,
    ),
    ReasonPattern(
        "request",
        re.compile(
            r"tool_call_ids?\b|tool_use_?ids?\b|tool_result|"
            r"tool (messages?|calls?|results?|responses?)\b.{0,60}(must|without|follow|preced|match|missing)|"
            r"messages?'?:? (at least one|empty array|must not be empty|is required|cannot be empty)|"
            r"messages? parameter is required|"
            r"(empty|missing|no) messages|invalid (role|message role)|"
            r"we could not parse the json body|invalid json|malformed (json|request)|json_invalid|"
            r"(invalid|unsupported|could not process|failed to (download|decode)).{0,20}image|invalid_image|"
            r"invalid base64|invalid (type|value) for 'messages"
        ),
        _BAD_REQUESTS,
    ),
)  # fmt: skip
"""Reasons in words, in the order in which they are looked for; the first that fits is taken."""

_STATUS_REASONS: Mapping[int, Reason] = {
    401: "key",
    402: "credit",
    403: "key",
    404: "key",
    405: "key",
    408: "timeout",
    409: "unavailable",
    413: "window",
    425: "unavailable",
    429: "throttled",
}
"""What a status below 500 means where no words say more."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error of a call means.

    Attributes:
        status: The HTTP status it carries, if it carries one.
        reason: Why the call failed.
        may_be_billed: Whether the expert may have worked: not when it was never reached or answered with an error
            status.
        has_whole_reply: Whether everything that the expert sent has arrived, so that no more can have been billed than
            it reports or than its text makes likely.
        retry_after_s: Seconds the server asks to wait; ``None`` where it asks for nothing.
        is_unwritten: Whether the request could not be written as JSON.
        parameter: One of :data:`routoo_core.error_evidence.PARAMETERS` that the expert does not take, if it names one.
        usage: What the expert says that the call consumed, where the error carries its reply.
        reply_text: What it wrote, where the error carries a reply that cannot be read.
        description: Type and status only, since messages may quote the prompt.
        server_sentence: The server's own words, for whoever may see the prompt.
    """

    status: int | None
    reason: Reason
    may_be_billed: bool
    has_whole_reply: bool
    retry_after_s: float | None
    is_unwritten: bool
    parameter: str | None
    usage: Usage | None
    reply_text: str
    description: str
    server_sentence: str

    @property
    def another_may_succeed(self) -> bool:
        """Whether it is this expert's failure rather than the request's or the caller's code."""
        return self.reason not in _FINAL_REASONS

    @property
    def is_of_expert(self) -> bool:
        """Whether it is certain that an expert raised it: an error without a word of a server may be of any code."""
        return self.status is not None or self.reason not in _REASONS_OF_ANY_CODE

    @property
    def may_succeed_later(self) -> bool:
        """Whether the same call to the same expert may succeed later."""
        return self.reason in _PASSING_REASONS


def read_failure(error: BaseException) -> Failure:
    """What an error that was raised while an expert was called means."""
    evidence = ErrorEvidence(error)
    reason = _reason(error, evidence)
    is_billed = _may_be_billed(error, evidence)
    return Failure(
        status=evidence.status,
        reason=reason,
        may_be_billed=is_billed,
        has_whole_reply=is_billed and _has_whole_reply(error, evidence),
        retry_after_s=evidence.retry_after_s(),
        is_unwritten=evidence.is_unwritten,
        parameter=evidence.parameter() if reason == "parameter" else None,
        usage=evidence.usage() if is_billed else None,
        reply_text=evidence.reply_text() if is_billed else "",
        description=_describe(error, evidence.status),
        server_sentence=evidence.server_sentence,
    )


# Why


def _reason(error: BaseException, evidence: ErrorEvidence) -> Reason:
    if isinstance(error, NoReply | OtherModelAnswered):
        return "no_reply"
    if isinstance(error, CallNotPrepared):
        return "parameter"
    if isinstance(error, RoutooError):  # raised while the call was put together
        return "caller"
    if evidence.has_error_body and evidence.is_success:
        return _reason_of_refusal(evidence, None)
    if evidence.is_success:
        return "filter" if "contentfilter" in evidence.words else "no_reply"
    if evidence.is_unwritten:
        return "caller"
    if evidence.has_class(_NEVER_SENT_ERRORS):
        return "unreachable"
    if evidence.is_timeout:
        return "timeout"
    reason = _reason_of_class(evidence)
    is_answered = evidence.status is not None or evidence.body is not None
    if reason == "throttled" and is_answered:
        return _reason_of_refusal(evidence, evidence.status)  # it may be that no credit is left
    if reason is not None:
        return reason
    if is_answered:
        return _reason_of_refusal(evidence, evidence.status)
    if evidence.is_transport or evidence.has_class(_SERVER_ERRORS):
        return "unavailable"
    return _reason_of_exception(error, evidence)


def _reason_of_class(evidence: ErrorEvidence) -> Reason | None:
    """The refusal that the class of an error stands for; ``None`` for none."""
    for names, reason in _REASONS_OF_CLASSES:
        if evidence.has_class(names):
            return reason
    return None


def _reason_of_refusal(evidence: ErrorEvidence, status: int | None) -> Reason:
    """Why a server said no: by its words, else by its status; ``None`` where it said so after a success."""
    for pattern in REASONS:
        applies = not pattern.statuses or status is None or status in pattern.statuses
        if not applies or not pattern.words.search(evidence.words):
            continue
        if pattern.reason == "parameter" and evidence.parameter() is None:
            continue  # it may be the prompt's form that is not supported
        if pattern.reason == "credit" and evidence.retry_after_s() is not None:
            return "throttled"  # so Google calls a quota that fills up again
        return pattern.reason
    if status is None or status >= 500:
        return "unavailable"
    return _STATUS_REASONS.get(status, "unknown")


def _reason_of_exception(error: BaseException, evidence: ErrorEvidence) -> Reason:
    """Why code failed that says nothing of a server."""
    if isinstance(error, NotImplementedError | ImportError | SyntaxError):
        return "caller"
    if isinstance(error, TypeError) and _WRONG_CALL.search(str(error)):
        return "caller"
    for pattern in REASONS:
        is_of_server = pattern.reason in {"throttled", "window", "credit"}
        if is_of_server and pattern.words.search(evidence.words):
            return pattern.reason
    if isinstance(error, MISREAD_ERRORS):
        return "no_reply"
    return "unknown"


# Whether it was billed


def _may_be_billed(error: BaseException, evidence: ErrorEvidence) -> bool:
    if isinstance(error, NoReply | OtherModelAnswered):
        return True
    if isinstance(error, RoutooError):
        return False
    if evidence.is_unwritten or evidence.has_class(_NEVER_SENT_ERRORS):
        return False
    if evidence.status is not None:
        return evidence.is_success
    if _reason_of_class(evidence) is not None:
        return False
    return _reason_of_exception(error, evidence) not in _FINAL_REASONS


def _has_whole_reply(error: BaseException, evidence: ErrorEvidence) -> bool:
    if isinstance(error, NoReply):
        return not isinstance(error, ReplyCutOff)
    return evidence.is_success and not evidence.is_cut_off


def _describe(error: BaseException, status: int | None) -> str:
    name = type(error).__name__
    return name if status is None else f"{name} ({status})"
