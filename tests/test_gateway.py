"""The gateway over real sockets: OpenAI's own client, or plain HTTP, in front; a fake endpoint behind."""

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPResponse

import httpx
import openai
import pytest
from gateway_parts import (
    ABILITIES,
    HELLO,
    TOOL,
    make_router,
    sdk_for,
    state_of,
    stream_events,
)
from openai import OpenAI
from pydantic import BaseModel
from waiting import wait_until

from routoo_core import Pool
from routoo_core.config import build_router
from routoo_core.errors import ConfigurationError
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.gateway import server as gateway_server
from routoo_integrations.gateway.app import Gateway, GatewayLimits
from routoo_integrations.gateway.authors import Author, Authors, ReplyMemory, Utterance
from routoo_integrations.gateway.server import GatewayServer


@pytest.fixture
def router(endpoint):
    return make_router(endpoint)


@pytest.fixture
def server(router):
    with GatewayServer(Gateway(router), port=0) as running:
        yield running


@pytest.fixture
def client(server):
    with sdk_for(server) as sdk:
        yield sdk


# Whole replies


def test_a_reply_comes_from_the_best_expert_and_is_booked(client, router):
    reply = client.chat.completions.create(model="routoo", messages=HELLO)
    assert reply.choices[0].message.content == "The answer is four."
    assert reply.model == "dear"
    assert state_of(router).spent == (10 * 10 + 4 * 30) * 1000
    assert state_of(router).held == 0


def test_headers_say_who_answered_why_and_for_how_much(client):
    raw = client.chat.completions.with_raw_response.create(model="routoo", messages=HELLO)
    assert raw.headers["routoo-expert"] == "dear"
    assert raw.headers["routoo-quality"] == "0.9"
    assert float(raw.headers["routoo-expected-usd"]) > 0
    assert raw.headers["routoo-settled-usd"] == "0.000220000"
    assert raw.headers["routoo-remaining-usd"] == "0.099780000"
    assert "predicted quality 0.90" in raw.headers["routoo-why"]


def test_the_callers_body_goes_through_untouched(server, endpoint):
    body = {
        "model": "routoo",
        "messages": [
            {"role": "system", "content": "Be brief.", "name": "boss", "own_field": {"a": [1]}},
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {}}]},
            {"role": "assistant", "content": None, "reasoning_content": "…", "signature": "c2ln"},
            {"role": "user", "content": "And? \ud83d", "expert": "cheap"},
        ],
        "temperature": 0.5,
        "max_completion_tokens": 50,
        "metadata": {"trace": "t1"},
        "user": "u-1",
        "seed": None,
        "logprobs": True,
        "parallel_tool_calls": False,
        "tools": [{**TOOL, "own_field": 1}],
    }
    sent = json.dumps(body)  # the lone surrogate is an escape there
    response = httpx.post(f"{server.base_url}/chat/completions", content=sent)
    assert response.status_code == 200
    received = endpoint.requests[0]
    assert received.pop("model") == "dear"
    assert received.pop("max_tokens") == 50
    assert received == {
        name: value
        for name, value in body.items()
        if name not in {"model", "max_completion_tokens"}
    }


def test_the_expert_is_sent_a_limit_that_the_budget_pays_for(client, endpoint):
    client.chat.completions.create(model="routoo", messages=HELLO, max_tokens=9)
    client.chat.completions.create(model="routoo", messages=HELLO)
    assert [body["max_tokens"] for body in endpoint.requests] == [9, 256]


def test_an_argument_that_may_cost_more_is_refused_until_the_expert_allows_it(endpoint):
    body = {"model": "routoo", "messages": HELLO, "web_search_options": {}}
    with GatewayServer(Gateway(make_router(endpoint)), port=0) as server:
        refused = httpx.post(f"{server.base_url}/chat/completions", json=body)
    assert refused.status_code == 400
    assert "web_search_options" in refused.json()["error"]["message"]
    router = make_router(endpoint, settings={"pass_through": {"web_search_options"}})
    with GatewayServer(Gateway(router), port=0) as server:
        assert httpx.post(f"{server.base_url}/chat/completions", json=body).status_code == 200
    assert endpoint.requests[0]["web_search_options"] == {}


