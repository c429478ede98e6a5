"""Where a protocol has the name of a kind, a caller may send a list or an object: that is refused, and no fault of ours."""

from itertools import chain

import httpx
import pytest
from gateway_parts import HELLO, make_router
from provider_servers import AnthropicServer

from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer

ODD_NAMES = ([], {}, [{}], {"a": []}, 1, None, True)


def bodies(odd):
    """Calls that have something odd wherever a name is expected: path and body."""
    part = {"type": odd, "text": "Hi"}
    image = {"type": "image", "source": {"type": odd, "url": odd, "data": odd}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [part, image]}
    for content in ([part], [image], [result], [{"type": "tool_use", "id": odd, "name": odd}]):
        for role in ("user", "assistant", "tool", odd):
            messages = [*HELLO, {"role": role, "content": content}, *HELLO]
            yield "/v1/chat/completions", {"messages": messages}
            yield "/v1/messages", {"messages": messages, "max_tokens": 20}
            yield "/v1/messages/count_tokens", {"messages": messages}
            yield "/v1/responses", {"input": messages}
    for item in (part, image, {"type": "function_call", "call_id": odd, "name": odd}):
        yield "/v1/responses", {"input": [item, *HELLO]}
    chat = {"messages": HELLO, "input": HELLO, "max_tokens": 20}
    fields = {
        "tool_choice": [odd, {"type": odd}, {"type": "function", "function": odd}],
        "tools": [[{"type": odd}], [{"type": "function", "function": odd}], odd],
        "response_format": [odd, {"type": odd}],
        "text": [odd, {"format": {"type": odd}}],
        "reasoning": [odd, {"effort": odd}],
        "thinking": [odd, {"type": odd}],
        "system": [odd, [part]],
        "stop": [odd],
        "model": [odd],
        "service_tier": [odd],
        "output_config": [odd, {"effort": odd, "format": {"type": odd}}],
    }
    for name, values in fields.items():
        for value in values:
            for path in ("/v1/chat/completions", "/v1/messages"):
                yield path, {**chat, name: value}
            response = {field: chat[field] for field in ("input",)}
            yield "/v1/responses", {**response, name: value}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_odd_values_in_the_place_of_names_are_answered_or_refused(endpoint, provider):
    with AnthropicServer() as claude:
        is_anthropic = provider == "anthropic"
        dear = {"provider": "anthropic", "base_url": claude.base_url} if is_anthropic else {}
        router = make_router(endpoint, limit="1000", dear_settings=dear)
        with GatewayServer(Gateway(router), port=0) as server:
            faults = []
            with httpx.Client(base_url=server.address, timeout=20) as client:
                for path, body in chain.from_iterable(map(bodies, ODD_NAMES)):
                    response = client.post(path, json=body)
                    if response.status_code not in {200, 400, 404, 429}:
                        faults.append((path, body, response.status_code))
            assert not faults
        assert router.ledger.state(router.budget).held == 0
