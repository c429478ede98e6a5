"""Failures of other providers' packages move on to the next expert, over servers that speak their protocols."""

import pytest
from eight_ways import price_of
from langchain_core.exceptions import ContextOverflowError
from provider_experts import ANSWER, ask, billed, model_over, spent
from provider_servers import ProviderReply
from ways import LANGCHAIN_WAYS

from routoo_core.errors import RoutooError, StreamInterrupted
from routoo_core.testing import Reply
from routoo_core.usage import Usage

WAYS = pytest.mark.parametrize("way", LANGCHAIN_WAYS)


STREAMED = pytest.mark.parametrize("way", ["streamed", "async streamed"])
ANTHROPIC_ERRORS = [
    (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    (400, "invalid_request_error", "prompt is too long: 300000 tokens > 200000 maximum"),
    (401, "authentication_error", "invalid x-api-key"),
    (403, "permission_error", "Your API key does not have permission"),
    (404, "not_found_error", "model: the-model"),
    (413, "request_too_large", "Request exceeds the maximum size"),
    (429, "rate_limit_error", "This request would exceed your rate limit"),
    (500, "api_error", "Internal server error"),
    (529, "overloaded_error", "Overloaded"),
]


@WAYS
@pytest.mark.parametrize(("status", "kind", "message"), ANTHROPIC_ERRORS)
async def test_an_error_of_anthropic_moves_on_and_costs_nothing(
    anthropic, endpoint, way, status, kind, message
):
    error = {"type": kind, "message": message}
    anthropic.replies["the-model"] = ProviderReply(status=status, error=error)
    model = model_over(anthropic, endpoint)
    assert await ask(model, way) == (ANSWER, "cheap")
    assert spent(model) == billed(model, anthropic, endpoint)
    assert len(anthropic.requests) == 1


GEMINI_ERRORS = [
    (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    (400, "INVALID_ARGUMENT", "The input token count exceeds the maximum number of tokens allowed"),
    (403, "PERMISSION_DENIED", "Your project has been denied access."),
    (404, "NOT_FOUND", "models/the-model is not found for API version v1beta"),
    (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    (500, "INTERNAL", "An internal error has occurred."),
    (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
]


@WAYS
@pytest.mark.parametrize(("status", "name", "message"), GEMINI_ERRORS)
async def test_an_error_of_gemini_moves_on_and_costs_nothing(
    gemini, endpoint, way, status, name, message
):
    error = {"code": status, "status": name, "message": message}
    gemini.replies["the-model"] = ProviderReply(status=status, error=error)
    model = model_over(gemini, endpoint)
    assert await ask(model, way) == (ANSWER, "cheap")
    assert spent(model) == billed(model, gemini, endpoint)


PROVIDERS = pytest.mark.parametrize("provider", ["anthropic", "gemini"])
OVERLOADED = {
    "anthropic": {"type": "overloaded_error", "message": "Overloaded"},
    "gemini": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."},
}


@STREAMED
@PROVIDERS
@pytest.mark.parametrize("death", ["error_after", "cut_after"])
async def test_a_stream_that_dies_before_its_first_word_is_replaced(
    request, endpoint, way, provider, death
):
    server = request.getfixturevalue(provider)
    server.replies["the-model"] = ProviderReply(error=OVERLOADED[provider], **{death: 0})
    model = model_over(server, endpoint)
    assert await ask(model, way) == (ANSWER, "cheap")
    assert spent(model) > 0


@STREAMED
@PROVIDERS
@pytest.mark.parametrize("death", ["error_after", "cut_after"])
async def test_a_stream_that_dies_after_a_word_is_interrupted(
    request, endpoint, way, provider, death
):
    server = request.getfixturevalue(provider)
    server.replies["the-model"] = ProviderReply(error=OVERLOADED[provider], **{death: 2})
    model = model_over(server, endpoint)
    with pytest.raises(StreamInterrupted):
        await ask(model, way)
    assert spent(model) >= price_of(Usage(4, 2), model.router.pool["dear"])


@STREAMED
@PROVIDERS
async def test_a_stream_without_a_finish_reason_is_interrupted(request, endpoint, way, provider):
    server = request.getfixturevalue(provider)
    server.replies["the-model"] = ProviderReply(finish_reason=None)
    model = model_over(server, endpoint)
    with pytest.raises(StreamInterrupted):
        await ask(model, way)
    assert spent(model) > 0


@WAYS
async def test_a_prompt_that_fits_nobody_is_langchains_own_error(anthropic, endpoint, way):
    error = {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}
    anthropic.replies["the-model"] = ProviderReply(status=400, error=error)
    endpoint.replies["cheap"] = Reply(
        status=400,
        error={"message": "maximum context length is 8", "code": "context_length_exceeded"},
    )
    model = model_over(anthropic, endpoint)
    with pytest.raises(ContextOverflowError) as caught:
        await ask(model, way)
    assert isinstance(caught.value, RoutooError)
    assert spent(model) == 0