def test_several_replies_are_held_and_booked(client, router):
    reply = client.chat.completions.create(model="routoo", messages=HELLO, n=3)
    assert len(reply.choices) == 3
    assert state_of(router).spent == (10 * 10 + 12 * 30) * 1000


def test_images_go_to_an_expert_that_sees(client, endpoint):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]
    client.chat.completions.create(model="routoo", messages=messages)
    assert endpoint.requests[0]["messages"] == messages


def test_structured_replies_are_parsed_by_the_clients_own_helper(client, endpoint):
    class Sum(BaseModel):
        value: int

    endpoint.replies["dear"] = Reply('{"value":43}')
    reply = client.chat.completions.parse(model="routoo", messages=HELLO, response_format=Sum)
    assert reply.choices[0].message.parsed == Sum(value=43)
    assert endpoint.requests[0]["response_format"]["type"] == "json_schema"


# Streams


def test_a_stream_comes_in_pieces_and_its_last_chunk_carries_the_record(server, router):
    events = stream_events(server, {"model": "routoo", "messages": HELLO})
    assert events[-1].data == "[DONE]"
    chunks = [json.loads(event.data) for event in events[:-1]]
    said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert said == "The answer is four."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    record = chunks[-1]["routoo"]
    assert record["expert"] == "dear"
    assert record["total_usd"] == "0.000220000"
    assert record["remaining_usd"] == "0.099780000"
    assert not any("usage" in chunk for chunk in chunks)
    assert not any("routoo" in chunk for chunk in chunks[:-1])
    assert state_of(router).held == 0


