"""Callers of streams that say nothing for long, above all of replies that are checked before any of them is shown."""

import json
import socket

import httpx
import pytest
from gateway_parts import HELLO, events_of, make_router, state_of
from waiting import wait_until

from routoo_core.testing import Reply
from routoo_integrations.gateway.app import Gateway, GatewayLimits
from routoo_integrations.gateway.server import GatewayServer

TIMEOUT_S = 100
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
CHECKED = {
    "/v1/chat/completions": {
        "messages": HELLO,
        "response_format": {"type": "json_schema", "json_schema": {"name": "S", "schema": SCHEMA}},
    },
    "/v1/responses": {
        "input": HELLO,
        "text": {"format": {"type": "json_schema", "name": "S", "schema": SCHEMA}},
    },
    "/v1/messages": {
        "messages": HELLO,
        "max_tokens": 50,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    },
}
SIGNS = {
    "/v1/chat/completions": b": keep-alive\n\n",
    "/v1/responses": b": keep-alive\n\n",
    "/v1/messages": b'event: ping\ndata: {"type":"ping"}\n\n',
}
ENDS = {
    "/v1/chat/completions": "[DONE]",
    "/v1/responses": "response.completed",
    "/v1/messages": "message_stop",
}


@pytest.fixture
def router(endpoint):
    return make_router(endpoint)


@pytest.fixture
def server(router):
    limits = GatewayLimits(silence_s=0.1)
    with GatewayServer(Gateway(router, limits=limits), port=0) as running:
        yield running


def body_of(path):
    return {"model": "routoo", "stream": True, **CHECKED[path]}


def read(server, path, body):
    with httpx.stream("POST", f"{server.address}{path}", json=body, timeout=TIMEOUT_S) as response:
        return response, b"".join(response.iter_bytes())


@pytest.mark.parametrize("path", CHECKED)
def test_a_caller_of_a_reply_that_is_held_back_gets_signs_of_life(server, endpoint, path):
    endpoint.replies["dear"] = Reply('{"sum": 4}', word_delay_s=0.5)
    response, content = read(server, path, body_of(path))
    assert response.status_code == 200
    assert response.headers["routoo-call"]
    assert "routoo-expert" not in response.headers  # nobody knew it when the head was sent
    first, sign, rest = content.partition(SIGNS[path])
    assert (first, sign) == (b"", SIGNS[path])
    events = events_of(httpx.Response(200, content=rest))
    assert ENDS[path] in (events[-1].name or events[-1].data)
    assert '"total_usd"' in "".join(event.data for event in events)
    assert "sum" in "".join(event.data for event in events)


@pytest.mark.parametrize("path", CHECKED)
def test_what_fails_after_a_sign_of_life_is_said_by_the_stream(server, endpoint, router, path):
    for name in ("cheap", "dear"):
        endpoint.replies[name] = Reply(status=500, delay_s=0.5)
    response, content = read(server, path, body_of(path))
    assert response.status_code == 200
    assert b"all_experts_failed" in content
    assert ENDS[path].encode() not in content
    assert httpx.get(f"{server.address}/metrics").text.count('code="all_experts_failed"') >= 1
    assert "503 all_experts_failed" in httpx.get(f"{server.address}/").text
    assert state_of(router).held == 0


def test_what_fails_before_any_sign_of_life_has_its_status(endpoint, router):
    for name in ("cheap", "dear"):
        endpoint.replies[name] = Reply(status=500)
    with GatewayServer(Gateway(router), port=0) as server:
        for path in CHECKED:
            response, content = read(server, path, body_of(path))
            assert response.status_code == 503
            assert json.loads(content)["error"]["code"] == "all_experts_failed"


def test_openais_client_passes_over_the_signs(server, endpoint):
    from openai import OpenAI

    endpoint.replies["dear"] = Reply('{"sum": 4}', word_delay_s=0.3)
    with OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
        stream = client.chat.completions.create(**body_of("/v1/chat/completions"))
        text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    assert json.loads(text) == {"sum": 4}


def test_anthropics_client_passes_over_the_signs(server, endpoint):
    from anthropic import Anthropic

    endpoint.replies["dear"] = Reply("The answer is four.", delay_s=0.5)
    claude = Anthropic(base_url=server.address, api_key="any", max_retries=0)
    with claude.messages.stream(model="routoo", max_tokens=50, messages=HELLO) as stream:
        assert stream.get_final_text() == "The answer is four."


@pytest.mark.parametrize("is_checked", [True, False])
def test_a_caller_who_leaves_before_the_first_piece_lets_go_of_the_expert(
    server, endpoint, router, is_checked
):
    endpoint.replies["dear"] = Reply('{"sum": 4}', hang_after=0)
    body = body_of("/v1/chat/completions")
    if not is_checked:
        del body["response_format"]
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode()
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as caller:
        caller.sendall(head + content)
        assert caller.recv(1000).startswith(b"HTTP/1.1 200")  # the head of a sign of life
        wait_until(lambda: len(endpoint.requests) == 1, TIMEOUT_S)
        assert state_of(router).held > 0
    wait_until(lambda: state_of(router).held == 0, TIMEOUT_S)
    assert state_of(router).calls == 1
    assert len(endpoint.requests) == 1  # nobody else was asked, as after a time-out
