"""What the packages of other providers report is booked to the nano-dollar, over servers that speak their protocols."""

import pytest
from eight_ways import price_of
from provider_experts import ANSWER, KEY_VARIABLE, ask, billed, model_over, spent
from provider_servers import ProviderReply
from ways import LANGCHAIN_WAYS

from routoo_core.usage import Usage

WAYS = pytest.mark.parametrize("way", LANGCHAIN_WAYS)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "a-key")


ANTHROPIC_TOKENS = {
    "plain": Usage(10, 4),
    "cache reads": Usage(30_000, 4, 29_000),
    "cache writes": Usage(30_000, 4, cache_write_tokens=29_000),
    "writes for an hour": Usage(30_000, 4, cache_write_tokens=29_000, cache_write_1h_tokens=29_000),
    "all": Usage(30_000, 4, 9_000, cache_write_tokens=20_000, cache_write_1h_tokens=5_000),
}


@WAYS
@pytest.mark.parametrize("kind", ANTHROPIC_TOKENS)
async def test_what_anthropic_bills_is_booked_to_the_nano_dollar(anthropic, endpoint, way, kind):
    anthropic.replies["the-model"] = ProviderReply(tokens=ANTHROPIC_TOKENS[kind])
    model = model_over(anthropic, endpoint)
    assert await ask(model, way) == (ANSWER, "dear")
    assert spent(model) == billed(model, anthropic, endpoint)


GEMINI_TOKENS = {
    "plain": Usage(10, 4),
    "cached": Usage(1000, 4, 600),
    "thoughts": Usage(10, 504, reasoning_tokens=500),
    "thoughts alone": Usage(10, 500, reasoning_tokens=500),
    "thoughts and cached": Usage(1000, 504, 600, reasoning_tokens=500),
}


@WAYS
@pytest.mark.parametrize("kind", GEMINI_TOKENS)
async def test_what_gemini_bills_is_booked_to_the_nano_dollar(gemini, endpoint, way, kind):
    gemini.replies["the-model"] = ProviderReply(tokens=GEMINI_TOKENS[kind])
    model = model_over(gemini, endpoint)
    assert await ask(model, way) == (ANSWER, "dear")
    assert spent(model) == billed(model, gemini, endpoint)


@WAYS
async def test_thoughts_beside_null_candidates_are_output(gemini, endpoint, way):
    usage = {
        "promptTokenCount": 10,
        "candidatesTokenCount": None,
        "thoughtsTokenCount": 500,
        "totalTokenCount": 510,
    }
    tokens = Usage(10, 500, reasoning_tokens=500)
    gemini.replies["the-model"] = ProviderReply(tokens=tokens, usage=usage)
    model = model_over(gemini, endpoint)
    await ask(model, way)
    assert spent(model) == price_of(tokens, model.router.pool["dear"])


@WAYS
@pytest.mark.parametrize("usage", [{"input_tokens": 0, "output_tokens": 0}], ids=["zeros"])
async def test_usage_of_zeros_is_estimated(anthropic, endpoint, way, usage):
    anthropic.replies["the-model"] = ProviderReply("word " * 50, Usage(4, 50), usage)
    model = model_over(anthropic, endpoint)
    await ask(model, way)
    assert spent(model) >= billed(model, anthropic, endpoint)


@WAYS
@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
async def test_an_expert_built_from_its_settings_speaks_its_providers_protocol(
    request, endpoint, way, provider
):
    server = request.getfixturevalue(provider)
    model = model_over(server, endpoint, "settings")
    assert await ask(model, way) == (ANSWER, "dear")
    assert spent(model) == billed(model, server, endpoint)


@WAYS
async def test_the_limit_on_the_reply_reaches_each_provider_by_its_own_name(
    anthropic, gemini, endpoint, way
):
    await ask(model_over(anthropic, endpoint), way)
    await ask(model_over(gemini, endpoint), way)
    assert anthropic.requests[0]["max_tokens"] == 900
    assert gemini.requests[0]["generationConfig"]["maxOutputTokens"] == 900


@WAYS
@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
async def test_a_silent_provider_is_replaced(request, endpoint, way, provider):
    server = request.getfixturevalue(provider)
    server.replies["the-model"] = ProviderReply(hangs=True)
    model = model_over(server, endpoint)
    assert await ask(model, way) == (ANSWER, "cheap")
    assert spent(model) > 0