def test_usage_is_always_asked_of_the_expert_and_handed_on_where_asked(server, endpoint):
    body = {"model": "routoo", "messages": HELLO, "stream_options": {"include_usage": True}}
    events = stream_events(server, body)
    last = json.loads(events[-2].data)
    assert last["usage"] == {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    assert last["choices"] == []
    assert last["routoo"]["expert"] == "dear"
    stream_events(server, {"model": "routoo", "messages": HELLO})
    assert [body["stream_options"] for body in endpoint.requests] == [{"include_usage": True}] * 2


@pytest.mark.parametrize("usage_at", ["finish", "every chunk"])
def test_usage_within_chunks_is_taken_out_where_it_was_not_asked_for(server, endpoint, usage_at):
    endpoint.replies["dear"] = Reply(usage_at=usage_at)
    events = stream_events(server, {"model": "routoo", "messages": HELLO})
    chunks = [json.loads(event.data) for event in events[:-1]]
    assert not any("usage" in chunk for chunk in chunks)
    assert chunks[-1]["routoo"]["settled_usd"] == "0.000220000"


def test_the_headers_of_a_stream_say_who_answers(server):
    body = {"model": "routoo", "messages": HELLO, "stream": True}
    with httpx.stream("POST", f"{server.base_url}/chat/completions", json=body) as response:
        assert response.headers["routoo-expert"] == "dear"
        assert "routoo-settled-usd" not in response.headers
        assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("death", [Reply(drop_after=2), Reply(error_after=2)])
def test_a_death_in_mid_stream_is_an_error_and_never_a_clean_end(server, endpoint, router, death):
    endpoint.replies["dear"] = death
    events = stream_events(server, {"model": "routoo", "messages": HELLO})
    assert json.loads(events[-1].data)["error"]["code"] == "stream_interrupted"
    assert all(event.data != "[DONE]" for event in events)
    wait_until(lambda: state_of(router).held == 0)


def test_the_clients_own_stream_helper_reports_a_death(client, endpoint):
    endpoint.replies["dear"] = Reply(drop_after=2)
    with pytest.raises(openai.APIError, match="failed while streaming"):
        for _ in client.chat.completions.create(model="routoo", messages=HELLO, stream=True):
            pass


def test_a_stream_that_is_left_is_booked_as_it_was_billed_and_leaves_no_hold(
    server, endpoint, router
):
    endpoint.replies["dear"] = Reply("word " * 40, word_delay_s=0.02)
    body = {"model": "routoo", "messages": HELLO, "stream": True}
    with httpx.stream("POST", f"{server.base_url}/chat/completions", json=body) as response:
        next(response.iter_bytes())
    wait_until(lambda: state_of(router).held == 0)
    billed = endpoint.bills[0].tokens
    assert billed.completion_tokens == 40  # read on for a while, off the caller's way
    assert state_of(router).spent == (10 * 10 + 40 * 30) * 1000


def test_a_stream_that_is_left_while_the_expert_is_silent_leaves_no_hold(server, endpoint, router):
    endpoint.replies["dear"] = Reply("word " * 40, hang_after=1)
    body = {"model": "routoo", "messages": HELLO, "stream": True}
    with httpx.stream("POST", f"{server.base_url}/chat/completions", json=body) as response:
        next(response.iter_bytes())
    wait_until(lambda: state_of(router).held == 0)
    assert state_of(router).spent > 0


# Failover


@pytest.mark.parametrize("failure", [Reply(status=500), Reply(drop_after=0), Reply(status=429)])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_failing_expert_is_replaced(client, endpoint, failure, streamed):
    endpoint.replies["dear"] = failure
    raw = client.chat.completions.with_raw_response.create(
        model="routoo", messages=HELLO, stream=streamed
    )
    assert raw.headers["routoo-expert"] == "cheap"
    assert "dear failed" in raw.headers["routoo-why"]
    raw.http_response.close()


def test_a_key_that_an_expert_quotes_reaches_nobody(endpoint, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-very-secret-key-0001")
    echo = {"message": "messages must not be empty (key sk-very-secret-key-0001)"}
    endpoint.replies["dear"] = Reply(status=400, error=echo)
    router = make_router(endpoint, settings={"api_key_env": "SOME_KEY"})
    with GatewayServer(Gateway(router), port=0) as server:
        body = {"model": "dear", "messages": HELLO}
        response = httpx.post(f"{server.base_url}/chat/completions", json=body)
    assert endpoint.headers[0]["authorization"] == "Bearer sk-very-secret-key-0001"
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "messages must not be empty (key ***)"


# Tools


def test_parallel_tool_calls_come_whole_and_the_loop_stays_with_their_expert(client, endpoint):
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Bern", "Rome")]
    endpoint.replies["cheap"] = Reply("", tool_calls=calls)
    reply = client.chat.completions.create(model="cheap", messages=HELLO, tools=[TOOL])
    message = reply.choices[0].message
    assert [call.id.rpartition(".")[2] for call in message.tool_calls] == ["routoo-cheap"] * 2

    endpoint.replies.clear()
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny"} for call in message.tool_calls
    ]
    history = [*HELLO, message.model_dump(exclude_none=True), *results]
    raw = client.chat.completions.with_raw_response.create(
        model="routoo", messages=history, tools=[TOOL]
    )
    assert raw.headers["routoo-expert"] == "cheap"
    sent = endpoint.requests[1]["messages"]
    own_ids = [call["id"] for call in sent[1]["tool_calls"]]
    assert own_ids == [message["tool_call_id"] for message in sent[2:]]
    assert not any("routoo" in own_id for own_id in own_ids)


def test_streamed_tool_calls_carry_their_expert_too(client, endpoint):
    endpoint.replies["dear"] = Reply("", tool_calls=[{"name": "weather", "arguments": {"a": 1}}])
    with client.chat.completions.stream(model="routoo", messages=HELLO, tools=[TOOL]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls[0].id.endswith(".routoo-dear")
    assert message.tool_calls[0].function.arguments == '{"a": 1}'


# Steering


def test_a_call_names_an_expert_or_a_policy_as_its_model(client):
    for model, expert in (("cheap", "cheap"), ("routoo/cheapest", "cheap"), ("routoo", "dear")):
        raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
        assert raw.headers["routoo-expert"] == expert


@pytest.mark.parametrize(
    "headers",
    [{"Routoo-Expert": "cheap"}, {"Routoo-Policy": "cheapest"}, {"Routoo-Max-Cost": "0.001"}],
)
def test_headers_steer_one_call(client, headers):
    raw = client.chat.completions.with_raw_response.create(
        model="routoo", messages=HELLO, max_tokens=50, extra_headers=headers
    )
    assert raw.headers["routoo-expert"] == "cheap"


def test_a_header_names_the_account_that_pays(client, router):
    raw = client.chat.completions.with_raw_response.create(
        model="routoo", messages=HELLO, extra_headers={"Routoo-Account": "alice"}
    )
    assert raw.headers["routoo-account"] == "alice"
    assert router.ledger.state(router.budget.for_account("alice")).spent > 0


def test_a_call_cannot_set_what_the_router_keeps_to_itself(endpoint):
    router = make_router(endpoint, overrides=())
    with GatewayServer(Gateway(router), port=0) as server, sdk_for(server) as client:
        for model in ("cheap", "routoo/cheapest"):
            with pytest.raises(openai.BadRequestError, match="lets a call set nothing"):
                client.chat.completions.create(model=model, messages=HELLO)
        names = [model.id for model in client.models.list()]
    assert names == ["routoo"]
    assert not endpoint.requests


def test_models_are_listed_with_prices_and_capabilities(client):
    models = {model.id: model.model_extra["routoo"] for model in client.models.list()}
    assert next(iter(models)) == "routoo"
    assert models["routoo/best"] == {"kind": "router", "policy": "best"}
    assert models["dear"]["output_usd_per_1m"] == "30"
    assert models["dear"]["capabilities"] == sorted(ABILITIES)
    assert "base_url" not in json.dumps(models)


def test_a_caller_cannot_name_an_address(server, endpoint):
    body = {"model": "routoo", "messages": HELLO, "base_url": "http://169.254.169.254/"}
    response = httpx.post(f"{server.base_url}/chat/completions", json=body)
    assert response.status_code == 400
    assert "base_url" in response.json()["error"]["message"]
    assert not endpoint.requests


# Refusals


def test_a_prompt_that_no_window_takes_is_refused_as_openai_refuses_it(client, router):
    messages = [{"role": "user", "content": "word " * 9000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="routoo", messages=messages)
    assert caught.value.code == "context_length_exceeded"
    assert state_of(router).spent == 0


def test_without_money_a_client_is_told_not_to_ask_again(endpoint):
    router = make_router(endpoint, limit="0.00001")
    with (
        GatewayServer(Gateway(router), port=0) as server,
        sdk_for(server, 3) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="routoo", messages=HELLO)
    error = caught.value
    assert error.code == "insufficient_quota"
    assert error.response.headers["x-should-retry"] == "false"
    assert error.body["remaining_usd"] == "0.000010000"
    assert error.body["resets"]
    assert not endpoint.requests


def test_when_all_experts_fail_the_status_is_503(client, endpoint):
    endpoint.replies.update({name: Reply(status=500) for name in ("cheap", "dear")})
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="routoo", messages=HELLO)
    assert caught.value.status_code == 503
    assert caught.value.code == "all_experts_failed"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": 5}]}, "messages[0].role"),
        ({"messages": HELLO, "n": 0}, "n"),
        ({"messages": HELLO, "max_tokens": "many"}, "max_tokens"),
        ({"messages": HELLO, "tools": {}}, "tools"),
        ({"messages": HELLO, "stream": "yes"}, "stream"),
        ({"messages": HELLO, "stream_options": [1]}, "stream_options"),
        ({"messages": HELLO, "response_format": "json"}, "response_format"),
        ({"messages": HELLO, "model": 7}, "model"),
        ([], "body"),
    ],
)
def test_a_malformed_body_is_refused_and_names_the_field(server, endpoint, router, body, field):
    response = httpx.post(f"{server.base_url}/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(field)
    assert not endpoint.requests
    assert state_of(router).spent == 0


@pytest.mark.parametrize("content", [b"", b"{", b'{"messages": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(server, content):
    response = httpx.post(f"{server.base_url}/chat/completions", content=content)
    assert response.status_code == 400


def test_a_model_that_nobody_has_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="name one of routoo, cheap, dear"):
        client.chat.completions.create(model="gpt-99", messages=HELLO)


def test_an_address_that_is_not_served_is_an_error_in_openais_form(server):
    response = httpx.get(f"{server.address}/v2/nothing")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "unknown_url"


# Bounds


def test_a_body_beyond_the_bound_is_refused(endpoint):
    limits = GatewayLimits(largest_body=1000)
    with GatewayServer(Gateway(make_router(endpoint), limits=limits), port=0) as server:
        url = f"{server.base_url}/chat/completions"
        assert httpx.post(url, content=b" " * 1001).status_code == 413
        pieces = (b" " * 600 for _ in range(3))  # without a declared length
        assert httpx.post(url, content=pieces).status_code == 413


def test_a_body_that_does_not_come_is_given_up(endpoint):
    limits = GatewayLimits(body_timeout_s=0.2)
    with GatewayServer(Gateway(make_router(endpoint), limits=limits), port=0) as server:
        host, _, port = server.address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"
            slow.sendall(head.encode())
            assert slow.recv(200).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("has_called_before", [False, True])
def test_a_head_that_does_not_come_is_given_up(server, monkeypatch, has_called_before):
    monkeypatch.setattr(gateway_server, "HEAD_TIMEOUT_S", 0.3)
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        if has_called_before:
            slow.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        slow.sendall(b"GET /health/live HTTP/1.1\r\nHo")
        rest = b""
        while data := slow.recv(1000):
            rest += data
    assert b"HTTP/1.1 200" not in rest


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 400_000,
        b"GET /" + b"x" * 400_000,
        b"X: y\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_head_beyond_the_bound_or_of_another_kind_is_refused(server, head):
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=100) as caller:
        with suppress(ConnectionError):  # it may be refused before it is sent
            caller.sendall(head)
        answer = b""
        with suppress(ConnectionError):
            while data := caller.recv(1000):
                answer += data
    assert answer.startswith(b"HTTP/1.1 400") or not answer


@pytest.mark.parametrize("is_split", [False, True])
def test_a_caller_that_offers_another_protocol_is_served_over_http_1(server, is_split):
    body = json.dumps({"model": "routoo", "messages": HELLO}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        f"Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    cut = len(head) + 5 if is_split else len(head + body)
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=100) as caller:
        for _ in range(2):
            caller.sendall((head + body)[:cut])
            time.sleep(0.05)
            caller.sendall((head + body)[cut:])
            response = HTTPResponse(caller)
            response.begin()
            reply = json.loads(response.read())
            assert reply["choices"][0]["message"]["content"] == "The answer is four."


def test_a_caller_that_does_not_read_its_stream_is_let_go(endpoint):
    endpoint.replies["dear"] = Reply("word " * 60_000)
    router = make_router(
        endpoint, limit=None, settings={"max_output_tokens": 60_000, "context_window": 90_000}
    )
    limits = GatewayLimits(send_timeout_s=0.3)
    with GatewayServer(Gateway(router, limits=limits), port=0) as server:
        host, _, port = server.address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as stalled:
            body = json.dumps({"model": "routoo", "messages": HELLO, "stream": True})
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
            stalled.sendall(f"{head}\r\n\r\n{body}".encode())
            wait_until(lambda: state_of(router).calls == 1)
            assert state_of(router).held == 0


# Many at once


def test_a_hundred_calls_at_once_stay_within_a_limit_for_eight(endpoint, tmp_path):
    endpoint.replies["cheap"] = Reply("word " * 50, bill=None, delay_s=0.05)
    router = make_router(endpoint, limit="0.0009", ledger=f"sqlite:///{tmp_path}/l.db")
    statuses = []

    def call(_):
        body = {"model": "cheap", "messages": HELLO, "max_tokens": 50}
        response = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=60)
        statuses.append(response.status_code)

    with GatewayServer(Gateway(router), port=0) as server, ThreadPoolExecutor(100) as threads:
        list(threads.map(call, range(100)))
    billed = sum(
        bill.tokens.prompt_tokens + bill.tokens.completion_tokens for bill in endpoint.bills
    )
    state = state_of(router)
    assert set(statuses) == {200, 429}
    assert state.spent == billed * 1000
    assert state.spent <= state.limit
    assert state.held == 0


