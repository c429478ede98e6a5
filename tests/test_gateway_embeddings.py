"""Embeddings at the gateway: passed on untouched, and paid for by the key's account like any call."""

import base64
import struct

import httpx
import openai
import pytest
from gateway_parts import bearer, make_router, post, sdk_for, state_of, team_router
from langchain_openai import OpenAIEmbeddings
from typer.testing import CliRunner

from routoo_core import Budget
from routoo_core.errors import ConfigurationError
from routoo_core.testing import Reply
from routoo_integrations.cli import app
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.embeddings import read_embeddings
from routoo_integrations.gateway.keys import KeyTerms
from routoo_integrations.gateway.server import GatewayServer

PATH = "/v1/embeddings"
NAME = "text-embedding-3-small"
BODY = {"model": NAME, "input": "one two three"}


def endpoints(endpoint, router, **settings):
    table = {"base_url": endpoint.base_url, "input_usd_per_1m": "20", "model": "small", **settings}
    return read_embeddings("x", {NAME: table}, router.pool)


def serve(endpoint, router, keys=None, **settings):
    pool = endpoints(endpoint, router, **settings)
    return GatewayServer(Gateway(router, keys, embeddings=pool), port=0)


@pytest.fixture
def router(endpoint):
    return team_router(endpoint)


@pytest.fixture
def server(endpoint, router, keys):
    with serve(endpoint, router, keys) as running:
        yield running


@pytest.mark.parametrize("form", ["float", "base64"])
def test_openais_own_client_gets_the_endpoints_vectors(server, endpoint, form, router):
    with sdk_for(server) as client:
        reply = client.embeddings.create(**BODY, encoding_format=form, dimensions=3)
    assert endpoint.paths == ["/v1/embeddings"]
    assert endpoint.requests == [
        {**BODY, "model": "small", "encoding_format": form, "dimensions": 3}
    ]
    vector = reply.data[0].embedding
    if form == "base64":
        vector = struct.unpack("<3f", base64.b64decode(vector))
    assert len(vector) == 3
    assert reply.usage.prompt_tokens == 3
    assert state_of(router).spent == 60_000
    assert state_of(router).held == 0


def test_the_reply_passes_byte_for_byte_with_what_it_cost(server, endpoint):
    bare = httpx.post(f"{endpoint.base_url}/embeddings", json={**BODY, "model": "small"})
    reply = post(server, BODY, PATH)
    assert reply.content == bare.content
    assert reply.headers["routoo-settled-usd"] == "0.000060000"
    assert reply.headers["routoo-expert"] == NAME
    assert "routoo-why" not in reply.headers


def test_langchains_embeddings_work(server):
    options = {"base_url": server.base_url, "api_key": "any"}
    vectors = OpenAIEmbeddings(model=NAME, check_embedding_ctx_length=False, **options)
    documents = vectors.embed_documents(["one two", "three"])
    assert [len(vector) for vector in documents] == [4, 4]
    assert vectors.embed_query("three") == documents[1]


@pytest.mark.parametrize(
    "given", ["one two", ["one", "two three"], [1, 2, 3], [[1, 2], [3, 4, 5]], ["日本語" * 50]]
)
def test_no_more_is_billed_than_was_held(server, given):
    reply = post(server, {"model": NAME, "input": given}, PATH)
    assert reply.status_code == 200
    assert float(reply.headers["routoo-settled-usd"]) <= float(reply.headers["routoo-held-usd"])


def test_usage_that_is_not_reported_is_estimated(server, endpoint, router):
    endpoint.replies["small"] = Reply(report_usage=False)
    assert post(server, BODY, PATH).status_code == 200
    assert state_of(router).spent == 60_000


# Money, keys and limits


def test_the_keys_account_pays_and_is_refused_when_it_cannot(server, keys, endpoint, router):
    alice = keys.create("alice", KeyTerms(limit="0.001"))
    assert post(server, BODY, PATH).status_code == 401
    assert post(server, BODY, PATH, headers=bearer(alice)).status_code == 200
    spent = {state.account: state.spent for state in router.ledger.accounts()}
    assert spent == {"alice": 60_000, "team": 60_000}
    calls = len(endpoint.requests)
    refused = post(server, {**BODY, "input": "word " * 100}, PATH, headers=bearer(alice))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "insufficient_quota"
    assert len(endpoint.requests) == calls


