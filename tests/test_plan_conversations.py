"""Conversations that a plan answers: the next turn stays with it, as it would stay with an expert."""

import httpx
import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage
from ways import LANGCHAIN_WAYS, LLAMA_INDEX_WAYS, record_of

from routoo_core import Budget, Pool, RoutedRequest
from routoo_core.config import build_router
from routoo_core.plans import Consensus
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.gateway.app import Gateway
from routoo_integrations.gateway.server import GatewayServer
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.llama_index import RoutooLLM

FIRST = "How many legs do three spiders and two cats have together? Reply with the number."
SECOND = "And how many legs do five ants and a dog have together? Reply with the number."
PAIR = Consensus(name="pair", experts=("left", "right"), then="dear", compare="number")
STORY = "A fox went into the wood and met a badger who was looking for his hat. " * 120


@pytest.fixture
def router(endpoint):
    """The dear expert is a little better than the plan, but by less than the switch margin."""
    for name in ("left", "right", "dear"):
        endpoint.replies[name] = Reply("It is 32.")
    experts = []
    for name in ("left", "right", "dear"):
        settings = {"capabilities": {"tools"}, "max_output_tokens": 256, "context_window": 20_000}
        experts.append(endpoint.expert(name, cached_usd_per_1m=0.1, **settings))
    return build_router(
        Pool(experts),
        router=FakePredictor({"left": 0.6, "right": 0.6, "dear": 0.91, "pair": 0.9}),
        policy={"name": "best", "tie": 0},
        budget=Budget(limit="1"),
        plans=[PAIR],
    )


def conversation(story="", **author):
    return [
        {"role": "user", "content": f"{story}{FIRST}"},
        {"role": "assistant", "content": "It is 32.", **author},
        {"role": "user", "content": SECOND},
    ]


def first_candidate(router, messages, **settings):
    return router.decide(RoutedRequest.from_messages(messages, **settings)).candidates[0].name


def test_another_candidate_must_beat_the_plan_of_the_last_turn_by_the_margin(router):
    assert first_candidate(router, conversation()) == "dear"
    assert first_candidate(router, conversation(expert="left", plan="pair")) == "pair"
    router.switch_margin = 0.0
    assert first_candidate(router, conversation(expert="left", plan="pair")) == "dear"


def test_a_turn_that_the_plan_cannot_serve_stays_with_its_expert(router):
    """The same margin, now of the expert whose reply it was: nobody else is better by so much."""
    router.switch_margin = 0.4
    messages = conversation(expert="left", plan="pair")
    tool = {"type": "function", "function": {"name": "count", "parameters": {}}}
    assert first_candidate(router, messages, tools=[tool]) == "left"


def test_a_plan_that_is_not_offered_any_more_leaves_the_margin_to_the_expert(router):
    router.switch_margin = 0.4
    assert first_candidate(router, conversation(expert="left", plan="gone")) == "left"


def test_what_the_plans_experts_have_cached_makes_its_next_turn_cheaper(router):
    costs = []
    for author in ({}, {"expert": "left"}, {"expert": "left", "plan": "pair"}):
        request = RoutedRequest.from_messages(conversation(STORY, **author))
        candidates = router.decide(request).candidates
        plan = next(candidate for candidate in candidates if candidate.plan)
        costs.append([step.expected_cost for step in plan.steps])
    stranger, after_left, after_pair = costs
    assert after_left[0] < stranger[0]
    assert after_left[1:] == stranger[1:]
    assert after_pair[:2] < after_left[:2]
    assert after_pair[1] < stranger[1]
    assert after_pair[2] == stranger[2]  # asked only where the others differ


@pytest.mark.parametrize("way", LANGCHAIN_WAYS)
async def test_a_conversation_of_langchain_stays_with_its_plan(router, way):
    ask = LANGCHAIN_WAYS[way]
    first = await ask(RoutooChatModel(router), FIRST, routoo_expert="pair")
    messages = [HumanMessage(FIRST), first, HumanMessage(SECOND)]
    record = record_of(await ask(RoutooChatModel(router), messages))
    assert (record["previous"], record["plan"]) == ("pair", "pair")


@pytest.mark.parametrize("way", LLAMA_INDEX_WAYS)
async def test_a_conversation_of_llama_index_stays_with_its_plan(router, way):
    ask = LLAMA_INDEX_WAYS[way]
    first = await ask(RoutooLLM(router), FIRST, routoo_expert="pair")
    message = ChatMessage.model_validate_json(first.message.model_dump_json())
    messages = [ChatMessage(FIRST), message, ChatMessage(SECOND)]
    record = record_of(await ask(RoutooLLM(router), messages))
    assert (record["previous"], record["plan"]) == ("pair", "pair")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_of_the_gateway_stays_with_its_plan(router, streamed):
    turns = conversation()
    with GatewayServer(Gateway(router), port=0) as server:
        url = f"{server.base_url}/chat/completions"
        body = {"model": "pair", "messages": turns[:1], "stream": streamed}
        assert httpx.post(url, json=body, timeout=60).status_code == 200
        second = httpx.post(url, json={"model": "routoo", "messages": turns}, timeout=60)
        assert second.headers["routoo-plan"] == "pair"
        unknown = [turns[0], {**turns[1], "content": "It is 31."}, turns[2]]
        third = httpx.post(url, json={"model": "routoo", "messages": unknown}, timeout=60)
    assert third.headers["routoo-expert"] == "dear"
