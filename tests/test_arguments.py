"""Arguments of calls that can cost are held for or refused, whoever sets them and by whatever name."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from test_parameters import KINDS, WAYS

from routoo_core import Expert, Pool
from routoo_core.arguments import unpriced_arguments
from routoo_core.budget.account import Budget
from routoo_core.config import build_router
from routoo_core.errors import BudgetExceeded, ConfigurationError, NoCapableExpert
from routoo_core.request import RoutedRequest
from routoo_core.testing import FakePredictor
from routoo_core.tokens import bound_tokens
from routoo_integrations.langchain import RoutooChatModel

COSTLY = {
    "prediction": {"prediction": {"type": "content", "content": "word " * 20_000}},
    "messages": {"extra_body": {"messages": [{"role": "user", "content": "word " * 30_000}]}},
    "model": {"extra_body": {"model": "gpt-4-32k"}},
    "models": {"extra_body": {"models": ["openai/o1-pro"]}},
    "service_tier": {"service_tier": "priority"},
    "web_search_options": {"web_search_options": {"search_context_size": "high"}},
    "plugins": {"extra_body": {"plugins": [{"id": "web"}]}},
    "tools.web_search_preview": {"tools": [{"type": "web_search_preview"}]},
    "tools.web_search_20250305": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "tools.google_search": {"tools": [{"google_search": {}}]},
    "tools.mcp": {"tools": [{"type": "mcp", "server_url": "https://example.org"}]},
    "extra_headers": {"extra_headers": {"OpenAI-Organization": "another"}},
    "previous_response_id": {"previous_response_id": "resp_1"},
    "cached_content": {"cached_content": "cachedContents/1"},
    "system": {"system": "word " * 30_000},
    "mcp_servers": {"mcp_servers": [{"url": "https://example.org"}]},
    "brand_new_argument": {"brand_new_argument": 1},
}


def router_over(*experts, limit="1"):
    predictor = FakePredictor({expert.name: 1 - i / 10 for i, expert in enumerate(experts)})
    return build_router(Pool(experts), router=predictor, policy="best", budget=Budget(limit=limit))


async def ask(kind, how, router, **arguments):
    """The record of a call with these arguments."""
    if kind is RoutooChatModel:
        model = kind(router)
        if how == "whole":
            message = model.invoke("hi", **arguments)
        elif how == "async":
            message = await model.ainvoke("hi", **arguments)
        elif how == "stream":
            *_, message = model.stream("hi", **arguments)
        else:
            message = [chunk async for chunk in model.astream("hi", **arguments)][-1]
        return message.response_metadata["routoo"]

    llm = kind(router)
    messages = [ChatMessage("hi")]
    if how == "whole":
        response = llm.chat(messages, **arguments)
    elif how == "async":
        response = await llm.achat(messages, **arguments)
    elif how == "stream":
        *_, response = llm.stream_chat(messages, **arguments)
    else:
        response = [piece async for piece in await llm.astream_chat(messages, **arguments)][-1]
    return response.additional_kwargs["routoo"]


def expert_of(endpoint, **settings):
    settings = {"capabilities": {"tools"}, "context_window": 128_000, **settings}
    return endpoint.expert("a", max_output_tokens=256, **settings)


@pytest.mark.parametrize("name", COSTLY)
def test_what_may_cost_more_than_is_held_is_named(name):
    assert unpriced_arguments(COSTLY[name]) == {name}


@KINDS
@pytest.mark.parametrize("name", ["prediction", "messages", "service_tier", "brand_new_argument"])
@WAYS
async def test_it_is_refused_before_anything_is_sent_or_charged(endpoint, kind, name, how):
    router = router_over(expert_of(endpoint))
    with pytest.raises(NoCapableExpert, match=f"a lacks '{name}' in its pass_through"):
        await ask(kind, how, router, **COSTLY[name])
    state = router.ledger.state(router.budget)
    assert (endpoint.requests, state.spent, state.held) == ([], 0, 0)


@KINDS
async def test_an_expert_that_allows_it_or_is_free_is_sent_it(endpoint, kind):
    free = endpoint.expert("free", input_usd_per_1m=0, output_usd_per_1m=0)
    allowing = endpoint.expert("allowing", pass_through=["service_tier"])
    for expert in (free, allowing):
        refusing = expert_of(endpoint)
        record = await ask(kind, "whole", router_over(refusing, expert), service_tier="priority")
        assert record["expert"] == expert.name
        assert endpoint.requests[-1]["service_tier"] == "priority"


@KINDS
async def test_what_costs_nothing_passes(endpoint, kind):
    arguments = {
        "top_p": 0.9,
        "seed": 7,
        "user": "u",
        "service_tier": "flex",
        "extra_body": {"top_k": 5, "min_p": 0.1},
    }
    await ask(kind, "whole", router_over(expert_of(endpoint)), **arguments)
    sent = endpoint.requests[-1]
    assert (sent["seed"], sent["service_tier"], sent["top_k"]) == (7, "flex", 5)


@KINDS
async def test_the_definitions_of_functions_count_as_prompt(endpoint, kind):
    function = {"name": "f", "description": "d" * 50_000, "parameters": {"type": "object"}}
    with pytest.raises(BudgetExceeded):
        await ask(
            kind, "whole", router_over(expert_of(endpoint), limit="0.01"), functions=[function]
        )
    assert endpoint.requests == []


def test_the_instructions_that_claude_gets_with_tools_are_held_for():
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    message = {"role": "user", "content": "hi"}
    request = RoutedRequest.from_messages([message], tools=[tool])
    prices = {"input_usd_per_1m": 3, "output_usd_per_1m": 15, "capabilities": {"tools"}}
    claude = Expert(name="c", model="claude-sonnet-4-5", **prices)
    other = Expert(name="o", model="gpt-4o", **prices)
    assert claude.prompt_token_bound(request) == other.prompt_token_bound(request) + 600


# What an expert's own client adds


def chat_openai(endpoint, **settings):
    return ChatOpenAI(model="a", base_url=endpoint.base_url, api_key="x", **settings)


def priced(client, **settings):
    return Expert(
        name="a", model="a", client=client, input_usd_per_1m=1, output_usd_per_1m=1, **settings
    )


def routoo_over(experts):
    return RoutooChatModel(FakePredictor({"a": 1}), experts, policy="best", max_tokens=9)


def test_tools_that_an_owner_bound_and_prompts_of_a_chain_are_held_for(endpoint):
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 5000}}
    bound = chat_openai(endpoint).bind(tools=[tool])
    chain = ChatPromptTemplate.from_messages(
        [("system", "Be brief. " * 500), MessagesPlaceholder("messages")]
    ) | chat_openai(endpoint)
    for client in (bound, chain):
        with pytest.raises(ConfigurationError, match="adds up to 5.* tokens to every prompt"):
            routoo_over({"a": priced(client)})
        model = routoo_over({"a": priced(client, added_prompt_tokens=6000)})
        record = model.invoke("hi").response_metadata["routoo"]
        assert float(record["held_usd"]) > 0.006


def test_what_a_function_of_ones_own_adds_must_be_said(endpoint):
    client = RunnableLambda(lambda messages: messages) | chat_openai(endpoint)
    with pytest.raises(ConfigurationError, match="set it to the most tokens that the Runnable"):
        routoo_over({"a": priced(client)})
    assert routoo_over({"a": priced(client, added_prompt_tokens=0)}).invoke("hi").content


def test_the_models_of_a_chain_keep_to_the_limit_on_the_reply(endpoint):
    chain = RunnableLambda(lambda messages: messages) | chat_openai(endpoint)
    routoo_over({"a": priced(chain, added_prompt_tokens=0)}).invoke("hi")
    assert endpoint.requests[-1]["max_completion_tokens"] == 9


# Texts that a tokenizer makes longer


def test_a_text_is_bound_in_the_form_that_a_tokenizer_makes_of_it():
    assert bound_tokens("\ufdfa") == len(unicodedata.normalize("NFKC", "\ufdfa").encode())
    assert bound_tokens("hello") == 5
    assert bound_tokens("한국어") == 9


@given(st.text())
def test_no_normal_form_in_use_has_more_bytes_than_the_bound(text):
    bound = bound_tokens(text)
    for form in ("NFC", "NFKC"):
        normal_form = unicodedata.normalize(form, text)
        assert len(normal_form.encode(errors="surrogatepass")) <= bound


@given(st.lists(st.sampled_from("ǖǘéộaụ\u0323\u0301\u0304\u0308\u0327ﷺ½㎨"), max_size=12))
def test_marks_that_undo_a_composition_are_within_the_bound(characters):
    text = "".join(characters)
    assert len(unicodedata.normalize("NFKC", text).encode()) <= bound_tokens(text)
