"""Tokens that replies report count for LangChain's middleware as around one model, and traces name who answered."""

import copy
import json
import pickle

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_openai import ChatOpenAI

from routoo_core import Expert
from routoo_core.testing import FakePredictor, Reply
from routoo_integrations.langchain import RoutooChatModel
from routoo_integrations.langchain.profiles import describe_model, pool_provider


def summaries(endpoint, model):
    """How many summaries an agent asks for whose replies report more tokens than its middleware lets stand."""
    endpoint.requests.clear()
    middleware = SummarizationMiddleware(
        model=model, trigger=("tokens", 20_000), keep=("messages", 1)
    )
    agent = create_agent(model, [], middleware=[middleware])
    state = agent.invoke({"messages": [("human", "hi")]})
    agent.invoke({"messages": [*state["messages"], ("human", "more")]})
    return sum("ummar" in str(body["messages"][0]["content"]) for body in endpoint.requests)


def test_reported_tokens_trigger_summaries(endpoint, anthropic):
    endpoint.replies["m"] = Reply(text="fine", prompt_tokens=50_000)
    bare = ChatOpenAI(model="m", base_url=endpoint.base_url, api_key="x")
    other = ChatAnthropic(model_name="claude", base_url=anthropic.base_url, api_key="x")
    prices = {"input_usd_per_1m": 1, "output_usd_per_1m": 1, "context_window": 200_000}
    alone = {"m": Expert(name="m", model="m", client=bare, **prices)}
    mixed = {**alone, "claude": Expert(name="claude", model="claude", client=other, **prices)}
    predictor = FakePredictor({"m": 0.9, "claude": 0.1})

    expected = summaries(endpoint, bare)
    assert expected > 0
    for experts in (alone, mixed):
        model = RoutooChatModel(predictor, experts, policy="best", max_tokens=50)
        assert summaries(endpoint, model) == expected


def test_the_provider_of_a_pool_is_that_of_all_its_experts():
    one = pool_provider(["openai", "openai"])
    assert type(one) is str
    assert one == "openai"

    mixed = pool_provider(["openai", "amazon_bedrock", None])
    for provider in (mixed, copy.deepcopy(mixed), pickle.loads(pickle.dumps(mixed))):
        assert str.__str__(provider) == "routoo"
        assert json.dumps(provider) == '"routoo"'
        assert provider == "openai"
        assert "bedrock_converse" == provider  # noqa: SIM300 (the middleware's order)
        assert provider != "anthropic"


@pytest.mark.parametrize("profile", [None, {}, {"max_input_tokens": 9_000}])
def test_a_profile_that_says_nothing_of_tools_does_not_deny_them(profile):
    model = ChatOpenAI(model="m", api_key="x", profile=profile)
    assert describe_model(model)["capabilities"] == {"tools", "json_schema"}


def test_a_profile_that_denies_them_is_heard():
    denied = {"tool_calling": False, "structured_output": False, "image_inputs": True}
    model = ChatOpenAI(model="m", api_key="x", profile=denied)
    assert describe_model(model)["capabilities"] == {"images"}
    assert describe_model(GenericFakeChatModel(messages=iter([])))["capabilities"] == set()
