"""What fails before a byte is sent costs nothing, and ends in an error of ours."""

import httpx
import pytest
from eight_ways import WAYS, answer, call, model_for

from routoo_core import Expert
from routoo_core.errors import ConfigurationError, InvalidRequest, RoutooError
from routoo_core.failures import read_failure
from routoo_core.testing import Reply

IN_EVERY_WAY = pytest.mark.parametrize("way", WAYS)
CYCLE = []
CYCLE.append(CYCLE)
UNSENDABLE = {
    "an unknown argument": {"foo": 1},
    "a set": {"user": {1, 2}},
    "no number": {"seed": float("nan")},
    "an infinite number": {"top_p": float("inf")},
    "an object among stop sequences": {"stop": ["x", object()]},
    "a key that is no text": {"logit_bias": {(1, 2): 3}},
    "an object as a tool": {"tools": [object()]},
    "a text as a tool": {"tools": ["add"]},
}


@IN_EVERY_WAY
@pytest.mark.parametrize("kind", UNSENDABLE)
async def test_a_call_that_cannot_be_written_costs_nothing(endpoint, make_router, way, kind):
    router = make_router()
    with pytest.raises(RoutooError):
        await answer(way, model_for(way, router), "What is 2 + 2?", **UNSENDABLE[kind])
    state = router.ledger.state(router.budget)
    assert (state.spent, state.held, endpoint.bills) == (0, 0, [])


@IN_EVERY_WAY
async def test_a_value_that_json_cannot_say_is_named(make_router, way):
    model = model_for(way, make_router())
    with pytest.raises(InvalidRequest, match="type set"):
        await answer(way, model, "What is 2 + 2?", user={1, 2})


@pytest.mark.parametrize(
    "address", ["ht!tp://host", "host/v1", "http://[::1", "http://host:port", "http://", "/v1", ""]
)
def test_an_address_that_cannot_be_called_is_refused(address):
    with pytest.raises(ConfigurationError, match="base_url"):
        Expert(name="a", model="a", base_url=address, input_usd_per_1m=1, output_usd_per_1m=1)


@pytest.mark.parametrize(
    "error", [httpx.UnsupportedProtocol("no"), httpx.LocalProtocolError("illegal header value")]
)
def test_what_a_client_refuses_to_send_was_not_billed(error):
    assert not read_failure(error).may_be_billed


@IN_EVERY_WAY
async def test_a_reply_that_is_no_unicode_was_billed(endpoint, make_router, way):
    endpoint.replies["dear"] = Reply(body=b'{"choices": [{"message": "\xff\xfe"}]}')
    router = make_router()
    ending = await call(way, router)
    assert ending.expert == "cheap"
    assert ending.booked >= 10 * 10_000