def test_a_key_for_some_experts_alone_has_embeddings_where_they_are_named(server, keys):
    chat = keys.create("chat", KeyTerms(experts=("cheap",)))
    both = keys.create("both", KeyTerms(experts=("cheap", "text-*")))
    refused = post(server, BODY, PATH, headers=bearer(chat))
    assert refused.status_code == 404
    assert NAME not in refused.json()["error"]["message"].partition("name one of")[2]
    assert post(server, BODY, PATH, headers=bearer(both)).status_code == 200
    for key, is_listed in ((chat, False), (both, True)):
        with sdk_for(server, api_key=key) as client:
            assert (NAME in [model.id for model in client.models.list()]) is is_listed


def test_an_account_within_the_keys_own_may_pay(server, keys, router):
    key = keys.create("alice", KeyTerms(accounts=("alice-*",)))
    headers = {**bearer(key), "Routoo-Account": "alice-phone"}
    assert post(server, BODY, PATH, headers=headers).status_code == 200
    assert post(server, BODY, PATH, headers={**headers, "Routoo-Account": "bob"}).status_code == 403
    assert "alice-phone" in {state.account for state in router.ledger.accounts()}


def test_a_call_may_say_what_it_may_cost(server, endpoint):
    refused = post(server, BODY, PATH, headers={"Routoo-Max-Cost": "0.0000001"})
    assert refused.status_code == 400
    assert "a price of at most" in refused.json()["error"]["message"]
    assert endpoint.requests == []


def test_without_leave_a_call_names_no_account(endpoint, keys):
    budget = Budget(account="team", limit="1")
    router = make_router(endpoint, budget=budget, overrides=("expert",))
    with serve(endpoint, router, keys) as server:
        reply = post(server, BODY, PATH, headers={"Routoo-Account": "team"})
    assert reply.status_code == 400


def test_an_endpoint_that_fails_costs_nothing(server, endpoint, router):
    endpoint.replies["small"] = Reply(status=500)
    reply = post(server, BODY, PATH)
    assert reply.status_code == 503
    assert state_of(router).spent == state_of(router).held == 0


# What is refused


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"input": None}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": [{"image": "x"}]}, 400, "input[0]"),
        ({"input": [True]}, 400, "input[0]"),
        ({"model": "routoo"}, 404, "unknown"),
        ({"model": 5}, 404, "unknown"),
        ({"messages": [{"role": "user", "content": "x" * 1000}]}, 400, "'messages'"),
    ],
)
def test_what_cannot_be_served_is_refused_and_named(server, endpoint, change, status, words):
    reply = post(server, {**BODY, **change}, PATH)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]
    assert endpoint.requests == []


def test_a_chat_cannot_name_embeddings(server):
    with sdk_for(server) as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("e", {"base_url": "http://h/v1"}, "x.e: input_usd_per_1m: missing"),
        ("e", {"input_usd_per_1m": "1", "sise": 3}, "x.e: sise: unknown key"),
        ("e", {"input_usd_per_1m": "-1"}, "x.e: input_usd_per_1m"),
        ("e", 5, "x.e: write it as a table"),
        ("cheap", {"input_usd_per_1m": "1"}, "an expert has this name"),
        ("e", {"input_usd_per_1m": "1", "provider": "anthropic"}, "has no embeddings"),
        ("e", {"input_usd_per_1m": "1", "api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set"),
    ],
)
def test_settings_that_are_wrong_are_named(router, name, table, words):
    with pytest.raises(ConfigurationError, match=words):
        read_embeddings("x", {name: table}, router.pool)


def test_a_key_may_be_for_embeddings_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "routoo.toml").write_text(
        'router = "general-fast"\n[budgets.team]\nlimit = "9"\n'
        '[gateway.embeddings."small"]\nbase_url = "http://127.0.0.1:1/v1"\ninput_usd_per_1m = 0\n'
    )
    (tmp_path / "experts.toml").write_text('[experts."gpt-4o"]\n')
    made = CliRunner().invoke(app, ["key", "create", "a", "--experts", "small"])
    assert made.exit_code == 0, made.output
    refused = CliRunner().invoke(app, ["key", "create", "b", "--experts", "large"])
    assert "small" in refused.output + str(refused.exception)
