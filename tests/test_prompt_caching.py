"""Prompt caching: middleware reaches Anthropic's models in a pool, and what a cache costs and saves is expected."""

from decimal import Decimal

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool

from routoo_core import Expert
from routoo_core.candidates import call_cost
from routoo_core.request import RoutedRequest
from routoo_core.testing import FakePredictor
from routoo_integrations.langchain import RoutooChatModel, RoutooPromptCaching

CACHED = {"type": "ephemeral"}
LONG = "word " * 3000


@tool
def search(q: str) -> str:
    """Search."""
    return q


def claude(server, name="claude-x"):
    return ChatAnthropic(
        model_name=name, base_url=server.base_url, api_key="x", max_tokens=100, max_retries=0
    )


def expert(name, client=None, **settings):
    prices = {"input_usd_per_1m": 1, "output_usd_per_1m": 1, "capabilities": {"tools"}}
    return Expert(name=name, model=name, client=client, **{**prices, **settings})


def agent_over(model):
    return create_agent(
        model, [search], system_prompt="Be kind.", middleware=[RoutooPromptCaching("1h")]
    )


def pool_of(anthropic, endpoint, **quality):
    experts = {
        "claude": expert("claude", claude(anthropic)),
        "other": endpoint.expert("other", capabilities={"tools"}),
    }
    return RoutooChatModel(FakePredictor(quality), experts, policy="best", max_tokens=100)


async def test_middleware_marks_calls_for_anthropics_models_alone(anthropic, endpoint):
    question = {"messages": [("human", "Who are you, please?")]}
    agent = agent_over(pool_of(anthropic, endpoint, claude=0.9, other=0.1))
    agent.invoke(question)
    await agent.ainvoke(question)
    for request in anthropic.requests:
        assert request["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert len(anthropic.requests) == 2

    agent_over(pool_of(anthropic, endpoint, claude=0.1, other=0.9)).invoke(question)
    (request,) = endpoint.requests
    assert "cache_control" not in request


def test_a_marked_call_is_sent_as_by_the_bare_model(anthropic, endpoint):
    bare = claude(anthropic)
    model = pool_of(anthropic, endpoint, claude=0.9, other=0.1)
    for each in (bare, model):
        each.bind_tools([search], cache_control=CACHED).invoke("Who are you, please?")
    first, second = anthropic.requests
    assert first == second
    assert model.router.ledger.state(model.router.budget).held == 0


# What a cache costs and saves

CLAUDE = expert("claude", cached_usd_per_1m=Decimal("0.1"), cache_write_usd_per_1m=Decimal("1.25"))
OTHER = expert("other", cached_usd_per_1m=Decimal("0.1"))


def expected_cost(an_expert, request):
    return call_cost(an_expert, request).expected


def conversation(answered_by=None, marks=False):
    part = {"type": "text", "text": LONG}
    if marks:
        part["cache_control"] = CACHED
    messages = [{"role": "user", "content": [part]}]
    if answered_by:
        messages.append({"role": "assistant", "content": "Yes.", "expert": answered_by})
        messages.append({"role": "user", "content": "And what follows from that, please?"})
    return RoutedRequest.from_messages(messages, max_tokens=1)


def test_a_first_call_pays_for_writing_the_cache_where_that_costs():
    unmarked = expected_cost(CLAUDE, conversation())
    assert expected_cost(CLAUDE, conversation(marks=True)) == pytest.approx(
        1.25 * unmarked, rel=0.01
    )
    assert expected_cost(OTHER, conversation(marks=True)) == expected_cost(OTHER, conversation())


def test_a_switch_that_loses_a_cache_pays_for_it():
    stays = conversation("claude", marks=True)
    leaves = conversation("other", marks=True)
    assert expected_cost(CLAUDE, stays) < 0.15 * expected_cost(CLAUDE, leaves)
    assert expected_cost(OTHER, leaves) < 0.15 * expected_cost(OTHER, stays)


def test_claude_caches_only_what_it_is_asked_to():
    request = conversation("claude")
    assert expected_cost(CLAUDE, request) == expected_cost(CLAUDE, conversation("other"))
    assert not request.caches_prompt


@pytest.mark.parametrize(
    "part",
    [{"cachePoint": {"type": "default"}}, {"type": "text", "text": "x", "cache_control": CACHED}],
)
def test_marks_are_seen_in_messages_and_in_arguments(part, anthropic):
    assert RoutedRequest.from_messages([{"role": "user", "content": [part]}]).caches_prompt
    model = RoutooChatModel(FakePredictor({"c": 1}), {"c": expert("c", claude(anthropic))})
    assert model.routed_request([], {"cache_control": CACHED}).caches_prompt
    assert not model.routed_request([], {}).caches_prompt


def test_the_most_that_is_held_covers_a_cache_that_is_written():
    cost = call_cost(CLAUDE, conversation(marks=True))
    assert cost.expected < cost.maximum
