"""Legacy completions, embeddings, and the status of an account that cannot pay."""

import json

import openai
import pytest
from gateway_parts import make_router, post, sdk_for, state_of, stream_events
from typer.testing import CliRunner

from routoo_core.errors import ConfigurationError
from routoo_core.testing import Reply
from routoo_integrations.cli import app
from routoo_integrations.gateway.app import Gateway, GatewayLimits
from routoo_integrations.gateway.server import GatewayServer

PATH = "/v1/completions"
BODY = {"model": "routoo", "prompt": "The capital of France is", "max_tokens": 20}


@pytest.fixture
def router(endpoint):
    return make_router(endpoint)


@pytest.fixture
def server(router):
    with GatewayServer(Gateway(router), port=0) as running:
        yield running


def test_openais_own_client_completes_a_text(server, endpoint, router):
    endpoint.replies["dear"] = Reply("Paris, of course.")
    with sdk_for(server) as client:
        reply = client.completions.create(**BODY, temperature=0.5)
        pieces = list(client.completions.create(**BODY, stream=True))
    assert reply.choices[0].text == "Paris, of course."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.object == "text_completion"
    assert reply.usage.completion_tokens == 3
    assert "".join(piece.choices[0].text for piece in pieces) == "Paris, of course."
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert pieces[-1].routoo["expert"] == "dear"
    sent = endpoint.requests[0]
    assert sent["messages"] == [{"role": "user", "content": BODY["prompt"]}]
    assert sent["temperature"] == 0.5
    assert "prompt" not in sent
    assert state_of(router).calls == 2


def test_usage_comes_where_it_is_asked_for(server):
    body = {**BODY, "stream_options": {"include_usage": True}}
    *events, done = stream_events(server, body, PATH)
    assert done.data == "[DONE]"
    assert json.loads(events[-1].data)["usage"]["completion_tokens"] == 4


def test_a_stream_whose_expert_dies_never_ends_cleanly(server, endpoint):
    endpoint.replies["dear"] = Reply("word " * 20, drop_after=3)
    events = stream_events(server, BODY, PATH)
    assert json.loads(events[-1].data)["error"]["code"] == "stream_interrupted"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": ["a", "b"]},
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2]]},
        {"prompt": ""},
        {"prompt": None},
        {"suffix": "end"},
        {"echo": True},
        {"best_of": 3},
        {"logprobs": 5},
    ],
)
def test_what_chat_has_no_form_for_is_refused(server, endpoint, router, change):
    reply = post(server, {**BODY, **change}, PATH)
    assert reply.status_code == 400
    assert next(iter(change)) in reply.json()["error"]["message"]
    assert endpoint.requests == []
    assert state_of(router).spent == 0


def test_embeddings_say_where_to_go(server):
    with sdk_for(server) as client, pytest.raises(openai.NotFoundError, match="own endpoint"):
        client.embeddings.create(model="routoo", input="x")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/chat/completions", "insufficient_quota"), ("/v1/messages", "billing_error")],
)
def test_no_money_may_be_402(endpoint, path, kind):
    limits = GatewayLimits(no_money_status=402)
    gateway = Gateway(make_router(endpoint, limit="0.0000001"), limits=limits)
    body = {"model": "routoo", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    with GatewayServer(gateway, port=0) as server:
        reply = post(server, body, path)
    assert reply.status_code == 402
    assert reply.json()["error"]["type"] == kind
    assert reply.json()["error"]["remaining_usd"] == "0.000000100"


def test_another_status_is_refused():
    result = CliRunner().invoke(app, ["serve", "--no-money", "500"])
    shown = result.output + str(result.exception)
    assert "no-money: 500" in shown
    assert result.exit_code or isinstance(result.exception, ConfigurationError)
