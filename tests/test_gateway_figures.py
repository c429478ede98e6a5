"""What the gateway tells without a call: who would answer and why, and its figures for Prometheus."""

import httpx
import pytest
from gateway_parts import HELLO, make_router, post, state_of, stream_events
from prometheus_client.parser import text_string_to_metric_families

from routoo_core import Budget
from routoo_core.testing import Reply
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore, KeyTerms
from routoo_integrations.gateway.server import GatewayServer

BODY = {"model": "routoo", "messages": HELLO}


@pytest.fixture
def router(endpoint):
    return make_router(endpoint, budget=Budget(account="team", limit="0.10"))


@pytest.fixture
def keys(tmp_path):
    return KeyStore(KeyFile(tmp_path / "keys.db"))


@pytest.fixture
def server(router, keys):
    with GatewayServer(Gateway(router, keys), port=0) as running:
        yield running


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def figures(server, **options):
    """Name and labels → value."""
    response = httpx.get(f"{server.address}/metrics", **options)
    assert response.status_code == 200
    values = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            values[sample.name, *sorted(sample.labels.values())] = sample.value
    return values


# Decisions


def test_a_decision_names_every_expert_and_calls_nobody(server, endpoint, router):
    url = f"{server.base_url}/decisions"
    decision = httpx.get(url, params={"text": "What is 17 + 26?", "max_tokens": "50"}).json()
    assert [candidate["expert"] for candidate in decision["candidates"]] == ["dear", "cheap"]
    assert decision["candidates"][0]["quality"] == 0.9
    assert decision["preview"]["would_ask"] == "dear"
    assert "predicted quality 0.90" in decision["why"]
    assert not endpoint.requests
    assert state_of(router).held == state_of(router).spent == 0


def test_a_decision_of_a_posted_chat_is_that_of_its_call(server, endpoint):
    url = f"{server.base_url}/decisions"
    for body in (BODY, {"text": "What is 17 + 26?"}):
        assert httpx.post(url, json=body).json()["expert"] == "dear"
    cheapest = {**BODY, "model": "routoo/cheapest"}
    assert httpx.post(url, json=cheapest).json()["expert"] == "cheap"
    steered = httpx.post(url, json=BODY, headers={"Routoo-Expert": "cheap"}).json()
    assert [candidate["expert"] for candidate in steered["candidates"]] == ["cheap"]


@pytest.mark.parametrize("parameters", [{}, {"text": ""}, {"text": "Hi", "max_tokens": "-1"}])
def test_a_question_without_a_text_is_refused(server, parameters):
    response = httpx.get(f"{server.base_url}/decisions", params=parameters)
    assert response.status_code == 400


def test_a_key_sees_the_decision_and_the_money_of_its_own_account(server, keys):
    key = keys.create("alice", KeyTerms(limit="0.05", experts=("cheap",)))
    url = f"{server.base_url}/decisions"
    assert httpx.get(url, params={"text": "Hi"}).status_code == 401
    decision = httpx.get(url, params={"text": "Hi"}, headers=bearer(key)).json()
    assert [candidate["expert"] for candidate in decision["candidates"]] == ["cheap"]
    assert [account["account"] for account in decision["preview"]["accounts"]] == ["alice"]


def test_a_key_is_not_told_the_figures_of_its_team(endpoint, keys):
    router = make_router(endpoint, budget=Budget(account="team", limit="0.00001"))
    key = keys.create("alice", KeyTerms(limit="5"))
    with GatewayServer(Gateway(router, keys), port=0) as server:
        refused = post(server, BODY, headers=bearer(key))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "insufficient_quota"
    assert "team" not in refused.text
    assert "0.00001" not in refused.text


# Figures


def test_calls_tokens_and_money_are_counted(server, endpoint):
    endpoint.replies["dear"] = Reply(status=500)
    post(server, BODY)
    endpoint.replies.clear()
    post(server, {**BODY, "model": "cheap"})
    stream_events(server, {**BODY, "model": "cheap"})
    post(server, {**BODY, "model": "nobody"})
    values = figures(server)
    assert values["routoo_calls_total", "dear", "failed", "team"] == 1
    assert values["routoo_calls_total", "answered", "cheap", "team"] == 3
    assert values["routoo_tokens_total", "cheap", "completion", "team"] == 12
    assert values["routoo_tokens_total", "cheap", "prompt", "team"] == 30
    assert values["routoo_usd_total", "cheap", "team"] == pytest.approx(42e-6)
    assert values["routoo_remaining_usd", "team"] == pytest.approx(0.1 - 42e-6)
    assert values["routoo_refusals_total", "model_not_found"] == 1
    assert values["routoo_reply_seconds_count",] == 2
    assert values["routoo_first_event_seconds_count",] == 1


def test_an_expert_that_cools_down_is_shown(server, endpoint):
    endpoint.replies["dear"] = Reply(status=429, headers={"Retry-After": "60"})
    for _ in range(4):
        post(server, BODY)
    values = figures(server)
    assert values["routoo_expert_cooling_down", "dear"] == 1
    assert values["routoo_expert_cooling_down", "cheap"] == 0


def test_figures_are_for_an_administrators_key(server, keys):
    alice = keys.create("alice", KeyTerms())
    ops = keys.create("ops", KeyTerms(is_admin=True))
    address = f"{server.address}/metrics"
    assert httpx.get(address).status_code == 401
    assert httpx.get(address, headers=bearer(alice)).status_code == 403
    assert figures(server, headers=bearer(ops))


def test_names_that_callers_invent_do_not_fill_the_memory(server):
    metrics = server.gateway.metrics
    labels = {metrics._label(f"account-{number}") for number in range(3000)}
    assert len(labels) == 1001
