"""What an error of a provider's package carries: a status, a body, words, headers, sometimes a whole reply."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from routoo_core.text import parse_json
from routoo_core.usage import Usage, field_of, read_usage

_TRANSPORT_ERRORS = frozenset(
    {
        "APIConnectionError",
        "ClientConnectionError",
        "ClientPayloadError",
        "HTTPClientError",
        "TransportError",
    }
)
"""Classes of errors of the connection: of openai and its kin, httpx, aiohttp, botocore."""

PARAMETERS = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "service_tier",
        "stop",
        "stop_sequences",
        "stream_options",
        "temperature",
        "tool_choice",
        "top_k",
        "top_logprobs",
        "top_p",
        "verbosity",
    }
)
"""Arguments of a call that providers refuse by name."""
_PARAMETER_NAME = re.compile(rf"\b({'|'.join(sorted(PARAMETERS, key=len, reverse=True))})\b")
_SHOWN_BODY = 4000
"""Characters of a body in which a reason is looked for."""
_BODY_DEPTH = 8
"""Levels of a body at which a field is looked for."""

_JSON_WRITERS = re.compile(r"json\.encoder|httpx\._content|requests\.models|\w+\._utils\._json")
"""Modules that write requests: their errors are about a value that JSON cannot say, or a text that UTF-8 cannot."""

_WAIT_IN_WORDS = re.compile(
    r"(?:try again|retry|retrydelay|retry_delay)\W{0,4}(?:in|after)?\W{0,4}([\d.]+) ?(ms|milliseconds|s\b|sec|m\b|min)"
)
_SECONDS = {"ms": 0.001, "milliseconds": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0}
_SENTENCE_FIELDS = ("error", "message", "detail", "msg")
"""Where servers put what they have to say."""
_SHOWN_SENTENCE = 200


class ErrorEvidence:
    """What an error, and the errors it was raised from, say of the call.

    Attributes:
        status: The first HTTP status that one of them carries.
        body: The first body that one of them carries: JSON values or a text.
        words: Names of their classes and everything they say, in lower case; may quote the prompt.
    """

    def __init__(self, error: BaseException) -> None:
        self._causes = tuple(_causes(error))
        self.status: int | None = _first(_status(cause) for cause in self._causes)
        self.body = _first(_body(cause) for cause in self._causes)
        texts = [self._text_of_body()]
        for cause in self._causes:
            texts.append(type(cause).__name__)
            texts.append(str(cause)[:_SHOWN_BODY])
        self.words = " ".join(texts).lower()

    @property
    def is_success(self) -> bool:
        """Whether the server had answered with success: what it did is billed."""
        if self.status is not None:
            return 200 <= self.status < 300
        if self._completion() is not None:
            return True
        return self._unread_json() is not None

    @property
    def has_error_body(self) -> bool:
        """Whether the body says by its form that it is an error."""
        return isinstance(self.body, Mapping) and bool(self.body.get("error"))

    @property
    def server_sentence(self) -> str:
        """The server's own sentence; empty where it said none. It may quote the prompt."""
        return _sentence_of(self.body)[:_SHOWN_SENTENCE]

    @property
    def is_cut_off(self) -> bool:
        """Whether a success broke off: by an error event of its stream, or within its JSON."""
        if self.status is not None and self.has_error_body:
            return True
        unread = self._unread_json()
        return unread is not None and unread.lstrip()[:1] in {"", "{", "["}

    @property
    def is_unwritten(self) -> bool:
        """Whether the request could not be written as JSON, so that none was sent."""
        return any(_was_raised_by_encoder(cause) for cause in self._causes)

    @property
    def is_timeout(self) -> bool:
        """Whether nothing came in time."""
        if self.status is not None:
            return False
        return any(_is_timeout(cause) for cause in self._causes)

    @property
    def is_transport(self) -> bool:
        """Whether the connection failed."""
        if any(isinstance(cause, OSError) for cause in self._causes):
            return True
        return self.has_class(_TRANSPORT_ERRORS)

    def has_class(self, names: frozenset[str]) -> bool:
        """Whether one of the errors is of a class of these names."""
        return any(_has_class(cause, names) for cause in self._causes)

    def parameter(self) -> str | None:
        """The argument that is not taken, where one is named."""
        parameter = _parameter_field(self.body)
        if parameter is not None:
            return parameter
        match = _PARAMETER_NAME.search(self.words)
        return match[1] if match else None

    def usage(self) -> Usage | None:
        """What the reply that an error carries reports."""
        completion = self._completion()
        usage = None if completion is None else read_usage(completion)
        if usage is None and isinstance(self.body, Mapping):
            usage = read_usage(self.body)
        return usage

    def reply_text(self) -> str:
        """The part of an unreadable reply that arrived."""
        unread = self._unread_json()
        if unread is not None:
            return unread
        return self.body if isinstance(self.body, str) else ""

    def retry_after_s(self) -> float | None:
        """Seconds that the server asks to wait."""
        for cause in self._causes:
            seconds = _header_wait_s(_headers(cause))
            if seconds is not None:
                return seconds
        return _wait_in_words_s(self.words) if self.status is not None else None

    def _unread_json(self) -> str | None:
        """The reply that was read as JSON and is none; ``None`` where that is not what failed."""
        for cause in self._causes:
            if isinstance(cause, json.JSONDecodeError):
                return cause.doc
        return None

    def _completion(self) -> Any:
        """The reply that openai's errors about its form carry."""
        return _first(getattr(cause, "completion", None) for cause in self._causes)

    def _text_of_body(self) -> str:
        if self.body is None:
            return ""
        if isinstance(self.body, str):
            return self.body[:_SHOWN_BODY]
        try:
            return json.dumps(self.body, default=str)[:_SHOWN_BODY]
        except RecursionError:
            return ""


