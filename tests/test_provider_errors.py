"""Every exception of the provider packages means what its provider meant, whatever its shape."""

import inspect
import time
from email.utils import formatdate

import aiohttp
import anthropic
import botocore.exceptions as botocore
import google.genai.errors as google
import httpx
import langchain_anthropic.chat_models as langchain_anthropic
import langchain_aws.chat_models.bedrock_converse as langchain_aws
import langchain_google_genai.chat_models as langchain_google
import openai
import pytest
from aiohttp.client_reqrep import ConnectionKey
from langchain_core import exceptions as langchain_core
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from routoo_core.errors import ConfigurationError
from routoo_core.failures import read_failure

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/messages")
OF_STATUS = {
    401: "key",
    402: "credit",
    403: "key",
    408: "timeout",
    429: "throttled",
    500: "unavailable",
    501: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
    529: "unavailable",
}


def response(status, headers=None):
    return httpx.Response(status, request=REQUEST, headers=headers)


def of_openai(kind, status, **error):
    said = error.pop("message", "no")
    return kind(said, response=response(status), body={"message": said, **error})


def of_anthropic(status, error_type, message, kind=anthropic.APIStatusError):
    body = {"type": "error", "error": {"type": error_type, "message": message}}
    return kind(f"Error code: {status} - {body}", response=response(status), body=body)


def of_google(status, name, message):
    body = {"error": {"code": status, "status": name, "message": message}}
    kind = google.ServerError if status >= 500 else google.ClientError
    return kind(status, body)


def through_langchain(handler, *arguments):
    """The exception that a LangChain package makes of a provider's."""
    try:
        handler(*arguments)
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


def of_langchain_google(status, name, message):
    error = of_google(status, name, message)
    if status >= 500:
        return through_langchain(langchain_google._handle_server_error, error)
    return through_langchain(langchain_google._handle_client_error, error, {"model": "g"})


def of_aws(code, status, message="no", headers=None):
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return botocore.ClientError(answer, "Converse")


def of_aws_stream(code, message="no"):
    return botocore.EventStreamError({"Error": {"Code": code, "Message": message}}, "Converse")


def of_mistral(status, text, headers=None):
    answered = httpx.Response(status, request=REQUEST, headers=headers, text=text)
    return httpx.HTTPStatusError(
        f"Error response {status} while fetching {REQUEST.url}: {text}",
        request=REQUEST,
        response=answered,
    )


