"""Whatever a caller sends, the gateway answers it or refuses it: it never fails, hangs, or charges for a refusal.

A few seconds here; ``make fuzz`` tries as many as it is told.
"""

import json
import os
import socket

import httpx
import pytest
from gateway_parts import HELLO, make_router
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.floats(allow_nan=False)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "messages model max_tokens max_completion_tokens n stream stream_options tools tool_choice functions",
        "response_format system input instructions max_output_tokens text reasoning metadata user stop seed",
        "logprobs parallel_tool_calls service_tier thinking output_config extra_body previous_response_id cache_control",
    ]
).flatmap(lambda names: st.sampled_from(names.split()))
TYPES = "text image image_url input_text input_image tool_use tool_result function_call function_call_output thinking"
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES.split()) | VALUES},
    optional=dict.fromkeys(
        (
            "text",
            "source",
            "image_url",
            "id",
            "tool_use_id",
            "content",
            "input",
            "call_id",
            "output",
        ),
        VALUES,
    ),
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool"]) | VALUES,
        "content": st.lists(PARTS | VALUES, max_size=3) | st.text(max_size=20) | VALUES,
        "type": st.sampled_from(TYPES.split()) | VALUES,
        "tool_calls": st.lists(PARTS | VALUES, max_size=2) | VALUES,
        "tool_call_id": VALUES,
        "expert": VALUES,
        "question": VALUES,
    },
)
PATHS = st.sampled_from(
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/responses",
        "/v1/decisions",
        "/v1/feedback",
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Routoo-Expert",
            "Routoo-Policy",
            "Routoo-Max-Cost",
            "Routoo-Account",
            "Routoo-Probes",
            "Routoo-Cache",
            "X-Api-Key",
        ]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12),
    max_size=2,
)


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def router(request, steady_endpoint, steady_claude):
    """The better expert speaks OpenAI's protocol, or Anthropic's."""
    if request.param == "openai":
        return make_router(steady_endpoint, limit="1000")
    settings = {"provider": "anthropic", "base_url": steady_claude.base_url}
    return make_router(steady_endpoint, limit="1000", dear_settings=settings)


@pytest.fixture(scope="module")
def server(router):
    with GatewayServer(Gateway(router), port=0) as running:
        yield running


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=100) as http:
        yield http


def check(client, server, router, steady_endpoint, steady_claude, path, body, headers):
    before = router.ledger.state(router.budget).spent
    answered = len(steady_endpoint.requests) + len(steady_claude.requests)
    response = client.post(f"{server.address}{path}", content=json.dumps(body), headers=headers)
    assert response.status_code in {200, 400, 404, 429}, (response.status_code, response.text)
    if response.status_code != 200:
        assert response.json()["error"]["message"]
        assert len(steady_endpoint.requests) + len(steady_claude.requests) == answered
        assert router.ledger.state(router.budget).spent == before


EXAMPLES = os.environ.get("ROUTOO_FUZZ_EXAMPLES")
FUZZ = settings(
    max_examples=int(EXAMPLES or 60),
    derandomize=EXAMPLES is None,  # the same requests in every run of the tests
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@FUZZ
@given(path=PATHS, fields=st.dictionaries(NAMES, VALUES, max_size=3), headers=HEADERS)
def test_any_fields_beside_a_sound_conversation(
    client, server, router, steady_endpoint, steady_claude, path, fields, headers
):
    sound = {"messages": HELLO, "input": "Hello", "prompt": "Hello"}
    body = {"model": "routoo", "max_tokens": 20, **sound, **fields}
    if path == "/v1/responses":
        del body["max_tokens"]
    check(client, server, router, steady_endpoint, steady_claude, path, body, headers)


@FUZZ
@given(path=PATHS, messages=st.lists(MESSAGES | VALUES, max_size=3), stream=st.booleans())
def test_any_messages(
    client, server, router, steady_endpoint, steady_claude, path, messages, stream
):
    body = {"model": "routoo", "messages": messages, "input": messages, "stream": stream}
    if path != "/v1/responses":
        body["max_tokens"] = 20
    check(client, server, router, steady_endpoint, steady_claude, path, body, {})


@FUZZ
@given(path=PATHS, tools=VALUES | st.lists(PARTS | VALUES, max_size=3), choice=VALUES | PARTS)
def test_any_tools(client, server, router, steady_endpoint, steady_claude, path, tools, choice):
    body = {
        "model": "routoo",
        "messages": HELLO,
        "input": "Hello",
        "tools": tools,
        "tool_choice": choice,
    }
    if path != "/v1/responses":
        body["max_tokens"] = 20
    check(client, server, router, steady_endpoint, steady_claude, path, body, {})


@FUZZ
@given(
    path=PATHS, data=st.binary(max_size=200), extra=st.sampled_from([b"", b"{", b'{"messages":'])
)
def test_any_bytes_as_a_body(client, server, router, steady_endpoint, path, data, extra):
    before = router.ledger.state(router.budget).spent
    response = client.post(f"{server.address}{path}", content=extra + data)
    assert response.status_code == 400, (response.status_code, response.text)
    assert response.json()["error"]["message"]
    assert router.ledger.state(router.budget).spent == before


HEADER_NAMES = st.sampled_from(
    [
        "Content-Length",
        "Transfer-Encoding",
        "Content-Type",
        "Host",
        "Expect",
        "Connection",
        "Upgrade",
    ]
) | st.text(st.characters(codec="latin-1"), max_size=10)
HEADER_VALUES = st.sampled_from(["0", "-1", "9" * 30, "chunked", "100-continue", "h2c"]) | st.text(
    st.characters(codec="latin-1"), max_size=20
)
METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "get", "\x00"])
TARGETS = st.sampled_from(
    [
        "/v1/chat/completions",
        "/v1/models",
        "/v1/decisions?text=%ff&max_tokens=\xb2",
        "*",
        "//",
        "/../x",
    ]
) | st.text(st.characters(codec="latin-1"), max_size=20)


@FUZZ
@given(
    method=METHODS,
    target=TARGETS,
    headers=st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=4),
    body=st.binary(max_size=50),
)
def test_any_bytes_on_the_wire(server, router, method, target, headers, body):
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers]
    request = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    before = router.ledger.state(router.budget).spent
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=100) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert status < 500, answer
    assert router.ledger.state(router.budget).spent == before