def _was_raised_by_encoder(error: BaseException) -> bool:
    """Whether an error was raised where a request is written."""
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = str(traceback.tb_frame.f_globals.get("__name__"))
    return _JSON_WRITERS.fullmatch(module) is not None


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _has_class(error: BaseException, names: frozenset[str]) -> bool:
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was raised from."""
    seen_ids: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen_ids:
        seen_ids.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )


def _first(values: Iterator[Any]) -> Any:
    """The first that is not ``None``."""
    for value in values:
        if value is not None:
            return value
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status of an error, wherever its package keeps it."""
    response = getattr(error, "response", None)
    metadata = field_of(response, "ResponseMetadata")  # botocore
    holders_and_names = (
        (error, "status_code"),
        (response, "status_code"),
        (response, "status"),
        (metadata, "HTTPStatusCode"),
        (error, "http_status"),
        (error, "status"),
        (error, "code"),
    )
    for holder, name in holders_and_names:
        status = _as_status(field_of(holder, name))
        if status is not None:
            return status
    return None


def _as_status(value: Any) -> int | None:
    """A status as a number; ``None`` for whatever is none, such as a code in words."""
    value = getattr(value, "value", value)  # an enumeration
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        status = int(value)
    except ValueError:
        return None
    return status if 100 <= status < 600 else None


def _body(error: BaseException) -> Any:
    """The body of an error: JSON values, a text, or ``None``."""
    for name in ("body", "details", "error_response"):
        body = getattr(error, name, None)
        if isinstance(body, Mapping | list | str) and body:
            return body
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return response
    try:
        text = getattr(response, "text", None)
    except Exception:  # noqa: BLE001  # the body of a stream that nobody has read
        return None
    if not isinstance(text, str):
        return None
    try:
        return parse_json(text)
    except ValueError:
        return text


def _sentence_of(body: Any) -> str:
    """The sentence in a body, which is one, or has one in a field."""
    if isinstance(body, str):
        return body.strip()
    if isinstance(body, list) and body:
        return _sentence_of(body[0])
    if not isinstance(body, Mapping):
        return ""
    for field in _SENTENCE_FIELDS:
        sentence = _sentence_of(body.get(field))
        if sentence:
            return sentence
    return ""


def _parameter_field(body: Any, depth: int = _BODY_DEPTH) -> str | None:
    """The parameter that a body names in a field of its own: ``param``, or the ``loc`` of a validation error."""
    if depth == 0:
        return None
    if isinstance(body, Mapping):
        for name, value in body.items():
            if name == "param" and isinstance(value, str):
                return value if value in PARAMETERS else None
            if name == "loc" and isinstance(value, list):
                for part in value:
                    if part in PARAMETERS:
                        return str(part)
        for value in body.values():
            parameter = _parameter_field(value, depth - 1)
            if parameter is not None:
                return parameter
    if isinstance(body, list):
        for entry in body:
            parameter = _parameter_field(entry, depth - 1)
            if parameter is not None:
                return parameter
    return None


# When to try again


def _headers(error: BaseException) -> Mapping[str, Any] | None:
    """The headers of the response, their names in lower case."""
    response = getattr(error, "response", None)
    metadata = field_of(response, "ResponseMetadata")  # botocore
    for headers in (
        field_of(response, "headers"),
        field_of(metadata, "HTTPHeaders"),
        getattr(error, "headers", None),
    ):
        if headers is not None and hasattr(headers, "items"):
            return {str(name).lower(): value for name, value in headers.items()}
    return None


def _header_wait_s(headers: Mapping[str, Any] | None) -> float | None:
    """The ``Retry-After`` header, which is seconds or a date, or OpenAI's in milliseconds."""
    if headers is None:
        return None
    milliseconds = _as_float(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    header = str(headers.get("retry-after", ""))
    seconds = _as_float(header)
    if seconds is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _wait_in_words_s(words: str) -> float | None:
    """A wait that stands in the text: "try again in 6s", Google's ``retryDelay``."""
    match = _WAIT_IN_WORDS.search(words)
    amount = _as_float(match[1]) if match else None
    if match is None or amount is None:
        return None
    return amount * _SECONDS[match[2]]


def _as_float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number == number and abs(number) != float("inf") else None
