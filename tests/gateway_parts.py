"""What the tests of the gateway share: routers over a fake endpoint, and ways to call a running gateway."""

import httpx
from openai import OpenAI

from routoo_core import Budget, Pool
from routoo_core.config import build_router
from routoo_core.testing import FakePredictor
from routoo_integrations.gateway.events import EventParser

HELLO = [{"role": "user", "content": "Hello there, how are you today?"}]
ABILITIES = {"tools", "json_schema", "images", "audio"}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def make_router(endpoint, limit="0.10", ledger="memory://", settings=(), budget=None, **options):
    """A router over a cheap and a dear expert that can do everything; the dear one is better."""
    shared = {"max_output_tokens": 256, "context_window": 4096, "capabilities": ABILITIES}
    shared |= dict(settings)
    dear = {"input_usd_per_1m": 10, "output_usd_per_1m": 30, "tokens_per_image": 100, **shared}
    dear |= options.pop("dear_settings", {})
    pool = Pool([endpoint.expert("cheap", **shared), endpoint.expert("dear", **dear)])
    return build_router(
        pool,
        router=FakePredictor(options.pop("quality", {"cheap": 0.4, "dear": 0.9})),
        policy=options.pop("policy", "best"),
        budget=budget or Budget(limit=limit),
        ledger=ledger,
        **options,
    )


def team_router(endpoint):
    """The same, with the money of an account that those of keys are part of."""
    return make_router(endpoint, budget=Budget(account="team", limit="0.10"))


def bearer(key):
    """The header that a client of OpenAI's sends a key in."""
    return {"Authorization": f"Bearer {key}"}


def sdk_for(server, max_retries=0, api_key="any"):
    """OpenAI's own client of a running gateway."""
    return OpenAI(base_url=server.base_url, api_key=api_key, max_retries=max_retries)


def state_of(router, account=None):
    """Where an account stands; by default the usual payer."""
    return router.ledger.state(router.budget.for_account(account))


def events_of(response):
    """Every event of a streamed response."""
    parser = EventParser()
    return [event for data in response.iter_bytes() for event in parser.feed(data)]


def post(server, body, path="/v1/chat/completions", **options):
    """A whole answer, the raw way."""
    return httpx.post(f"{server.address}{path}", json=body, timeout=60, **options)


def stream_events(server, body, path="/v1/chat/completions", **options):
    """Every event of a streamed reply, the raw way."""
    url = f"{server.address}{path}"
    body = {**body, "stream": True}
    with httpx.stream("POST", url, json=body, timeout=60, **options) as response:
        assert response.status_code == 200, response.read()
        return events_of(response)


def secret_of(key):
    """The part of a key that nobody else may know; it may hold hyphens itself."""
    return key.split("-", 3)[3]
