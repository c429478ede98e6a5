"""The gateway under load: two hundred streams at once in each protocol, a hundred calls at once on a limit for eight."""

import gateway_load as load
import pytest
from gateway_parts import make_router, state_of
from provider_servers import AnthropicServer
from test_gateway_workers import serving, write_experts
from waiting import wait_until

from routoo_core.budget.sqlite import SqliteLedger
from routoo_core.testing import Reply
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.key_file import KeyFile
from routoo_integrations.gateway.keys import KeyStore, KeyTerms
from routoo_integrations.gateway.server import GatewayServer

STREAMS = 200
CALLS = 100
EIGHT_CALLS = "0.00024"
"""USD of eight calls with a prompt of 10 tokens and a reply of 20, a dollar a million."""
ACCOUNTS = f"""
router = "general-fast"
experts = "experts.toml"
[budget]
ledger = "sqlite:///routoo.db"
[budgets.whole]
limit = "0.00072"
[budgets.team]
within = "whole"
limit = "{EIGHT_CALLS}"
"""


@pytest.fixture
def claude():
    with AnthropicServer() as running:
        yield running


def billed(router, *endpoints):
    """What all stand-ins billed, nano-USD."""
    total = 0
    for endpoint in endpoints:
        for bill in endpoint.bills:
            total += router.pool[bill.model].cost(bill.tokens)
    return total


# Streams


@pytest.mark.parametrize(
    ("caller", "provider"),
    [
        ("chat", "openai"),
        ("responses", "openai"),
        ("messages", "openai"),
        ("messages", "anthropic"),
    ],
)
async def test_two_hundred_streams_end_as_their_protocol_says_and_are_booked_as_billed(
    endpoint, claude, tmp_path, caller, provider
):
    endpoint.replies.update(dict.fromkeys(("cheap", "dear"), load.openai_reply))
    claude.replies["dear"] = load.anthropic_reply
    is_anthropic = provider == "anthropic"
    dear = {"provider": "anthropic", "base_url": claude.base_url} if is_anthropic else {}
    router = make_router(
        endpoint, limit="100", ledger=f"sqlite:///{tmp_path}/l.db", dear_settings=dear
    )
    with GatewayServer(Gateway(router), port=0) as server:
        endings = await load.stream_all(server.address, load.CALLERS[caller], STREAMS)
        wait_until(lambda: state_of(router).held == 0)
    assert endings == [load.expected_ending(number) for number in range(STREAMS)]
    assert len(endpoint.bills) + len(claude.bills) == STREAMS
    assert state_of(router).spent == billed(router, endpoint, claude)
    assert not router.settlements.journal.settlements()


# Calls at once on a limit


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_hundred_calls_at_once_stay_within_the_limits_of_keys_teams_and_the_whole(
    endpoint, tmp_path, workers
):
    endpoint.replies["gpt-4o"] = Reply("word " * 20, delay_s=0.05)
    write_experts(tmp_path, endpoint)
    (tmp_path / "routoo.toml").write_text(ACCOUNTS)
    keys = KeyStore(KeyFile(tmp_path / "routoo.keys.db"))

    def key_of(account, **terms):
        return {"Authorization": f"Bearer {keys.create(account, KeyTerms(**terms))}"}

    solo = [key_of("solo", within="whole", limit=EIGHT_CALLS)]
    pair = [key_of("anna", within="team"), key_of("ben", within="team")]
    rest = [key_of("rest", within="whole")]
    ledger = SqliteLedger(str(tmp_path / "routoo.db"))
    chat = load.CALLERS["chat"]
    answered = 0
    with serving(tmp_path, workers, config="routoo.toml") as (_, base_url):
        address = base_url.removesuffix("/v1")
        for callers, bound in ((solo, "solo"), (pair, "team"), (rest, "whole")):
            statuses = await load.call_all(address, chat, callers, CALLS)
            assert set(statuses) == {200, 429}
            states = {state.account: state for state in ledger.accounts()}
            assert 0 < states[bound].spent <= states[bound].limit
            assert states[bound].held == 0
            answered += statuses.count(200)
            assert states["whole"].spent == 30_000 * answered
    assert states["whole"].spent == 30_000 * len(endpoint.bills)
    members = [states[name].spent for name in ("anna", "ben") if name in states]
    assert sum(members) == states["team"].spent