# Running it


def test_it_says_whether_it_lives_and_is_ready(server):
    assert httpx.get(f"{server.address}/health/live").json() == {"status": "live"}
    assert httpx.get(f"{server.address}/health/ready").json() == {"status": "ready"}


def test_it_is_not_ready_without_its_ledger(endpoint, tmp_path):
    router = make_router(endpoint, ledger=f"sqlite:///{tmp_path}/l.db")
    with GatewayServer(Gateway(router), port=0) as server:
        router.ledger.close()
        response = httpx.get(f"{server.address}/health/ready")
        assert response.status_code == 503
        body = {"model": "routoo", "messages": HELLO}
        refused = httpx.post(f"{server.base_url}/chat/completions", json=body)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "ledger_failed"
    assert not endpoint.requests


def test_no_prompt_and_no_key_is_logged(server, endpoint, caplog):
    endpoint.replies["dear"] = Reply(body=b"\x00 not json")
    body = {"model": "routoo", "messages": [{"role": "user", "content": "my secret plan"}]}
    headers = {"Authorization": "Bearer private-key-1"}
    httpx.post(f"{server.base_url}/chat/completions", json=body, headers=headers)
    assert "secret plan" not in caplog.text
    assert "private-key-1" not in caplog.text


def test_a_pool_that_the_gateway_cannot_call_is_refused(endpoint):
    shared = {"input_usd_per_1m": 1, "output_usd_per_1m": 1}
    pool = Pool([endpoint.expert("gemini", provider="google_genai", **shared)])
    router = build_router(pool, router=FakePredictor({"gemini": 0.4}))
    with pytest.raises(ConfigurationError, match="have an address for OpenAI's"):
        Gateway(router)