def of_aiohttp(status, headers=None):
    url = URL("http://127.0.0.1/v1")
    asked = aiohttp.RequestInfo(url, "POST", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.ClientResponseError(asked, (), status=status, message="no", headers=headers)


def unconnected_aiohttp():
    key = ConnectionKey("127.0.0.1", 9, False, True, None, None, None)
    return aiohttp.ClientConnectorError(key, OSError(111, "refused"))


class CohereError(Exception):
    """As cohere's ApiError: the status, the body and the headers are attributes of its own."""

    def __init__(self, status, body, headers=None):
        self.status_code = status
        self.body = body
        self.headers = headers
        super().__init__(f"status_code: {status}, body: {body}")


class CodeError(Exception):
    """As google.api_core's: the status is a number called ``code``."""

    def __init__(self, code, message="no"):
        self.code = code
        super().__init__(f"{code} {message}")


class DictError(Exception):
    """The response is a dictionary."""

    def __init__(self, status, code=None):
        self.response = {"status_code": status, "body": {"error": {"code": code, "message": "no"}}}
        super().__init__("no")


MEANINGS = [
    # OpenAI and those who copy it
    (of_openai(openai.RateLimitError, 429, code="rate_limit_exceeded"), "throttled"),
    (of_openai(openai.RateLimitError, 429, code="insufficient_quota"), "credit"),
    (of_openai(openai.AuthenticationError, 401, code="invalid_api_key"), "key"),
    (of_openai(openai.PermissionDeniedError, 403), "key"),
    (of_openai(openai.InternalServerError, 503), "unavailable"),
    (of_openai(openai.APIStatusError, 402, message="Insufficient credits"), "credit"),
    (of_openai(openai.BadRequestError, 400, code="content_filter"), "filter"),
    (of_openai(openai.BadRequestError, 400, code="context_length_exceeded"), "window"),
    (
        of_openai(
            openai.BadRequestError, 400, code="unsupported_parameter", param="stream_options"
        ),
        "parameter",
    ),
    (
        of_openai(
            openai.BadRequestError,
            400,
            message="Unsupported value: 'temperature' does not support 0 with this model.",
            code="unsupported_value",
            param="temperature",
        ),
        "parameter",
    ),
    (
        of_openai(
            openai.UnprocessableEntityError,
            422,
            message="Extra inputs are not permitted: stream_options",
        ),
        "parameter",
    ),
    (openai.APITimeoutError(request=REQUEST), "timeout"),
    (openai.APIConnectionError(request=REQUEST), {"unreachable", "unavailable"}),
    (openai.APIError("The server is overloaded", REQUEST, body={"code": "503"}), "unavailable"),
    # Anthropic
    (of_anthropic(429, "rate_limit_error", "Rate limited"), "throttled"),
    (of_anthropic(529, "overloaded_error", "Overloaded"), "unavailable"),
    (of_anthropic(200, "overloaded_error", "Overloaded"), "unavailable"),
    (of_anthropic(200, "rate_limit_error", "Rate limited"), "throttled"),
    (of_anthropic(200, "api_error", "Internal server error"), "unavailable"),
    (of_anthropic(401, "authentication_error", "invalid x-api-key"), "key"),
    (of_anthropic(403, "permission_error", "no"), "key"),
    (
        of_anthropic(
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API.",
        ),
        "credit",
    ),
    (of_anthropic(400, "invalid_request_error", "prompt is too long: 9 > 8 maximum"), "window"),
    (
        langchain_anthropic.AnthropicContextOverflowError(
            "prompt is too long: 9 tokens > 8 maximum", response=response(400), body=None
        ),
        "window",
    ),
    (
        langchain_anthropic.AnthropicRateLimitError("no", response=response(429), body=None),
        "throttled",
    ),
    (
        langchain_anthropic.AnthropicOverloadedError("no", response=response(529), body=None),
        "unavailable",
    ),
    (langchain_anthropic.AnthropicTimeoutError(REQUEST), "timeout"),
    (langchain_anthropic.AnthropicConnectionError(request=REQUEST), {"unreachable", "unavailable"}),
    # Google
    (of_google(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"), "throttled"),
    (of_google(503, "UNAVAILABLE", "The model is overloaded."), "unavailable"),
    (of_google(500, "INTERNAL", "Internal error"), "unavailable"),
    (of_google(504, "DEADLINE_EXCEEDED", "Deadline expired"), {"timeout", "unavailable"}),
    (of_google(403, "PERMISSION_DENIED", "no"), "key"),
    (of_google(401, "UNAUTHENTICATED", "no"), "key"),
    (of_google(400, "INVALID_ARGUMENT", "API key not valid. Pass a valid API key."), "key"),
    (of_google(400, "FAILED_PRECONDITION", "User location is not supported"), {"key", "filter"}),
    (of_langchain_google(429, "RESOURCE_EXHAUSTED", "Resource exhausted"), "throttled"),
    (of_langchain_google(503, "UNAVAILABLE", "overloaded"), "unavailable"),
    (of_langchain_google(401, "UNAUTHENTICATED", "no"), "key"),
    (of_langchain_google(403, "PERMISSION_DENIED", "no"), "key"),
    (of_langchain_google(400, "INVALID_ARGUMENT", "API key not valid."), "key"),
    (of_langchain_google(400, "INVALID_ARGUMENT", "exceeds the token limit"), "window"),
    (google.UnknownApiResponseError("Failed to parse response as JSON"), "no_reply"),
    # LangChain's own classes, without any status
    (langchain_core.ModelRateLimitError("no"), "throttled"),
    (langchain_core.ModelAPIError("no"), "unavailable"),
    (langchain_core.ModelAuthenticationError("no"), "key"),
    (langchain_core.ModelPermissionDeniedError("no"), "key"),
    (langchain_core.ModelConnectionError("no"), {"unreachable", "unavailable"}),
    (langchain_core.ModelTimeoutError("no"), "timeout"),
    (langchain_core.ContextOverflowError("no"), "window"),
    # Amazon
    (of_aws("ThrottlingException", 429), "throttled"),
    (of_aws("ThrottlingException", 400), "throttled"),
    (of_aws("TooManyRequestsException", 429), "throttled"),
    (of_aws("ServiceQuotaExceededException", 400), {"throttled", "credit"}),
    (of_aws("ServiceUnavailableException", 503), "unavailable"),
    (of_aws("InternalServerException", 500), "unavailable"),
    (of_aws("ModelNotReadyException", 429), {"unavailable", "throttled"}),
    (of_aws("ModelTimeoutException", 408), "timeout"),
    (of_aws("AccessDeniedException", 403), "key"),
    (of_aws("UnrecognizedClientException", 403), "key"),
    (of_aws("ExpiredTokenException", 403), "key"),
    (of_aws("ValidationException", 400, "Input is too long for requested model."), "window"),
    (
        through_langchain(
            langchain_aws._handle_bedrock_error,
            of_aws("ValidationException", 400, "Input is too long for requested model"),
        ),
        "window",
    ),
    (of_aws_stream("throttlingException"), "throttled"),
    (of_aws_stream("modelStreamErrorException"), "unavailable"),
    (of_aws_stream("serviceUnavailableException"), "unavailable"),
    (botocore.EndpointConnectionError(endpoint_url="http://127.0.0.1"), "unreachable"),
    (botocore.ConnectTimeoutError(endpoint_url="http://127.0.0.1"), {"unreachable", "timeout"}),
    (botocore.ReadTimeoutError(endpoint_url="http://127.0.0.1"), "timeout"),
    (botocore.ConnectionClosedError(endpoint_url="http://127.0.0.1"), "unavailable"),
    (botocore.NoCredentialsError(), "key"),
    # Mistral and other users of httpx
    (of_mistral(429, '{"message": "Requests rate limit exceeded"}'), "throttled"),
    (of_mistral(401, '{"message": "Unauthorized"}'), "key"),
    (of_mistral(503, "upstream connect error"), "unavailable"),
    (
        of_mistral(422, '{"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"]}]}'),
        {"parameter", "unknown"},
    ),
    (of_mistral(400, '{"message": "Prompt contains 9 tokens, too large for model"}'), "window"),
    (httpx.ReadTimeout("timed out", request=REQUEST), "timeout"),
    (httpx.ConnectTimeout("timed out", request=REQUEST), {"unreachable", "timeout"}),
    (httpx.ConnectError("refused", request=REQUEST), "unreachable"),
    (httpx.RemoteProtocolError("peer closed connection", request=REQUEST), "unavailable"),
    # aiohttp
    (of_aiohttp(429), "throttled"),
    (of_aiohttp(503), "unavailable"),
    (of_aiohttp(401), "key"),
    (unconnected_aiohttp(), "unreachable"),
    (aiohttp.ServerTimeoutError(), "timeout"),
    (aiohttp.ServerDisconnectedError(), "unavailable"),
    (aiohttp.ClientPayloadError("Response payload is not completed"), {"unavailable", "no_reply"}),
    (TimeoutError(), "timeout"),
    (ConnectionResetError(104, "reset by peer"), "unavailable"),
    # Shapes of other packages
    (CohereError(429, {"message": "rate limit"}), "throttled"),
    (CohereError(503, None), "unavailable"),
    (CohereError(401, {"message": "invalid api token"}), "key"),
    (CodeError(429), "throttled"),
    (CodeError(503), "unavailable"),
    (CodeError("rate_limit_exceeded"), "throttled"),
    (DictError(429), "throttled"),
    (DictError(429, "insufficient_quota"), "credit"),
    (DictError(503), "unavailable"),
]


def label(value):
    return f"{type(value).__name__} {str(value)[:40]}" if isinstance(value, Exception) else None


@pytest.mark.parametrize(("error", "reasons"), MEANINGS, ids=label)
def test_an_error_means_what_its_provider_meant_and_moves_on(error, reasons):
    failure = read_failure(error)
    assert failure.reason in ({reasons} if isinstance(reasons, str) else reasons)
    assert failure.another_may_succeed


def statuses_of(package):
    """Every class of a package's errors that stands for one status."""
    for name, kind in inspect.getmembers(package, inspect.isclass):
        if name == "OAuthError":  # of a log-in; it has no message of its own
            continue
        status = getattr(kind, "status_code", None)
        if issubclass(kind, package.APIStatusError) and isinstance(status, int):
            yield name, kind, status


BY_STATUS = [
    pytest.param(kind, status, id=f"{package.__name__}.{name}")
    for package in (anthropic, openai)
    for name, kind, status in statuses_of(package)
]


@pytest.mark.parametrize(("kind", "status"), BY_STATUS)
def test_every_class_of_a_status_means_that_status(kind, status):
    failure = read_failure(kind("no", response=response(status), body=None))
    assert failure.status == status
    assert not failure.may_be_billed
    if status in OF_STATUS:
        assert failure.reason == OF_STATUS[status]
    assert failure.another_may_succeed


@pytest.mark.parametrize(
    "error",
    [
        of_openai(openai.RateLimitError, 429),
        of_anthropic(429, "rate_limit_error", "no"),
        of_google(429, "RESOURCE_EXHAUSTED", "no"),
        of_langchain_google(429, "RESOURCE_EXHAUSTED", "no"),
        of_aws("ThrottlingException", 400),
        of_mistral(429, "no"),
        of_aiohttp(429),
        CohereError(429, None),
        CodeError(429),
        DictError(429),
        langchain_core.ModelRateLimitError("no"),
    ],
    ids=label,
)
def test_throttling_is_throttling_whoever_says_so(error):
    failure = read_failure(error)
    assert failure.reason == "throttled"
    assert failure.may_succeed_later
    assert not failure.may_be_billed


@pytest.mark.parametrize(
    "error",
    [
        of_mistral(429, "no", {"Retry-After": "7"}),
        of_mistral(429, "no", {"retry-after-ms": "7000"}),
        of_aws("ThrottlingException", 429, headers={"retry-after": "7"}),
        of_aiohttp(429, {"Retry-After": "7"}),
        CohereError(429, None, {"retry-after": "7"}),
    ],
    ids=["seconds", "milliseconds", "botocore", "aiohttp", "cohere"],
)
def test_the_wait_that_a_server_asks_for_is_read_in_every_form(error):
    assert read_failure(error).retry_after_s == pytest.approx(7)


def test_the_wait_until_a_date_is_read_in_seconds():
    date = formatdate(time.time() + 60, usegmt=True)
    wait_s = read_failure(of_mistral(429, "no", {"Retry-After": date})).retry_after_s
    assert 50 < wait_s <= 60


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("timed out", request=REQUEST),
        httpx.RemoteProtocolError("peer closed connection", request=REQUEST),
        botocore.ReadTimeoutError(endpoint_url="http://127.0.0.1"),
        aiohttp.ServerDisconnectedError(),
        openai.APITimeoutError(request=REQUEST),
        of_anthropic(200, "overloaded_error", "Overloaded"),
        google.UnknownApiResponseError("Failed to parse response as JSON"),
    ],
    ids=label,
)
def test_what_broke_off_after_the_request_was_sent_may_be_billed(error):
    assert read_failure(error).may_be_billed


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused", request=REQUEST),
        httpx.ConnectTimeout("timed out", request=REQUEST),
        botocore.EndpointConnectionError(endpoint_url="http://127.0.0.1"),
        botocore.ConnectTimeoutError(endpoint_url="http://127.0.0.1"),
        botocore.NoCredentialsError(),
        unconnected_aiohttp(),
        ConnectionRefusedError(111, "refused"),
    ],
    ids=label,
)
def test_what_was_never_sent_was_not_billed(error):
    assert not read_failure(error).may_be_billed


@pytest.mark.parametrize(
    "error",
    [
        of_openai(openai.BadRequestError, 400, message="Invalid 'messages': empty array."),
        of_anthropic(400, "invalid_request_error", "messages: at least one message is required"),
        CohereError(400, {"message": "invalid request: messages must not be empty"}),
    ],
    ids=label,
)
def test_what_every_expert_would_refuse_ends_the_call(error):
    failure = read_failure(error)
    assert failure.reason == "request"
    assert not failure.another_may_succeed
    assert not failure.may_succeed_later


@pytest.mark.parametrize(
    "error",
    [TypeError("f() got an unexpected keyword argument 'x'"), ConfigurationError("no")],
    ids=label,
)
def test_a_fault_of_the_callers_code_ends_the_call(error):
    failure = read_failure(error)
    assert not failure.another_may_succeed
    assert not failure.may_succeed_later


@pytest.mark.parametrize(("error", "_reasons"), MEANINGS, ids=label)
def test_a_description_quotes_nothing(error, _reasons):
    """Messages may quote the prompt: the record has type and status only."""
    assert read_failure(error).description.startswith(type(error).__name__)
    assert len(read_failure(error).description) < 80
