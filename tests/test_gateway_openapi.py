"""The gateway's OpenAPI document, and requests that schemathesis makes of it: sound ones and broken ones.

A few seconds here; ``make fuzz`` tries as many as it is told.
"""

import os

import httpx
import pytest
import schemathesis
from gateway_parts import make_router
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.openapi import OPERATIONS, openapi_document
from routoo_integrations.gateway.server import GatewayServer

EXAMPLES = os.environ.get("ROUTOO_FUZZ_EXAMPLES")
TIMEOUT_S = 100
SCHEMA = schemathesis.openapi.from_dict(openapi_document())
load_all_checks()


@pytest.fixture(scope="module")
def router(steady_endpoint, steady_claude):
    """The cheap expert speaks OpenAI's protocol, the better one Anthropic's."""
    settings = {"provider": "anthropic", "base_url": steady_claude.base_url}
    return make_router(steady_endpoint, limit="1000000", dear_settings=settings)


@pytest.fixture(scope="module")
def server(router):
    with GatewayServer(Gateway(router), port=0) as running:
        yield running


def test_every_address_but_the_pages_is_described(server):
    served = set()
    for route in server.gateway.app().routes:
        for method in (route.methods or set()) - {"HEAD"}:
            served.add((method.lower(), route.path))
    of_page = {("get", "/")}
    described = {(operation.method, operation.path) for operation in OPERATIONS}
    assert described <= served
    api = {(method, path) for method, path in served if path.startswith(("/v1/", "/health/"))}
    assert api <= described | of_page


def test_the_document_is_served(server):
    document = httpx.get(f"{server.address}/openapi.json").json()
    assert document == openapi_document()


@SCHEMA.parametrize()
@settings(
    max_examples=int(EXAMPLES or 15),
    derandomize=EXAMPLES is None,  # the same requests in every run of the tests
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_request_is_answered_or_refused_in_its_form_and_no_refusal_is_charged(
    case, server, router, steady_endpoint, steady_claude
):
    spent = router.ledger.state(router.budget).spent
    asked = len(steady_endpoint.requests) + len(steady_claude.requests)
    response = case.call(base_url=server.address, timeout=TIMEOUT_S)
    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    case.validate_response(response, checks=checks)
    assert response.status_code < 500, response.text
    state = router.ledger.state(router.budget)
    if response.status_code != 200:
        assert (state.spent, len(steady_endpoint.requests) + len(steady_claude.requests)) == (
            spent,
            asked,
        )
    assert state.held == 0 or response.headers["content-type"].startswith("text/event-stream")