def test_a_port_that_is_taken_is_named(server, router):
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} cannot be listened on"):
        GatewayServer(Gateway(router), port=port)


def test_the_command_serves_an_experts_toml(endpoint, tmp_path):
    (tmp_path / "experts.toml").write_text(
        f"""
        [experts."gpt-4o-mini"]
        base_url = "{endpoint.base_url}"
        input_usd_per_1m = 0.15
        output_usd_per_1m = 0.6
        """
    )
    command = [sys.executable, "-m", "routoo_core", "serve", "--config", "experts.toml"]
    options = ["--router", "general-fast", "--limit", "1.00", "--port", "0"]
    running = subprocess.Popen(
        [*command, *options], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        line = running.stdout.readline()
        base_url = line.split(" at ")[1].split()[0]
        deadline = time.monotonic() + 30
        with OpenAI(base_url=base_url, api_key="any", max_retries=8) as client:
            reply = client.chat.completions.create(model="routoo", messages=HELLO)
        assert reply.choices[0].message.content == "The answer is four."
        assert time.monotonic() < deadline
    finally:
        running.terminate()
        running.wait(100)
    assert (tmp_path / "routoo.db").exists()


def test_the_server_stops_its_thread(router):
    before = threading.active_count()
    with GatewayServer(Gateway(router), port=0):
        pass
    assert not any(thread.name == "routoo-gateway" for thread in threading.enumerate())
    assert threading.active_count() <= before + 1


# Conversations


def test_the_next_turn_of_a_conversation_is_recognised_without_a_mark(endpoint):
    quality = {"cheap": 0.895, "dear": 0.9}  # within the margin that a switch must beat
    router = make_router(endpoint, quality=quality, policy={"name": "best", "tie": 0.0})
    endpoint.replies.update({"cheap": Reply("Fine, thanks."), "dear": Reply("Very well.")})
    with GatewayServer(Gateway(router), port=0) as server, sdk_for(server) as client:
        for model, text in (("cheap", "Fine, thanks."), ("dear", "Very well.")):
            for streamed in (False, True):  # the same opening, by either of them
                opening = {"model": model, "messages": HELLO, "stream": streamed}
                answered = client.chat.completions.create(**opening)
                if streamed:
                    list(answered)
            turns = [
                *HELLO,
                {"role": "assistant", "content": text},
                {"role": "user", "content": "Please tell me a long story about a bear."},
            ]
            raw = client.chat.completions.with_raw_response.create(model="routoo", messages=turns)
            assert raw.headers["routoo-expert"] == model
            unknown = [{**turns[0]}, {"role": "assistant", "content": "Else."}, turns[2]]
            raw = client.chat.completions.with_raw_response.create(model="routoo", messages=unknown)
            assert raw.headers["routoo-expert"] == "dear"


def test_what_is_remembered_of_conversations_is_bounded():
    authors = Authors([], ReplyMemory(room=10))
    for number in range(30):
        authors.note_reply(Utterance("Hi", f"Reply {number}"), Author("cheap"))
    replies = [Utterance("Hi", "Reply 5"), Utterance("Hi", " Reply 29 ")]
    assert authors.of_replies(replies) == [None, Author("cheap")]
