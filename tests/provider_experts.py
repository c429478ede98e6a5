"""An expert of another provider's package, asked first, and a cheap one behind OpenAI's protocol."""

from eight_ways import price_of
from langchain_anthropic import ChatAnthropic
from langchain_google_genai import ChatGoogleGenerativeAI
from provider_servers import AnthropicServer
from ways import LANGCHAIN_WAYS, record_of

from routoo_core import Budget, Expert, Pool
from routoo_core.config import build_router
from routoo_core.testing import FakePredictor
from routoo_integrations.langchain import RoutooChatModel

ANSWER = "The answer is four."
KEY_VARIABLE = "PROVIDER_KEY"
TIMEOUT_S = 1.0
SETTINGS = {
    "name": "dear",
    "model": "the-model",
    "input_usd_per_1m": 3,
    "output_usd_per_1m": 15,
    "cached_usd_per_1m": 0.3,
    "cache_write_usd_per_1m": 3.75,
    "cache_write_1h_usd_per_1m": 6,
    "reasoning_usd_per_1m": 20,
    "max_output_tokens": 1000,
    "context_window": 200_000,
}


def model_over(server, endpoint, built="an object"):
    """A chat model over both; the provider's is built from an object or from settings."""
    expert = expert_from_settings(server) if built == "settings" else expert_of_object(server)
    router = build_router(
        Pool([endpoint.expert("cheap"), expert]),
        router=FakePredictor({"cheap": 0.4, "dear": 0.9}),
        budget=Budget(limit="10"),
        policy="best",
    )
    return RoutooChatModel(router, max_tokens=900)


def expert_from_settings(server):
    is_anthropic = isinstance(server, AnthropicServer)
    return Expert(
        provider="anthropic" if is_anthropic else "google_genai",
        base_url=server.base_url,
        api_key_env=KEY_VARIABLE,
        timeout_s=TIMEOUT_S,
        **SETTINGS,
    )


def expert_of_object(server):
    is_anthropic = isinstance(server, AnthropicServer)
    kind = ChatAnthropic if is_anthropic else ChatGoogleGenerativeAI
    client = kind(
        model="the-model",
        base_url=server.base_url,
        api_key="a-key",
        max_retries=0 if is_anthropic else 1,
        timeout=TIMEOUT_S,
    )
    return Expert(client=client, **SETTINGS)


def spent(model):
    """Nano-USD booked; nothing is held any more."""
    state = model.router.ledger.state(model.router.budget)
    assert state.held == 0
    return state.spent


def billed(model, server, endpoint):
    """Nano-USD that both servers billed."""
    total = 0
    for name, bills in (("dear", server.bills), ("cheap", endpoint.bills)):
        for bill in bills:
            total += price_of(bill.tokens, model.router.pool[name])
    return total


async def ask(model, way):
    """The text of the reply, and whose it is."""
    reply = await LANGCHAIN_WAYS[way](model, "What is two plus two?")
    return reply.text, record_of(reply)["expert"]
